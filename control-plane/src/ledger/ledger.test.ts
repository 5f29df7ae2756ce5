import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changeCredit, spendingPostings, splitCharge, totalNano } from './ledger.ts';

const amount = fc.bigInt({ min: 0n, max: 2n ** 51n });

describe('splitCharge', () => {
  it('takes bonus first, then paid, then write-offs', () => {
    expect(splitCharge({ paidNano: 5n, bonusNano: 3n }, 2n)).toEqual({
      bonusNano: 2n,
      paidNano: 0n,
      shortfallNano: 0n,
      after: { paidNano: 5n, bonusNano: 1n },
    });
    expect(splitCharge({ paidNano: 5n, bonusNano: 3n }, 7n)).toMatchObject({ bonusNano: 3n, paidNano: 4n, shortfallNano: 0n });
    expect(splitCharge({ paidNano: 5n, bonusNano: 3n }, 10n)).toEqual({
      bonusNano: 3n,
      paidNano: 5n,
      shortfallNano: 2n,
      after: { paidNano: 0n, bonusNano: 0n },
    });
  });

  it('never loses or makes a nano, and never leaves less than nothing', () => {
    fc.assert(
      fc.property(amount, amount, amount, (paidNano, bonusNano, charge) => {
        const split = splitCharge({ paidNano, bonusNano }, charge);
        expect(split.bonusNano + split.paidNano + split.shortfallNano).toBe(charge);
        expect(totalNano(split.after)).toBe(paidNano + bonusNano - charge + split.shortfallNano);
        expect(split.after.paidNano >= 0n && split.after.bonusNano >= 0n).toBe(true);
      }),
    );
  });

  it('becomes transfers whose usage adds up to the whole charge, at most one for each kind of credit', () => {
    fc.assert(
      fc.property(amount, amount, amount, (paidNano, bonusNano, charge) => {
        const postings = spendingPostings('acc_1', splitCharge({ paidNano, bonusNano }, charge), 7n);
        const usage = postings.filter((posting) => posting.code === 'usage');
        expect(usage.reduce((sum, posting) => sum + posting.amountNano, 0n)).toBe(charge);
        expect(new Set(usage.map((posting) => posting.debit)).size).toBe(usage.length);
        expect(postings.every((posting) => posting.amountNano > 0n)).toBe(true);
      }),
    );
  });
});

describe('changeCredit', () => {
  it('refuses to take more than there is of that credit', () => {
    expect(() => changeCredit({ paidNano: 1n, bonusNano: 9n }, 'paid', -2n)).toThrow('less paid credit');
  });

  it('refuses a balance above 2^52 nano-USD, which both kinds of credit share', () => {
    const most = 2n ** 52n;
    expect(totalNano(changeCredit({ paidNano: most - 2n, bonusNano: 1n }, 'bonus', 1n))).toBe(most);
    expect(() => changeCredit({ paidNano: most - 1n, bonusNano: 1n }, 'bonus', 1n)).toThrow('largest');
  });
});
