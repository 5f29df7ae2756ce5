import { describe, expect, it } from 'vitest';
import { fromOpenApi, Growth, toOpenApi } from './json-schema.ts';

const many = (make: (index: number) => unknown, count = 4_000): Record<string, unknown> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, make(index)]));

function written(schema: object): { schema: unknown; lost: string[] } {
  const lost: string[] = [];
  return { schema: toOpenApi({ ...schema }, (keyword) => lost.push(keyword)), lost };
}

describe('JSON Schema in the older form', () => {
  it.each([
    [
      'types',
      { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] },
      { type: 'OBJECT', properties: { a: { type: 'INTEGER' } }, required: ['a'] },
    ],
    ['a list of types with null', { type: ['string', 'null'] }, { type: 'STRING', nullable: true }],
    ['a list of types', { type: ['string', 'integer'] }, { anyOf: [{ type: 'STRING' }, { type: 'INTEGER' }] }],
    ['a constant', { const: 'a' }, { type: 'STRING', enum: ['a'] }],
    ['an enumeration with null', { enum: ['a', null] }, { type: 'STRING', enum: ['a'], nullable: true }],
    [
      'a choice with null',
      { anyOf: [{ type: 'number', minimum: 1 }, { type: 'null' }], description: 'd' },
      { type: 'NUMBER', minimum: 1, nullable: true, description: 'd' },
    ],
    ['a choice', { oneOf: [{ type: 'number' }, { type: 'string' }] }, { anyOf: [{ type: 'NUMBER' }, { type: 'STRING' }] }],
    [
      'all of several',
      {
        allOf: [
          { properties: { a: { type: 'string' } }, required: ['a'] },
          { properties: { b: { type: 'string' } }, required: ['b'] },
        ],
      },
      { type: 'OBJECT', properties: { a: { type: 'STRING' }, b: { type: 'STRING' } }, required: ['a', 'b'] },
    ],
    [
      'items',
      { type: 'array', items: { type: 'string', format: 'date-time' } },
      { type: 'ARRAY', items: { type: 'STRING', format: 'date-time' } },
    ],
    ['an array of anything', { type: 'array' }, { type: 'ARRAY', items: {} }],
    ['marks of the document', { $schema: 'x', $id: 'y', $comment: 'z', type: 'string' }, { type: 'STRING' }],
  ])('says %s', (_, schema, expected) => {
    expect(written(schema)).toEqual({ schema: expected, lost: [] });
  });

  it('writes references out, and stops where a schema contains itself', () => {
    const plain = written({
      properties: { a: { $ref: '#/$defs/A', description: 'mine' } },
      $defs: { A: { type: 'string', description: 'theirs' } },
    });
    expect(plain).toEqual({ schema: { type: 'OBJECT', properties: { a: { type: 'STRING', description: 'mine' } } }, lost: [] });
    const tree = { $ref: '#/definitions/T', definitions: { T: { type: 'object', properties: { next: { $ref: '#/definitions/T' } } } } };
    const { schema, lost } = written(tree);
    expect(JSON.stringify(schema).split('next').length - 1).toBe(8);
    expect(lost).toEqual(['$ref']);
    expect(written({ $ref: '#/$defs/None' })).toEqual({ schema: {}, lost: ['$ref'] });
  });

  it('does not grow without end', () => {
    const properties = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`p${index}`, { $ref: '#/$defs/A' }]));
    const { schema } = written({ $ref: '#/$defs/A', $defs: { A: { type: 'object', properties } } });
    expect(JSON.stringify(schema).length).toBeLessThan(1_000_000);
  });

  it('names what it cannot say', () => {
    expect(
      written({ type: 'object', properties: { a: { enum: [1, 2] } }, additionalProperties: false, patternProperties: {} }).lost,
    ).toEqual(['additionalProperties', 'patternProperties', 'enum']);
    expect(written({ type: 'string', format: 'email' })).toEqual({ schema: { type: 'STRING' }, lost: ['format'] });
  });
});

describe('the older form as JSON Schema', () => {
  it.each([
    [{ type: 'STRING', nullable: true }, { type: ['string', 'null'] }],
    [
      { type: 'STRING', enum: ['a'], nullable: true, format: 'enum' },
      { type: ['string', 'null'], enum: ['a', null] },
    ],
    [
      { type: 'ARRAY', min_items: '1', maxItems: 2, items: { type: 'NUMBER' } },
      { type: 'array', minItems: 1, maxItems: 2, items: { type: 'number' } },
    ],
    [{ anyOf: [{ type: 'STRING' }], nullable: true }, { anyOf: [{ type: 'string' }, { type: 'null' }] }],
    [{ type: 'TYPE_UNSPECIFIED' }, {}],
    [
      { type: 'STRING', example: 'a' },
      { type: 'string', examples: ['a'] },
    ],
    ['none', {}],
  ])('reads %j', (given, expected) => {
    expect(fromOpenApi(given)).toEqual(expected);
  });

  it('keeps the order of properties', () => {
    const read = fromOpenApi({ type: 'OBJECT', properties: { a: {}, b: {}, c: {} }, propertyOrdering: ['c', 'a'] });
    expect(Object.keys(read.properties ?? {})).toEqual(['c', 'a', 'b']);
  });

  it('comes back as it was', () => {
    const schema = {
      type: 'OBJECT',
      properties: { a: { type: 'STRING', nullable: true, enum: ['x'] }, b: { type: 'ARRAY', items: { type: 'INTEGER', format: 'int32' } } },
      required: ['a'],
    };
    expect(toOpenApi(fromOpenApi(schema), () => {})).toEqual(schema);
  });
});

describe('a schema in the older form, of any size', () => {
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
