import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { JsonObject } from './json-value.ts';
import { matchingText } from './pattern-text.ts';
import { schemaInstance } from './schema-instance.ts';

const ajv = new Ajv2020({ strict: false, validateFormats: false });

function expectSatisfied(schema: JsonObject, words: string[] = ['Paris', 'Tokyo']): void {
  const value = schemaInstance(schema, words);
  const validate = ajv.compile(schema);
  expect(validate(value), `${JSON.stringify(value)} ${ajv.errorsText(validate.errors)}`).toBe(true);
  expect(schemaInstance(schema, words)).toEqual(value);
}

const node: JsonObject = {
  type: 'object',
  properties: {
    value: { type: 'integer', minimum: 3 },
    next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] },
    children: { type: 'array', items: { $ref: '#/$defs/node' } },
  },
  required: ['value', 'next', 'children'],
  additionalProperties: false,
};

const cases: Array<[string, JsonObject]> = [
  ['enums and constants', { type: 'object', properties: { a: { enum: ['x', 'y'] }, b: { const: 7 } }, required: ['a', 'b'] }],
  ['bounds', { type: 'object', properties: { a: { type: 'integer', minimum: 10, maximum: 10 }, b: { type: 'number', maximum: -2.5 } } }],
  ['exclusive bounds', { type: 'object', properties: { a: { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 0.1 } } }],
  ['whole exclusive bounds', { type: 'object', properties: { a: { type: 'integer', exclusiveMinimum: 4, exclusiveMaximum: 6 } } }],
  ['multiples', { type: 'object', properties: { a: { type: 'integer', minimum: 11, multipleOf: 5 } } }],
  ['lengths', { type: 'object', properties: { a: { type: 'string', minLength: 30, maxLength: 32 }, b: { type: 'string', maxLength: 2 } } }],
  ['arrays', { type: 'array', items: { type: 'string' }, minItems: 3, maxItems: 3 }],
  ['unique arrays', { type: 'array', items: { enum: ['a', 'b', 'c'] }, minItems: 3, uniqueItems: true }],
  ['tuples', { type: 'array', prefixItems: [{ type: 'string' }, { type: 'integer' }], items: false, minItems: 2 }],
  ['nullable types', { type: 'object', properties: { a: { type: ['null', 'integer'] } }, required: ['a'] }],
  ['choices', { anyOf: [{ type: 'object', properties: { k: { const: 'a' } }, required: ['k'] }, { type: 'null' }] }],
  [
    'all of',
    {
      allOf: [
        { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] },
        { required: ['b'], properties: { b: { type: 'boolean' } } },
      ],
    },
  ],
  ['definitions that refer to themselves', { $ref: '#/$defs/node', $defs: { node } }],
  ['old definitions', { type: 'object', properties: { a: { $ref: '#/definitions/n' } }, definitions: { n: { type: 'integer' } } }],
  ['a required property without a schema', { type: 'object', required: ['a'], minProperties: 3 }],
  ['patterns', { type: 'object', properties: { a: { type: 'string', pattern: '^[A-Z]{2}-\\d{4,6}$' } } }],
];

test.each(cases)('gives a value that satisfies %s', (_name, schema) => {
  expectSatisfied(schema);
});

test('fills formats with values of the format', () => {
  const schema = { type: 'object', properties: { at: { type: 'string', format: 'date-time' }, id: { type: 'string', format: 'uuid' } } };
  const value = schemaInstance(schema, []) as { at: string; id: string };
  expect(new Date(value.at).toISOString()).toBe('2026-01-15T09:30:00.000Z');
  expect(value.id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});

test('any bounded number schema is satisfied', () => {
  fc.assert(
    fc.property(fc.integer({ min: -1000, max: 1000 }), fc.nat(50), fc.boolean(), (minimum, span, whole) => {
      expectSatisfied({ type: whole ? 'integer' : 'number', minimum, maximum: minimum + span });
    }),
    { numRuns: 60 },
  );
});

test.each(['^\\w+@\\w+\\.com$', '^(foo|bar)+$', '^#[0-9a-fA-F]{6}$', '^[^a-z]{3}$', '^\\+?[1-9]\\d{1,14}$', 'a.c', '^(?:x|y)?z$'])(
  'writes a text that matches %s',
  (pattern) => {
    expect(matchingText(pattern, 0)).toMatch(new RegExp(pattern));
  },
);
