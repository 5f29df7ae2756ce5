import { describe, expect, it } from 'vitest';
import { openAiStrictParameters, openAiStrictSchema } from './openai-strict-schema.ts';

const STRING = { type: 'string' };
const closed = (properties: object, more: object = {}) => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more,
});
const held = (schema: object) => openAiStrictSchema({ ...schema }, 'anthropic-messages');

describe('a schema that OpenAI is to hold to', () => {
  it.each([
    [
      'all that is told of one value',
      closed({ a: { type: 'number', minimum: 1, description: 'A' }, b: { enum: ['x', null] }, c: { const: 1 } }),
    ],
    ['objects in objects and lists', closed({ a: { type: 'array', items: closed({ b: STRING }), minItems: 1 } })],
    ['one of several', closed({ a: { anyOf: [STRING, { type: 'null' }] }, b: { type: ['string', 'null'] } })],
    ['references', closed({ a: { $ref: '#/$defs/a' } }, { $defs: { a: closed({ b: { $ref: '#' } }) } })],
    ['a known format', closed({ a: { type: 'string', format: 'date-time' } })],
    ['no members', closed({})],
  ])('is taken with %s', (_, schema) => {
    expect(held(schema)).toEqual(schema);
  });

  it.each([
    ['a member that may be absent', { ...closed({ a: STRING, b: STRING }), required: ['a'] }],
    ['the same inside', closed({ a: { ...closed({ b: STRING }), required: [] } })],
    ['the same behind a reference', closed({ a: { $ref: '#/$defs/a' } }, { $defs: { a: { ...closed({ b: STRING }), required: [] } } })],
    ['other members', closed({ a: STRING }, { additionalProperties: STRING })],
    ['an object of any members', closed({ a: { type: 'object' } })],
    ['no object at its root', { type: 'array', items: STRING }],
    ['a choice at its root', { ...closed({}), anyOf: [closed({}), closed({ a: STRING })] }],
    ['keywords that are refused', closed({ a: { allOf: [STRING] } })],
    ['patterns of names', closed({ a: STRING }, { patternProperties: {} })],
    ['an unknown format', closed({ a: { type: 'string', format: 'iban' } })],
    ['something beside a reference', closed({ a: { $ref: '#/$defs/a', description: 'A' } }, { $defs: { a: STRING } })],
    ['a value of any kind', closed({ a: {} })],
    ['a requirement of what is not described', { ...closed({ a: STRING }), required: ['a', 'b'] }],
  ])('is not with %s', (_, schema) => {
    expect(held(schema)).toBeUndefined();
  });

  it('is closed where it says nothing of other members', () => {
    const { additionalProperties: _, ...open } = closed({ a: STRING });
    expect(held(open)).toEqual(closed({ a: STRING }));
    expect(held({ type: 'object', properties: {} })).toEqual(closed({}));
    expect(openAiStrictParameters(undefined, 'gemini')).toEqual(closed({}));
  });

  it('is nested ten objects deep at most, and has 1,000 values to choose from', () => {
    const nested = (depth: number): object => (depth === 0 ? STRING : closed({ a: nested(depth - 1) }));
    expect(held(nested(10))).toBeDefined();
    expect(held(nested(11))).toBeUndefined();
    const choice = (count: number) => closed({ a: { enum: Array.from({ length: count }, (__, index) => `v${index}`) } });
    expect(held(choice(1_000))).toBeDefined();
    expect(held(choice(1_001))).toBeUndefined();
  });

  it('is looked at in a time that grows with its size alone', () => {
    const names = Array.from({ length: 200_000 }, (__, index) => `p${index}`);
    const many = { type: 'object', properties: Object.fromEntries(names.map((name) => [name, STRING])), required: names.toReversed() };
    // Compared name by name, it would take minutes.
    expect(held(many)).toBeUndefined();
  });

  it('is left to the provider to judge where it was written for one of its protocols', () => {
    const open = { type: 'object', properties: { a: STRING } };
    for (const from of ['openai-chat', 'openai-responses']) expect(openAiStrictSchema(open, from)).toBe(open);
  });
});
