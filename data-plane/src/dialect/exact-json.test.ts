import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseExact } from './exact-json.ts';

describe('exact JSON', () => {
  it('keeps the digits of long numbers', () => {
    const text = '{"id":123456789012345678901,"list":[-98765432109876543210, 9007199254740993],"text":"12345678901234567890"}';
    expect(JSON.stringify(parseExact(text))).toBe(text.replaceAll(', ', ','));
  });

  it('is any other JSON as it always is', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(JSON.stringify(parseExact(text))).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
    expect(parseExact('{"a":1,"b":1000000000000000,"c":0.1234567890123456}')).toEqual({ a: 1, b: 1e15, c: 0.1234567890123456 });
    expect(() => parseExact('{"a":12345678901234567890')).toThrow(SyntaxError);
  });
});
