import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { argumentsAsInput, asFunction, grammarOf, inputAsArguments } from './custom-tool.ts';
import type { CustomTool } from './tool.ts';

const tool = (fields: Partial<CustomTool>): CustomTool => ({
  kind: 'custom',
  name: 'apply_patch',
  description: undefined,
  format: undefined,
  rest: {},
  ...fields,
});

describe('a custom tool as a function', () => {
  it('has one string, and tells of its grammar in words', () => {
    expect(asFunction(tool({})).description).toBeUndefined();
    expect(asFunction(tool({})).parameters).toMatchObject({ required: ['input'], properties: { input: { type: 'string' } } });
    const grammar = { type: 'grammar', syntax: 'lark', definition: 'start: "a"' };
    const { description } = asFunction(tool({ description: 'Edits files.', format: grammar }));
    expect(description).toMatch(/^Edits files\.\n\n.*lark grammar:\nstart: "a"$/);
  });

  it('knows both ways in which a grammar is written', () => {
    const flat = { type: 'grammar', syntax: 'regex', definition: '^a$' };
    const nested = { type: 'grammar', grammar: { syntax: 'regex', definition: '^a$' } };
    expect(grammarOf(flat)).toEqual({ syntax: 'regex', definition: '^a$' });
    expect(grammarOf(nested)).toEqual(grammarOf(flat));
    expect(grammarOf({ type: 'text' })).toBeUndefined();
    expect(grammarOf(undefined)).toBeUndefined();
  });

  it('gives its text back, whatever it is', () => {
    const text = fc.string({ unit: fc.constantFrom('a', '"', '\\', '{', '\n', '\u0000', 'é', '😀') });
    fc.assert(
      fc.property(text, (input) => {
        expect(argumentsAsInput(inputAsArguments(input))).toBe(input);
      }),
    );
  });

  it.each(['*** Begin Patch', '{"input":3}', '{"patch":"x"}', '[]', ''])('takes a model at its word that wrote %j', (args) => {
    expect(argumentsAsInput(args)).toBe(args);
  });
});
