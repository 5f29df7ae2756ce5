import { describe, expect, it } from 'vitest';
import { csv } from './csv.ts';

describe('csv', () => {
  it('quotes what would break a row', () => {
    expect(
      csv([
        ['a', 'b,c'],
        ['say "x"', 'two\nlines'],
      ]),
    ).toBe('a,"b,c"\r\n"say ""x""","two\nlines"\r\n');
  });

  it('disarms formulas and leaves numbers alone', () => {
    expect(csv([['=1+1', '@x', '-2.50', '-cmd']])).toBe("'=1+1,'@x,-2.50,'-cmd\r\n");
  });
});
