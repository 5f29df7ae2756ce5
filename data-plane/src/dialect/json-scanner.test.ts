import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  JsonCursor,
  JsonKeyError,
  JsonSyntaxError,
  MAX_NESTING_LEVELS,
  MemberSearch,
  scanObject,
  splice,
  stringBytesAt,
  valueAt,
} from './json-scanner.ts';

/** Accepts or refuses, as JSON.parse does. */
function accepts(body: Buffer): boolean {
  const cursor = new JsonCursor(body);
  try {
    cursor.skipValue();
    cursor.finish();
    return true;
  } catch (error) {
    if (error instanceof JsonSyntaxError) return false;
    throw error;
  }
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Text near JSON: made of its pieces, or JSON with a byte changed. */
const nearJson = fc.oneof(
  fc
    .array(
      fc.constantFrom(
        '{',
        '}',
        '[',
        ']',
        ',',
        ':',
        '"a"',
        '"\\u00e9"',
        '"\\x"',
        '"',
        '\\',
        '1',
        '-0.5e+3',
        '01',
        '1.',
        '-',
        'true',
        'nul',
        'null',
        ' ',
        '\n',
        '\u0001',
      ),
      { maxLength: 14 },
    )
    .map((pieces) => pieces.join('')),
  fc.tuple(fc.json(), fc.nat(), fc.constantFrom('"', '\\', '{', '}', ',', ':', '0', ' ', '\t', '')).map(([text, at, piece]) => {
    const position = at % (text.length + 1);
    return text.slice(0, position) + piece + text.slice(position + 1);
  }),
);

describe('the JSON cursor', () => {
  it('accepts what JSON.parse accepts and refuses what it refuses', () => {
    fc.assert(
      fc.property(nearJson, (text) => {
        expect(accepts(Buffer.from(text))).toBe(parses(text));
      }),
      { numRuns: 3_000 },
    );
  });

  it('gives the values that JSON.parse gives for the names it is asked for', () => {
    const names = new Set(['model', 'n', 'usage']);
    const object = fc.dictionary(fc.oneof(fc.constantFrom('model', 'n', 'usage'), fc.string()), fc.jsonValue(), { maxKeys: 8 });
    fc.assert(
      fc.property(object, fc.boolean(), (value, spaced) => {
        const body = Buffer.from(spaced ? JSON.stringify(value, undefined, '\t') : JSON.stringify(value));
        const spans = scanObject(body, names);
        const read = Object.fromEntries([...spans].map(([key, span]) => [key, valueAt(body, span)]));
        const parsed = JSON.parse(body.toString());
        expect(read).toEqual(
          Object.fromEntries([...names].filter((name) => Object.hasOwn(parsed, name)).map((name) => [name, parsed[name]])),
        );
      }),
    );
  });

  it('finds the same spans when it jumps over long strings', () => {
    const piece = fc.constantFrom('a', '\\"', '\\\\', '\\u0022', 'é', '\\n', '{"model":'.replaceAll('"', '\\"'));
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 12 }), fc.nat(60), (pieces, shift) => {
        const long = 'x'.repeat(shift) + pieces.join('').repeat(Math.ceil(66_000 / pieces.join('').length));
        const body = Buffer.from(`{"text":"${long}","model":"m","more":["${long}"]}`);
        const span = scanObject(body, new Set(['model', 'text'])).get('model');
        expect(span && valueAt(body, span)).toBe('m');
      }),
      { numRuns: 60 },
    );
  });

  it('tells where a document breaks', () => {
    expect(() => scanObject(Buffer.from('{"a":tru}'), new Set())).toThrow(expect.objectContaining({ position: 8 }));
    expect(() => scanObject(Buffer.from('{"a":1'), new Set())).toThrow('Unexpected end at byte 6');
  });

  it('refuses documents that are nested deeper than its limit', () => {
    const nested = (levels: number) => Buffer.from('['.repeat(levels) + ']'.repeat(levels));
    expect(accepts(nested(MAX_NESTING_LEVELS))).toBe(true);
    expect(accepts(nested(MAX_NESTING_LEVELS + 1))).toBe(false);
    expect(accepts(Buffer.from('['.repeat(200_000)))).toBe(false);
  });

  it('reads names as they are written, however many it has met', () => {
    const name = fc.oneof(fc.string({ minLength: 1, maxLength: 6 }), fc.string({ minLength: 28, maxLength: 36 }));
    fc.assert(
      fc.property(fc.uniqueArray(name.filter((text) => /^[\x20-\x7e]+$/.test(text) && !/["\\]/.test(text))), (names) => {
        const cursor = new JsonCursor(Buffer.from(`{${names.map((text) => `"${text}":0`).join()}}`));
        const read: string[] = [];
        cursor.openObject();
        for (let first = true; cursor.nextKey(first); first = false) {
          read.push(cursor.key());
          cursor.skipValue();
        }
        expect(read).toEqual(names);
      }),
      { numRuns: 1_000 },
    );
  });

  it('tells names apart that begin alike, more of them than it keeps', () => {
    const names = Array.from({ length: 5_000 }, (_, index) => `same_${index}`);
    const cursor = new JsonCursor(
      Buffer.from(JSON.stringify(Object.fromEntries([...names, ...names.slice(0, 9)].map((name) => [name, 0])))),
    );
    cursor.openObject();
    for (const name of names) {
      expect(cursor.nextKey(name === names[0])).toBe(true);
      expect(cursor.key()).toBe(name);
      cursor.skipValue();
    }
  });

  it('reads the value that stands in a span as JSON.parse does', () => {
    const value = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme', maxLength: 80 }), fc.jsonValue());
    fc.assert(
      fc.property(value, (written) => {
        const text = JSON.stringify(written);
        const body = Buffer.from(` ${text} `);
        expect(valueAt(body, { start: 1, end: body.length - 1 })).toEqual(JSON.parse(text));
      }),
      { numRuns: 1_000 },
    );
  });

  it('refuses a known name that stands twice or is written with escapes, and lets others pass', () => {
    const names = new Set(['model']);
    expect(() => scanObject(Buffer.from('{"model":1,"model":2}'), names)).toThrow(JsonKeyError);
    expect(() => scanObject(Buffer.from('{"mod\\u0065l":1}'), names)).toThrow(JsonKeyError);
    expect(scanObject(Buffer.from('{"other":1,"other":2,"\\u006f":3,"a":{"model":1,"model":2}}'), names).size).toBe(0);
  });
});

describe('splice', () => {
  it('leaves every byte outside the edits as it was, and copies no large body', () => {
    const body = Buffer.from(`{"model":"m","text":"${'é'.repeat(20_000)}"}`);
    const span = scanObject(body, new Set(['model'])).get('model');
    const pieces = splice(body, span === undefined ? [] : [{ ...span, text: '"other"' }]);
    expect(Buffer.concat(pieces).toString()).toBe(body.toString().replace('"m"', '"other"'));
    expect(pieces.at(-1)?.buffer).toBe(body.buffer);
  });
});

describe('the search for members', () => {
  it('finds members and never text that speaks of them', () => {
    const search = new MemberSearch(['usage', 'error', 'text']);
    const text = fc.oneof(fc.string(), fc.constantFrom('"usage":', 'say "usage', '\\"error":', '\\'));
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('usage', 'text', 'other', 'us'), text), fc.boolean(), (value, spaced) => {
        const body = Buffer.from(spaced ? JSON.stringify(value, undefined, 1).replaceAll('\n', '') : JSON.stringify(value));
        search.search(body);
        const [usage, error, textAt] = search.values;
        expect(error).toBe(-1);
        for (const [at, member] of [
          [usage ?? -1, value.usage],
          [textAt ?? -1, value.text],
        ] as const) {
          if (member === undefined) expect(at).toBe(-1);
          else expect(stringBytesAt(body, at)).toBe(Buffer.byteLength(JSON.stringify(member)) - 2);
        }
      }),
      { numRuns: 500 },
    );
  });
});
