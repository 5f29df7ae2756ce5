import { describe, expect, it } from 'vitest';
import { Growth, toOpenApi } from './json-schema.ts';

const many = (make: (index: number) => unknown, count = 4_000): Record<string, unknown> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, make(index)]));

describe('a schema in the older form', () => {
  it('has what its references stand for, and no more than a request may grow to', () => {
    const schema = (length: number) => ({
      type: 'object',
      $defs: { long: { type: 'string', description: 'x'.repeat(length) } },
      properties: many(() => ({ $ref: '#/$defs/long' })),
    });
    expect(toOpenApi(schema(3), () => {})).toEqual({
      type: 'OBJECT',
      properties: many(() => ({ type: 'STRING', description: 'xxx' })),
    });

    const lost: string[] = [];
    const growth = new Growth();
    for (let tool = 0; tool < 3; tool++) {
      const written = JSON.stringify(toOpenApi(schema(100_000), (keyword) => lost.push(keyword), growth));
      expect(written.length).toBeLessThan(1_200_000);
    }
    expect(new Set(lost)).toEqual(new Set(['$ref']));
    expect(lost.length).toBeGreaterThan(3 * 3_900);
  });

  it('ends where schemas refer to each other in a circle', () => {
    const node = { type: 'object', properties: many(() => ({ $ref: '#/$defs/node' }), 10) };
    const lost: string[] = [];
    toOpenApi({ $ref: '#/$defs/node', $defs: { node } }, (keyword) => lost.push(keyword));
    expect(lost.length).toBeGreaterThan(0);
  });

  it('passes over a reference that names nothing', () => {
    const lost: string[] = [];
    const properties = { a: { $ref: '#/$defs/100%' }, b: { $ref: '#/$defs/constructor' }, c: { $ref: '#/$defs/__proto__' } };
    const written = toOpenApi({ type: 'object', properties }, (keyword) => lost.push(keyword));
    expect(written).toEqual({ type: 'OBJECT', properties: { a: {}, b: {}, c: {} } });
    expect(lost).toEqual(['$ref', '$ref', '$ref']);
  });

  it('joins thousands of parts of one schema in one pass', () => {
    const allOf = Object.values(many((index) => ({ properties: { [`p${index}`]: { type: 'string' } }, required: [`p${index}`] }), 30_000));
    const written = toOpenApi({ type: 'object', allOf, required: ['own', 'p1'], description: 'last' }, () => {});
    expect(Object.keys(written.properties as object)).toHaveLength(30_000);
    expect(written.required).toHaveLength(30_001);
    expect(written.description).toBe('last');
  }, 20_000);
});
