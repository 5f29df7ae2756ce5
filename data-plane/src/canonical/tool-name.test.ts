import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Tool } from './tool.ts';
import { boundedToolName, originalToolName } from './tool-name.ts';

const tool = (name: string): Tool => ({
  kind: 'function',
  name,
  description: undefined,
  parameters: undefined,
  strict: undefined,
  rest: {},
});

describe('names of tools', () => {
  it('stay as they are where every upstream takes them', () => {
    expect(boundedToolName('get_weather-2')).toBe('get_weather-2');
  });

  it('come back, whatever they are, and no two are the same on the way', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ minLength: 1, maxLength: 100 }), { minLength: 1, maxLength: 5 }), (names) => {
        const tools = names.map(tool);
        const written = names.map(boundedToolName);
        expect(new Set(written).size).toBe(names.length);
        for (const [index, name] of written.entries()) {
          expect(name).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
          expect(originalToolName(name, tools)).toBe(names[index]);
        }
      }),
    );
  });

  it('are those that the model made up where no tool has them', () => {
    expect(originalToolName('made_up', [tool('f'), { kind: 'hosted', dialect: 'gemini', value: {} }])).toBe('made_up');
  });
});
