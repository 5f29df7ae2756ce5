import fc from 'fast-check';
import { expect, it } from 'vitest';
import { JsonExtent } from './json-extent.ts';

it('is closed with the last character of an object, and not before', () => {
  const text = fc.oneof(fc.string(), fc.constantFrom('\\', '"', '{', ']', '\\"'));
  const value = fc.dictionary(text, fc.oneof(fc.jsonValue(), fc.array(text)));
  fc.assert(
    fc.property(value, (object) => {
      const written = JSON.stringify(object);
      const extent = new JsonExtent();
      const closed = [...written].map((character) => {
        extent.push(character);
        return extent.isClosed;
      });
      expect(closed.indexOf(true)).toBe(closed.length - 1);
    }),
    { numRuns: 500 },
  );
});
