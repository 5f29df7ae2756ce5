import { describe, expect, it } from 'vitest';
import { fromOpenApi, toOpenApi } from './json-schema.ts';

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
