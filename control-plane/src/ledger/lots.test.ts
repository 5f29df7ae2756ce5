import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CreditBook, type Lot, unspentOf } from './lots.ts';

const paid = (id: bigint, amountNano: bigint, takenNano = 0n, purchaseId: bigint | undefined = id): Lot => ({
  id,
  kind: 'paid',
  source: 'purchase',
  purchaseId,
  amountNano,
  takenNano,
});
const CAUSE = { code: 'adjustment', counterpart: 'adjustment' } as const;

/** Lots, and a balance that they account for. */
const WALLET = fc
  .array(fc.tuple(fc.bigInt(1n, 1_000n), fc.integer({ min: 0, max: 100 })), { minLength: 1, maxLength: 8 })
  .chain((sizes) => {
    const lots = sizes.map(([amount, part], index) => paid(BigInt(index + 1), amount, (amount * BigInt(part)) / 100n));
    const most = lots.reduce((sum, lot) => sum + lot.amountNano - lot.takenNano, 0n);
    return fc.record({ lots: fc.constant(lots), balanceNano: fc.bigInt(0n, most) });
  });

describe('what is unspent of lots', () => {
  it('is what usage has not reached, which takes the oldest first', () => {
    const lots = [paid(1n, 100n), paid(2n, 50n, 20n), paid(3n, 10n)];
    expect([...unspentOf(lots, 140n)]).toEqual([
      [3n, 10n],
      [2n, 30n],
      [1n, 100n],
    ]);
    expect([...unspentOf(lots, 35n)].map(([, left]) => left)).toEqual([10n, 25n, 0n]);
    expect([...unspentOf(lots, 3n)].map(([, left]) => left)).toEqual([3n, 0n, 0n]);
  });

  it('sums to the balance, and a part taken of one lot leaves the others as they are', () => {
    fc.assert(
      fc.property(WALLET, fc.nat(), fc.integer({ min: 0, max: 100 }), ({ lots, balanceNano }, which, part) => {
        const before = unspentOf(lots, balanceNano);
        expect([...before.values()].reduce((sum, left) => sum + left, 0n)).toBe(balanceNano);
        const lot = lots[which % lots.length] ?? paid(0n, 1n);
        const book = new CreditBook('acc_1', { paidNano: balanceNano, bonusNano: 0n }, lots);
        const takenNano = ((before.get(lot.id) ?? 0n) * BigInt(part)) / 100n;
        book.take(CAUSE, lot.id, takenNano);
        for (const each of lots) {
          expect(book.unspentNano(each.id)).toBe((before.get(each.id) ?? 0n) - (each.id === lot.id ? takenNano : 0n));
        }
        book.giveBack(CAUSE, lot.id, takenNano);
        for (const each of lots) expect(book.unspentNano(each.id)).toBe(before.get(each.id));
        expect(book.changes().netNano).toBe(0n);
      }),
    );
  });
});

describe('a change of credit', () => {
  const book = () => new CreditBook('acc_1', { paidNano: 30n, bonusNano: 5n }, [paid(1n, 40n), paid(2n, 20n), bonus(3n, 15n, 2n)]);
  const bonus = (id: bigint, amountNano: bigint, purchaseId: bigint): Lot => ({ ...paid(id, amountNano, 0n, purchaseId), kind: 'bonus' });

  it('is whole: the balance moves by what is posted to and from the account', () => {
    const change = book();
    change.give(CAUSE, { kind: 'paid', source: 'adjustment', purchaseId: undefined, amountNano: 7n });
    change.takeOldest(CAUSE, 'paid', 12n);
    change.take(CAUSE, 3n, 2n);
    const { balance, netNano, postings, changedLots, newLots } = change.changes();
    expect([balance, netNano, newLots.length]).toEqual([{ paidNano: 25n, bonusNano: 3n }, -7n, 1]);
    expect(postings.map(({ debit, credit, amountNano }) => [debit, credit, amountNano])).toEqual([
      ['adjustment', 'paid:acc_1', 7n],
      ['paid:acc_1', 'adjustment', 12n],
      ['bonus:acc_1', 'adjustment', 2n],
    ]);
    // 10 were left of the first lot.
    expect(changedLots.map((lot) => [lot.id, lot.takenNano])).toEqual([
      [1n, 10n],
      [2n, 2n],
      [3n, 2n],
    ]);
  });

  it('tells what became of a purchase', () => {
    expect(book().purchase(2n)).toEqual({ unspentNano: 20n, bonusUnspentNano: 5n, bonusSpentNano: 10n });
    expect(book().purchase(1n)).toEqual({ unspentNano: 10n, bonusUnspentNano: 0n, bonusSpentNano: 0n });
  });

  it('gives back what was charged as if it had never been: paid credit first, and no more than was spent of either', () => {
    const change = book();
    // 30 of the paid credit and 10 of the bonus were spent.
    expect(change.unspend(CAUSE, 33n)).toEqual({ paidNano: 30n, bonusNano: 3n, coveredNano: 0n });
    expect(change.unspend(CAUSE, 9n)).toEqual({ paidNano: 0n, bonusNano: 7n, coveredNano: 2n });
    expect(change.balance).toEqual({ paidNano: 60n, bonusNano: 15n });
  });

  it('takes no more than there is, and gives back no more than was taken', () => {
    expect(() => book().take(CAUSE, 1n, 11n)).toThrow('less is unspent');
    expect(() => book().takeOldest(CAUSE, 'paid', 31n)).toThrow('less paid credit');
    expect(() => book().giveBack(CAUSE, 1n, 1n)).toThrow('less was taken');
    expect(() => book().take(CAUSE, 9n, 1n)).toThrow("not this account's");
  });
});
