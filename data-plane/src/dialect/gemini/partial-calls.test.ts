import { describe, expect, it } from 'vitest';
import { CallPieces } from './partial-calls.ts';

describe('a call in pieces', () => {
  it('is refused when its lists together become longer than any answer, though little is said in them', () => {
    const pieces = new CallPieces();
    const partialArgs = Array.from({ length: 2_000 }, (_, index) => ({ jsonPath: `$.a${index}[9999]`, boolValue: true }));
    expect(() => pieces.take({ functionCall: { name: 'f', willContinue: true, partialArgs } })).toThrow(
      expect.objectContaining({ code: 'upstream_error', source: 'upstream' }),
    );
  });
});
