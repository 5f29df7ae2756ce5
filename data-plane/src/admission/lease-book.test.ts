import { describe, expect, it } from 'vitest';
import { freeOf, LeaseBook, leaseRecordOf, usableOf } from './lease-book.ts';
import { DAY, leaseRecord, MONTH, PREPAID } from './lease-testing.ts';

function leaseIn(book: LeaseBook, id: string) {
  const lease = book.lease(id);
  if (lease === undefined) throw new Error(`no lease ${id}`);
  return lease;
}

describe('the lease book', () => {
  it('begins with what was recovered, nothing of it reserved', () => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100, { returned: 10, used: 30 }), leaseRecord('b', MONTH, 5, { closed: true })]);
    expect(freeOf(leaseIn(book, 'a'))).toBe(60);
    expect(leaseIn(book, 'a')).toMatchObject({ reserved: 0, inFlight: 0 });
    expect(book.openOn(DAY)?.id).toBe('a');
    expect(book.openOn(MONTH)).toBeUndefined();
    expect(freeOf(leaseIn(book, 'b'))).toBe(0);
  });

  it('takes a lease whose grant was lost as one with nothing free, until the total is said again', () => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100, { used: 130 })]);
    const lease = leaseIn(book, 'a');
    expect(freeOf(lease)).toBe(0);
    expect(book.reserve([{ lease, amount: 1 }])).toBe(false);
    book.receive(lease, 150);
    book.written(lease, 150);
    expect(freeOf(lease)).toBe(20);
  });

  it('sets aside in all leases or in none', () => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100), leaseRecord('b', MONTH, 10)]);
    const [a, b] = [leaseIn(book, 'a'), leaseIn(book, 'b')];
    expect(
      book.reserve([
        { lease: a, amount: 50 },
        { lease: b, amount: 11 },
      ]),
    ).toBe(false);
    expect([a.reserved, a.inFlight, b.reserved, b.inFlight]).toEqual([0, 0, 0, 0]);
    expect(
      book.reserve([
        { lease: a, amount: 50 },
        { lease: b, amount: 10 },
      ]),
    ).toBe(true);
    expect([a.reserved, a.inFlight, b.reserved, b.inFlight]).toEqual([50, 1, 10, 1]);
    expect(
      book.reserve([
        { lease: a, amount: 30 },
        { lease: a, amount: 21 },
      ]),
    ).toBe(false);
    expect(a.reserved).toBe(50);
  });

  it.each([0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])('sets aside no %d', (amount) => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100)]);
    expect(book.reserve([{ lease: leaseIn(book, 'a'), amount }])).toBe(false);
    expect(freeOf(leaseIn(book, 'a'))).toBe(100);
  });

  it('settles by what was charged, at most what was set aside', () => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100), leaseRecord('b', MONTH, 10)]);
    const shares = [
      { lease: leaseIn(book, 'a'), amount: 50 },
      { lease: leaseIn(book, 'b'), amount: 10 },
    ];
    book.reserve(shares);
    for (const charges of [[51, 0], [0, -1], [0.5, 0], [1], [1, 1, 1], [0, Number.NaN]]) {
      expect(() => book.settle(shares, charges)).toThrow(RangeError);
      expect(shares.map(({ lease }) => `${lease.used}/${lease.reserved}`)).toEqual(['0/50', '0/10']);
    }
    book.settle(shares, [20, 0]);
    expect(shares.map(({ lease }) => `${lease.used}/${lease.reserved}/${freeOf(lease)}`)).toEqual(['20/0/80', '0/0/10']);
    expect(() => book.settle(shares, [0, 0])).toThrow();
  });

  it('lets what was received be used once it is written', () => {
    const book = new LeaseBook();
    const lease = book.open('a', PREPAID);
    expect(book.receive(lease, 40)).toBe(true);
    expect(book.receive(lease, 30)).toBe(false);
    expect(freeOf(lease)).toBe(0);
    expect(leaseRecordOf(lease).granted).toBe(40);
    expect(() => book.written(lease, 41)).toThrow(RangeError);
    book.written(lease, 40);
    book.written(lease, 30);
    expect(freeOf(lease)).toBe(40);
  });

  it('gives back what is free, and nothing that is set aside', () => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100)]);
    const lease = leaseIn(book, 'a');
    book.reserve([{ lease, amount: 30 }]);
    expect(book.giveBack(lease)).toBe(70);
    expect(book.giveBack(lease)).toBe(0);
    book.settle([{ lease, amount: 30 }], [10]);
    expect(book.giveBack(lease)).toBe(20);
    expect(leaseRecordOf(lease)).toEqual(leaseRecord('a', DAY, 100, { returned: 90, used: 10 }));
  });

  it('gives back what was received and is not written down, and never lets it be used', () => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100)]);
    const lease = leaseIn(book, 'a');
    book.receive(lease, 130);
    expect(book.giveBack(lease)).toBe(130);
    book.written(lease, 130);
    expect(usableOf(lease)).toBe(0);
    expect(leaseRecordOf(lease)).toEqual(leaseRecord('a', DAY, 130, { returned: 130 }));
  });

  it('admits nothing on a lease that is retiring or closed, and settles what is in flight', () => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100)]);
    const lease = leaseIn(book, 'a');
    book.reserve([{ lease, amount: 30 }]);
    book.retire(lease);
    expect([usableOf(lease), freeOf(lease)]).toEqual([0, 70]);
    expect(book.reserve([{ lease, amount: 1 }])).toBe(false);
    book.close(lease);
    expect(freeOf(lease)).toBe(0);
    expect(book.giveBack(lease)).toBe(0);
    expect(book.receive(lease, 500)).toBe(false);
    expect(() => book.forget(lease)).toThrow();
    book.settle([{ lease, amount: 30 }], [30]);
    expect(lease.used).toBe(30);
    book.forget(lease);
    expect(book.lease('a')).toBeUndefined();
  });

  it('has one open lease a budget', () => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100)]);
    expect(() => book.open('b', DAY)).toThrow();
    book.close(leaseIn(book, 'a'));
    expect(() => book.open('a', DAY)).toThrow();
    expect(book.openOn(DAY)).toBeUndefined();
    book.open('b', DAY);
    expect(book.openOn(DAY)?.id).toBe('b');
  });

  it('keeps a second one that was recovered beside the first, and takes it up when that is closed', () => {
    const book = new LeaseBook([leaseRecord('a', DAY, 100), leaseRecord('b', DAY, 7), leaseRecord('c', MONTH, 1)]);
    expect(book.openOn(DAY)?.id).toBe('a');
    book.close(leaseIn(book, 'a'));
    expect(book.openOn(DAY)?.id).toBe('b');
    book.close(leaseIn(book, 'b'));
    expect(book.openOn(DAY)).toBeUndefined();
    expect(book.openOn(MONTH)?.id).toBe('c');
  });
});
