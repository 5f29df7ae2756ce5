import { describe, expect, it } from 'vitest';
import type { BudgetAmount } from './grants.ts';
import { LEASE_LIMITS } from './lease-desk.ts';
import { amountOf, DAY, DAY_START_MS, HeldDesk, leaseRecord, MONTH, NOON_MS, PREPAID, SPOOL_ID, type Tried } from './lease-testing.ts';

const DAY_MS = 24 * 3600 * 1000;
const TOMORROW = { capId: DAY.capId, windowStartMs: DAY_START_MS + DAY_MS };

function of(amount: number): BudgetAmount {
  return amountOf(DAY, amount);
}

/** How it came out, in a word. */
function fate({ outcome, calls }: Tried): string {
  expect(calls).toBe(outcome === undefined ? 0 : 1);
  if (outcome === undefined) return 'waits';
  if (outcome.kind === 'reserved') return 'reserved';
  return outcome.refusal.kind;
}

describe('a request whose leases suffice', () => {
  it('is served at once, from each of its budgets', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 1_000), leaseRecord('m', MONTH, 5_000), leaseRecord('p', PREPAID, 300)]);
    const reservation = held.take(of(10), amountOf(MONTH, 10), { ...amountOf(PREPAID, 1), unit: 'images' });
    expect(reservation.leases.map(({ leaseId, unit, amount }) => [leaseId, unit, amount])).toEqual([
      ['d', 'nano_usd', 10],
      ['m', 'nano_usd', 10],
      ['p', 'images', 1],
    ]);
    expect(held.counters(PREPAID)).toBe('300/0/0/1');
    held.settle(reservation, 4, 4, 1);
    expect([held.counters(DAY), held.counters(MONTH), held.counters(PREPAID)]).toEqual(['1000/0/4/0', '5000/0/4/0', '300/0/1/0']);
    expect(held.questions).toEqual([]);
    expect(held.writes).toEqual([]);
  });

  it('is served without the control plane', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)], { connected: false });
    held.take(of(100));
    expect(held.questions).toEqual([]);
  });

  it('that takes nothing is always served', () => {
    const held = new HeldDesk();
    expect(held.take().leases).toEqual([]);
    held.desk.returnAll(held.nowMs);
    expect(held.take().leases).toEqual([]);
  });

  it('is settled once, and by the desk that served it', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    const reservation = held.take(of(10));
    expect(() => held.settle(reservation, 11)).toThrow(RangeError);
    held.settle(reservation, 10);
    expect(() => held.settle(reservation, 10)).toThrow();
    expect(() => held.settle({ leases: [{ leaseId: 'd', unit: 'nano_usd', amount: 1 }] }, 1)).toThrow();
    expect(held.counters(DAY)).toBe('100/0/10/0');
  });

  it.each([0, -5, 1.5, Number.NaN])('cannot be for an amount of %d', (amount) => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    expect(() => held.try(of(amount))).toThrow(RangeError);
    expect(() => held.try(of(1), of(1_000))).toThrow('twice');
    expect(held.desk.status().waiting).toBe(0);
  });
});

describe('a question', () => {
  it('that a grant being written down leads to has all of its time to be answered', () => {
    const held = new HeldDesk();
    held.try(of(10));
    const second = held.try(of(10));
    held.desk.grants([{ leaseId: 'd', spoolId: SPOOL_ID, budget: DAY, granted: 10 }], 1, held.nowMs);
    held.nowMs += 450;
    held.flush();
    expect(held.questions).toHaveLength(2);
    held.pass(499);
    expect(fate(second)).toBe('waits');
    expect(held.desk.status()).toMatchObject({ questions: 1, unanswered: 0 });
  });

  it('that one who leaves makes way for has all of its time to be answered', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.take(of(100));
    const first = held.try(of(60));
    held.deny(20);
    const second = held.try(of(10));
    held.nowMs += 990;
    first.giveUp();
    held.pass(0);
    expect(held.questions).toHaveLength(2);
    held.pass(490);
    expect(fate(second)).toBe('waits');
    expect(held.desk.status()).toMatchObject({ questions: 1, unanswered: 0 });
  });
});

describe('a refill', () => {
  it('is sized by what was used of late, also where the clock was ahead for a while', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 2_000)]);
    held.nowMs += 3_600_000;
    held.desk.tick(held.nowMs);
    held.settle(held.take(of(1_000)), 1_000);
    held.nowMs -= 3_600_000;
    held.desk.tick(held.nowMs);
    held.pass(120_000);
    held.take(of(950));
    expect(held.questions).toEqual([{ questionId: 1, budget: DAY, need: 0, want: 2 * 950 - 50, ratePer30s: 1 }]);
  });

  it('is asked when less than half is free of what the last grant left, once', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.take(of(25));
    held.take(of(25));
    expect(held.questions).toEqual([]);
    held.take(of(1));
    expect(held.questions).toEqual([{ questionId: 1, budget: DAY, need: 0, want: 1, ratePer30s: 0 }]);
    held.take(of(1));
    held.pass(450);
    held.take(of(1));
    expect(held.questions).toHaveLength(1);
    held.grant('d', DAY, 200, 1);
    held.pass(2_000);
    held.take(of(70));
    expect(held.questions).toHaveLength(1);
    held.take(of(5));
    expect(held.questions).toHaveLength(2);
  });

  it('is asked when another of the largest requests would not be served', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.settle(held.take(of(60)), 10);
    held.take(of(5));
    expect(held.questions).toHaveLength(1);
    held.grant('d', DAY, 200, 1);
    held.pass(2_000);
    held.take(of(90));
    expect(held.questions).toHaveLength(1);
    held.take(of(50));
    expect(held.questions[1]).toMatchObject({ need: 0, want: 180 - 45 });
  });

  it('is asked when what is free would last less than 5 s', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 2_000)]);
    for (let i = 0; i < 100; i++) held.settle(held.take(of(10)), 10);
    held.desk.recall({ recallId: 1n, leaseId: 'd', retire: false }, held.nowMs);
    held.flush();
    held.grant('d', DAY, 2_300);
    expect(held.questions).toEqual([]);
    // 1,000 used in one moment count as 69 a second at a half-life of 10 s.
    held.take(of(1));
    expect(held.questions).toEqual([{ questionId: 1, budget: DAY, need: 0, want: 2_080 - 299, ratePer30s: 2_080 }]);
  });

  it('that is denied is not asked again for a while, which grows', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.take(of(60));
    held.deny(3);
    const askedAt: number[] = [];
    for (let s = 0; s < 40; s++) {
      held.pass(1_000);
      const before = held.questions.length;
      held.settle(held.take(of(1)), 0);
      if (held.questions.length > before) {
        askedAt.push(s + 1);
        held.deny(3);
      }
    }
    expect(askedAt).toEqual([5, 15, 35]);
  });

  it('is not asked while nobody is connected', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)], { connected: false });
    held.take(of(60));
    held.desk.opened({ dbEpoch: 'e1', frozen: false }, held.nowMs);
    expect(held.questions).toHaveLength(0);
    held.take(of(1));
    expect(held.questions).toHaveLength(1);
  });
});

describe('a request that lacks something', () => {
  it('has the control plane asked, and is served when the grant is written', () => {
    const held = new HeldDesk();
    const tried = held.try(of(30));
    expect(held.questions).toEqual([{ questionId: 1, budget: DAY, need: 30, want: 30, ratePer30s: 0 }]);
    held.desk.grants([{ leaseId: 'd', spoolId: SPOOL_ID, budget: DAY, granted: 50 }], 1, held.nowMs);
    expect(fate(tried)).toBe('waits');
    expect(held.writes.map(({ record }) => record)).toEqual([leaseRecord('d', DAY, 50)]);
    held.flush();
    expect(fate(tried)).toBe('reserved');
    expect(held.counters(DAY)).toBe('50/0/0/30');
  });

  it('is served first come, first served, with one question at a time for what the first and what all lack', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    const order: number[] = [];
    for (const [index, amount] of [30, 5, 8].entries()) {
      held.desk.reserve([of(amount)], held.nowMs, () => order.push(index));
    }
    expect(held.questions).toEqual([{ questionId: 1, budget: DAY, need: 20, want: 20, ratePer30s: 0 }]);
    held.grant('d', DAY, 32, 1);
    expect(order).toEqual([0]);
    expect(held.questions[1]).toMatchObject({ need: 3, want: 11 });
    held.grant('d', DAY, 50, 2);
    expect(order).toEqual([0, 1, 2]);
  });

  it('is refused when the control plane leaves less than it needs, and told what that is with what is free here', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    const tried = held.try(of(30));
    held.deny(19);
    const refusal = { kind: 'exhausted', short: of(30), left: 29, grantable: 19, limit: 1_000 };
    expect(tried.outcome).toEqual({ kind: 'refused', refusal });
    expect(held.counters(DAY)).toBe('10/0/0/0');
  });

  it('is refused at once by a denial of the last second, and asks after that', () => {
    const held = new HeldDesk();
    held.try(of(30));
    held.deny(19);
    held.pass(1_000);
    expect(fate(held.try(of(20)))).toBe('exhausted');
    expect(held.questions).toHaveLength(1);
    held.pass(1);
    expect(fate(held.try(of(20)))).toBe('waits');
    expect(held.questions).toHaveLength(2);
  });

  it('asks in spite of a denial that leaves enough for it', () => {
    const held = new HeldDesk();
    held.try(of(30));
    held.deny(19);
    expect(fate(held.try(of(19)))).toBe('waits');
    expect(held.questions[1]).toMatchObject({ need: 19 });
    held.deny(19);
    expect(held.questions).toHaveLength(2);
  });

  it('asks where a grant came since the denial', () => {
    const held = new HeldDesk();
    held.try(of(30));
    held.deny(19);
    held.grant('d', DAY, 5);
    expect(fate(held.try(of(30)))).toBe('waits');
    expect(held.questions[1]).toMatchObject({ need: 25 });
  });

  it('lets one that needs less go on when it is refused', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    const [big, small] = [held.try(of(30)), held.try(of(9))];
    expect(fate(small)).toBe('waits');
    held.deny(0);
    expect([fate(big), fate(small)]).toEqual(['exhausted', 'reserved']);
  });

  it('waits for a reservation in flight before it is refused', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    const first = held.take(of(90));
    const tried = held.try(of(30));
    held.deny(0);
    expect(fate(tried)).toBe('waits');
    held.settle(first, 40);
    expect(fate(tried)).toBe('reserved');
    expect(held.counters(DAY)).toBe('100/0/40/30');
  });

  it('asks again each second while it waits for one in flight', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.take(of(90));
    const tried = held.try(of(30));
    for (let s = 0; s < 4; s++) {
      held.deny(0);
      held.pass(1_001);
    }
    // The first is a refill, which was asked for when 90 were taken.
    expect(held.questions.map(({ need }) => need)).toEqual([0, 20, 20, 20, 20]);
    expect(fate(tried)).toBe('waits');
    held.grant('d', DAY, 120);
    expect(fate(tried)).toBe('reserved');
  });

  it('is refused after 5 s by a denial of the last second', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.take(of(90));
    held.deny(0);
    const tried = held.try(of(30));
    held.pass(1_001);
    held.pass(3_499);
    held.try(of(40)).giveUp();
    held.deny(0);
    held.pass(499);
    expect(fate(tried)).toBe('waits');
    held.pass(1);
    expect(fate(tried)).toBe('exhausted');
  });

  it('is told at last, without a word of the control plane, that the budget is unavailable', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.take(of(90));
    const tried = held.try(of(30));
    held.pass(4_999);
    expect(fate(tried)).toBe('waits');
    held.pass(501);
    expect(fate(tried)).toBe('unavailable');
    expect(held.desk.status()).toMatchObject({ waiting: 0, reservations: 1, refusedUnavailable: 1 });
  });

  it('does not wait for reservations that could not help it, and so holds up nobody', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.take(of(60));
    const [huge, small] = [held.try(of(500)), held.try(of(20))];
    held.deny(399);
    expect([fate(huge), fate(small)]).toEqual(['exhausted', 'reserved']);
  });

  it('waits for its own return that is under way before it is refused', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.desk.recall({ recallId: 1n, leaseId: 'd', retire: false }, held.nowMs);
    const seq = held.flush();
    const tried = held.try(of(30));
    held.deny(0);
    expect(fate(tried)).toBe('waits');
    held.desk.acknowledged(seq, held.nowMs);
    held.pass(1_001);
    held.deny(0);
    expect(fate(tried)).toBe('exhausted');
  });

  it('is unavailable without the control plane, where nothing is in flight', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    held.desk.disconnected(held.nowMs);
    expect(fate(held.try(of(11)))).toBe('unavailable');
    const first = held.take(of(10));
    const tried = held.try(of(5));
    expect(fate(tried)).toBe('waits');
    held.settle(first, 1);
    expect(fate(tried)).toBe('reserved');
    expect(held.questions).toEqual([]);
  });

  it('is unavailable when the connection goes, and asks on a new one where it waited for one in flight', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    const other = held.try(amountOf(MONTH, 1));
    held.take(of(10));
    const tried = held.try(of(5));
    held.desk.disconnected(held.nowMs);
    expect([fate(other), fate(tried)]).toEqual(['unavailable', 'waits']);
    const asked = held.questions.length;
    held.desk.opened({ dbEpoch: 'e1', frozen: false }, held.nowMs);
    expect(held.questions.slice(asked)).toMatchObject([{ budget: DAY, need: 5 }]);
  });

  it('is unavailable where a holder is unreachable', () => {
    const held = new HeldDesk();
    const tried = [held.try(of(5)), held.try(of(7))];
    held.deny(0, 'unreachable');
    expect(tried.map(fate)).toEqual(['unavailable', 'unavailable']);
  });

  it('is unavailable when no answer has come in 500 ms; the next asks again, and a late answer serves it', () => {
    const held = new HeldDesk();
    const first = held.try(of(5));
    held.pass(499);
    expect(fate(first)).toBe('waits');
    held.pass(1);
    expect(fate(first)).toBe('unavailable');
    held.pass(1);
    const second = held.try(of(5));
    expect(held.questions).toHaveLength(2);
    held.grant('d', DAY, 5, 1);
    expect(fate(second)).toBe('reserved');
    expect(held.desk.status()).toMatchObject({ unanswered: 1, questions: 1 });
  });

  it('is refused by a late denial of this stream, not by one of an earlier stream or of a question that was never asked', () => {
    const held = new HeldDesk();
    const denial = (questionId: number) =>
      held.desk.denial({ questionId, budget: DAY, reason: 'exhausted', left: 4, limit: 9 }, held.nowMs);
    held.try(of(5));
    held.pass(600);
    const second = held.try(of(5));
    held.desk.disconnected(held.nowMs);
    expect(fate(second)).toBe('unavailable');
    held.pass(1);
    held.desk.opened({ dbEpoch: 'e1', frozen: false }, held.nowMs);
    const third = held.try(of(5));
    denial(1);
    denial(2);
    denial(4);
    denial(0);
    expect(fate(third)).toBe('waits');
    held.pass(600);
    held.pass(1);
    const fourth = held.try(of(5));
    denial(3);
    expect([fate(third), fate(fourth)]).toEqual(['unavailable', 'exhausted']);
  });

  it('asks again where a denial does not count what was given back since its question was asked', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    const large = held.try(of(30));
    held.desk.recall({ recallId: 1n, leaseId: 'd', retire: false }, held.nowMs);
    const seq = held.flush();
    held.deny(0);
    expect(fate(large)).toBe('exhausted');
    held.desk.acknowledged(seq, held.nowMs);
    const asked = held.questions.length;
    const small = held.try(of(5));
    expect(fate(small)).toBe('waits');
    expect(held.questions).toHaveLength(asked + 1);
    held.deny(4);
    expect(fate(small)).toBe('exhausted');
  });

  it('does not remember a denial, and waits no longer, because the clock is set back', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    held.take(of(10));
    const waiting = held.try(of(8));
    held.deny(0);
    expect(fate(waiting)).toBe('waits');
    held.nowMs -= 100_000;
    held.pass(1);
    const other = held.try(of(2));
    expect(fate(other)).toBe('waits');
    held.pass(6_000);
    expect([fate(waiting), fate(other)]).toEqual(['unavailable', 'unavailable']);
  });

  it('does not ask while a refill is being answered, and then does', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    held.take(of(10));
    expect(held.questions).toHaveLength(1);
    const tried = held.try(of(5));
    expect(held.questions).toHaveLength(1);
    held.grant('d', DAY, 12, 1);
    expect(held.questions[1]).toMatchObject({ need: 3 });
    held.grant('d', DAY, 15, 2);
    expect(fate(tried)).toBe('reserved');
  });

  it('holds up nobody on budgets that suffice for it', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10), leaseRecord('m', MONTH, 100)]);
    const first = held.try(of(11), amountOf(MONTH, 60));
    expect(fate(held.try(amountOf(MONTH, 50)))).toBe('reserved');
    // Now it lacks something there too, and nobody passes it.
    expect(held.questions.map(({ budget, need }) => [budget.capId, need])).toEqual([
      ['cap_day', 1],
      ['cap_month', 10],
    ]);
    const third = held.try(amountOf(MONTH, 1));
    expect(fate(third)).toBe('waits');
    held.grant('d', DAY, 11, 1);
    expect(fate(first)).toBe('waits');
    held.grant('m', MONTH, 110, 2);
    expect([fate(first), fate(third)]).toEqual(['reserved', 'waits']);
  });

  it('has the control plane asked when a later one has left too little for it', () => {
    const held = new HeldDesk([leaseRecord('m', MONTH, 100)]);
    held.take(amountOf(MONTH, 60));
    held.grant('m', MONTH, 200, 1);
    held.try(of(11), amountOf(MONTH, 100));
    // No refill is due: one was asked a moment ago.
    held.take(amountOf(MONTH, 50));
    expect(held.questions.slice(1)).toMatchObject([
      { budget: DAY, need: 11 },
      { budget: MONTH, need: 10 },
    ]);
  });

  it('is given up when its client leaves, and lets the next go on', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    const [first, second] = [held.try(of(30)), held.try(of(10))];
    first.giveUp();
    first.giveUp();
    held.pass(0);
    expect([fate(first), fate(second)]).toEqual(['waits', 'reserved']);
    held.pass(10_000);
    expect(first.calls).toBe(0);
    expect(held.desk.status().waiting).toBe(0);
  });

  it('is not passed by a later one before those behind who left were looked at', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 85), leaseRecord('p', PREPAID, 40)]);
    const first = held.try(of(38), amountOf(PREPAID, 45));
    const second = held.try(of(47), amountOf(PREPAID, 20));
    const third = held.try(of(47), amountOf(PREPAID, 20));
    first.giveUp();
    const later = held.try(of(21));
    expect([second, third, later].map(fate)).toEqual(['reserved', 'waits', 'waits']);
  });

  it('gives back what was reserved for one that is given up in the moment it is served', () => {
    const held = new HeldDesk();
    let second: Tried | undefined;
    held.desk.reserve([of(5)], held.nowMs, () => second?.giveUp());
    second = held.try(of(7));
    held.grant('d', DAY, 20, 1);
    expect(second.calls).toBe(0);
    expect(held.counters(DAY)).toBe('20/0/0/5');
  });

  it('may come again from within its answer', () => {
    const held = new HeldDesk();
    const fates: string[] = [];
    held.desk.reserve([of(5)], held.nowMs, (outcome) => {
      fates.push(outcome.kind);
      if (outcome.kind === 'reserved') held.settle(outcome.reservation, 1);
      held.desk.reserve([of(19)], held.nowMs, (again) => fates.push(again.kind));
      held.desk.reserve([of(20)], held.nowMs, (again) => fates.push(again.kind));
    });
    held.grant('d', DAY, 20, 1);
    expect(fates).toEqual(['reserved', 'reserved']);
    expect(held.desk.status().waiting).toBe(1);
  });

  it('is unavailable where 256 wait already', () => {
    const held = new HeldDesk();
    const tried = Array.from({ length: LEASE_LIMITS.maxWaiting + 1 }, () => held.try(of(1)));
    expect(tried.map(fate).filter((word) => word !== 'waits')).toEqual(['unavailable']);
    expect(held.desk.status().waiting).toBe(256);
    expect(held.questions).toHaveLength(1);
    held.grant('d', DAY, 1_000, 1);
    expect(tried.map(fate).filter((word) => word === 'reserved')).toHaveLength(256);
  });
});

describe('a grant', () => {
  const other = { leaseId: 'x', spoolId: SPOOL_ID, budget: DAY, granted: 500 };

  it('is dropped for another spool, beside an open lease, under another budget, and after the lease has ended', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10), leaseRecord('gone', MONTH, 10, { closed: true })]);
    held.desk.grants(
      [
        { ...other, spoolId: 'spl_other', leaseId: 'd' },
        other,
        { ...other, leaseId: 'd', budget: MONTH },
        { ...other, leaseId: 'gone', budget: MONTH },
      ],
      0,
      held.nowMs,
    );
    expect(held.writes).toEqual([]);
    expect(held.desk.status().grantsDropped).toBe(4);
    held.desk.closed('d', held.nowMs);
    held.grant('x', DAY, 500);
    held.grant('d', DAY, 900);
    expect(held.counters(DAY)).toBe('500/0/0/0');
  });

  it('is merged by the higher total, and written once', () => {
    const held = new HeldDesk();
    for (const granted of [50, 50, 30, 80]) held.desk.grants([{ ...other, granted }], 0, held.nowMs);
    expect(held.writes.map(({ record }) => record.granted)).toEqual([50, 80]);
    const [first, second] = held.writes.splice(0);
    second?.written(undefined, 2, held.nowMs);
    expect(held.counters(DAY)).toBe('80/0/0/0');
    first?.written(undefined, 1, held.nowMs);
    expect(held.counters(DAY)).toBe('80/0/0/0');
    held.grant('x', DAY, 80);
    expect(held.writes).toEqual([]);
  });

  it('that could not be written is not usable, until it comes again', () => {
    const held = new HeldDesk();
    const tried = held.try(of(5));
    held.desk.grants([other], 1, held.nowMs);
    held.failWrites();
    expect(fate(tried)).toBe('unavailable');
    expect(held.counters(DAY)).toBe('0/0/0/0');
    held.pass(5_000);
    expect(held.writes).toEqual([]);
    held.grant('x', DAY, 500);
    expect(held.counters(DAY)).toBe('500/0/0/0');
  });

  it('that could not be written is no reason to say that all is used up', () => {
    const held = new HeldDesk();
    const tried = held.try(of(5));
    held.desk.grants([other], 1, held.nowMs);
    held.failWrites();
    expect(fate(tried)).toBe('unavailable');
    held.pass(1_001);
    const second = held.try(of(5));
    held.deny(0);
    expect(fate(second)).toBe('unavailable');
  });

  it('that could not be written gives way to another lease, of a control plane that knows nothing of it', () => {
    const held = new HeldDesk();
    held.try(of(5));
    held.desk.grants([other], 1, held.nowMs);
    held.failWrites();
    held.desk.disconnected(held.nowMs);
    held.desk.opened({ dbEpoch: 'e2', frozen: false }, held.nowMs);
    held.grant('y', DAY, 40);
    expect(held.counters(DAY)).toBe('40/0/0/0');
    expect(held.desk.status()).toMatchObject({ openLeases: 1, grantsDropped: 0 });
    // Whether the failed record is on the disk is not known: it is not to come back as a second open lease.
    expect(held.written).toContainEqual(leaseRecord(other.leaseId, DAY, other.granted, { closed: true }));
  });

  it('that is being written stays beside no other', () => {
    const held = new HeldDesk();
    held.desk.grants([other], 0, held.nowMs);
    held.desk.grants([{ ...other, leaseId: 'y' }], 0, held.nowMs);
    held.flush();
    expect(held.desk.leaseOn(DAY)?.id).toBe(other.leaseId);
    expect(held.desk.status().grantsDropped).toBe(1);
  });
});

describe('a recall', () => {
  const recall = (recallId: bigint, retire = false) => ({ recallId, leaseId: 'd', retire });

  it('gives back all that is free, and is answered when that is acknowledged', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100, { used: 5 })]);
    held.take(of(30));
    held.desk.recall(recall(7n), held.nowMs);
    expect(held.counters(DAY)).toBe('100/65/5/30');
    expect([held.hurries, held.answers]).toEqual([0, []]);
    const seq = held.flush();
    expect(held.written).toEqual([leaseRecord('d', DAY, 100, { returned: 65, used: 5 })]);
    expect(held.hurries).toBe(1);
    held.desk.acknowledged(seq - 1, held.nowMs);
    expect(held.answers).toEqual([]);
    held.desk.acknowledged(seq, held.nowMs);
    expect(held.answers).toEqual([7n]);
  });

  it('is answered at once where nothing is free or the lease is not known, or has ended', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10, { returned: 3 }), leaseRecord('gone', DAY, 10, { closed: true })]);
    held.take(of(7));
    held.desk.recall(recall(1n), held.nowMs);
    held.desk.recall({ ...recall(2n), leaseId: 'unknown' }, held.nowMs);
    held.desk.recall({ ...recall(3n), leaseId: 'gone' }, held.nowMs);
    expect(held.answers).toEqual([1n, 2n, 3n]);
    expect(held.writes).toEqual([]);
  });

  it('waits for what an earlier boot gave back, which the control plane has once it has a record of this one', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10, { returned: 10 })], { ingested: false });
    held.desk.recall(recall(1n), held.nowMs);
    expect([held.hurries, held.answers]).toEqual([1, []]);
    held.desk.acknowledged(0, held.nowMs);
    expect(held.answers).toEqual([]);
    held.desk.acknowledged(1, held.nowMs);
    expect(held.answers).toEqual([1n]);
  });

  it('that finds nothing waits for what an earlier one gave back', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    held.desk.recall(recall(1n), held.nowMs);
    held.desk.recall(recall(2n), held.nowMs);
    const seq = held.flush();
    held.desk.recall(recall(3n), held.nowMs);
    expect(held.answers).toEqual([]);
    held.desk.acknowledged(seq, held.nowMs);
    expect(held.answers).toEqual([1n, 2n, 3n]);
    held.desk.recall(recall(4n), held.nowMs);
    expect(held.answers).toEqual([1n, 2n, 3n, 4n]);
  });

  it('whose return could not be written is answered after it was written again', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    held.desk.recall(recall(1n), held.nowMs);
    held.failWrites();
    expect(fate(held.try(of(1)))).toBe('waits');
    held.pass(1_000);
    const seq = held.flush();
    expect(held.written).toEqual([leaseRecord('d', DAY, 10, { returned: 10 })]);
    held.desk.acknowledged(seq, held.nowMs);
    expect(held.answers).toEqual([1n]);
  });

  it('is not answered on another stream than it came on', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    held.desk.recall(recall(1n), held.nowMs);
    held.desk.disconnected(held.nowMs);
    held.desk.opened({ dbEpoch: 'e1', frozen: false }, held.nowMs);
    held.desk.recall(recall(2n), held.nowMs);
    held.desk.acknowledged(held.flush(), held.nowMs);
    expect(held.answers).toEqual([2n]);
  });

  it('makes who waits on the budget ask for all of it again', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 10)]);
    const tried = held.try(of(30));
    held.desk.recall(recall(1n), held.nowMs);
    held.deny(25);
    expect(fate(tried)).toBe('waits');
    held.desk.acknowledged(held.flush(), held.nowMs);
    held.pass(1_001);
    expect(held.questions[1]).toMatchObject({ need: 30 });
  });

  it('that retires a lease ends its use; what settles is given back, and a closed one is replaced', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    const [first, second] = [held.take(of(10)), held.take(of(20))];
    held.desk.recall(recall(1n, true), held.nowMs);
    held.flush();
    expect(held.counters(DAY)).toBe('100/70/0/30');
    const tried = held.try(of(1));
    expect(held.desk.room([DAY])).toEqual({ free: 0, inFlight: 2 });
    expect(fate(tried)).toBe('waits');
    expect(held.questions).toEqual([]);
    held.settle(first, 4);
    expect(held.counters(DAY)).toBe('100/70/4/20');
    held.pass(1_000);
    expect(held.counters(DAY)).toBe('100/76/4/20');
    held.settle(second, 20);
    held.flush();
    held.desk.closed('d', held.nowMs);
    held.flush();
    expect(held.written.at(-1)).toEqual(leaseRecord('d', DAY, 100, { returned: 76, used: 24, closed: true }));
    expect(held.questions).toMatchObject([{ need: 1 }]);
    held.grant('e', DAY, 100, 1);
    expect(fate(tried)).toBe('reserved');
  });

  it('that retires gives back what was still being written', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    held.desk.grants([{ leaseId: 'd', spoolId: SPOOL_ID, budget: DAY, granted: 150 }], 0, held.nowMs);
    held.desk.recall(recall(1n, true), held.nowMs);
    held.flush();
    expect(held.counters(DAY)).toBe('150/150/0/0');
  });
});

describe('a lease that was closed', () => {
  it('admits nothing, and what is in flight settles on it', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)]);
    const first = held.take(of(10));
    held.desk.recall({ recallId: 1n, leaseId: 'd', retire: false }, held.nowMs);
    held.desk.closed('d', held.nowMs);
    held.desk.closed('d', held.nowMs);
    expect(held.answers).toEqual([1n]);
    expect(fate(held.try(of(1)))).toBe('waits');
    held.settle(first, 10);
    held.flush();
    expect(held.desk.declarations()).toEqual([leaseRecord('d', DAY, 100, { returned: 90, used: 10, closed: true })]);
    expect(held.desk.status()).toMatchObject({ openLeases: 0, reservations: 0 });
    held.desk.tick(held.nowMs + 26 * 3600 * 1000);
    expect(held.desk.declarations()).toEqual([]);
  });
});

describe('a window', () => {
  it('that is over gives back what is free some seconds later, and what settles after that', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100), leaseRecord('p', PREPAID, 100)]);
    const [first, second] = [held.take(of(10)), held.take(of(20))];
    held.pass(12 * 3600 * 1000 + 4_999);
    expect(held.counters(DAY)).toBe('100/0/0/30');
    held.pass(1);
    expect(held.counters(DAY)).toBe('100/70/0/30');
    held.settle(first, 1);
    held.pass(1_000);
    expect(held.counters(DAY)).toBe('100/79/1/20');
    held.settle(second, 20);
    expect(held.counters(DAY)).toBe('100/79/21/0');
    held.pass(60 * DAY_MS);
    expect(held.counters(PREPAID)).toBe('100/0/0/0');
  });

  it('that is over at the start gives back what is free', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)], { nowMs: NOON_MS + 3 * DAY_MS });
    expect(held.counters(DAY)).toBe('100/100/0/0');
    held.grant('d', DAY, 130);
    expect(held.counters(DAY)).toBe('130/130/0/0');
  });

  it('that begins with a month is taken for the month until a request tells', () => {
    const first = { capId: 'cap_x', windowStartMs: Date.UTC(2026, 2, 1) };
    const held = new HeldDesk([leaseRecord('d', first, 100)]);
    expect(held.counters(first)).toBe('100/0/0/0');
    held.try(amountOf({ ...first, windowStartMs: DAY_START_MS }, 1));
    held.pass(5_000);
    expect(held.counters(first)).toBe('100/100/0/0');
  });

  it('of many budgets gives back some at a time', () => {
    const leases = Array.from({ length: 1_200 }, (_, i) => leaseRecord(`d${i}`, { ...DAY, capId: `cap_${i}` }, 100));
    const held = new HeldDesk(leases);
    held.pass(12 * 3600 * 1000 + 5_000);
    expect(held.writes).toHaveLength(500);
    held.pass(20);
    expect(held.writes).toHaveLength(1_000);
    held.pass(20);
    expect(held.writes).toHaveLength(1_200);
    expect(held.wakeAtMs).toBeUndefined();
  });

  it('that has not begun keeps its lease', () => {
    const held = new HeldDesk([leaseRecord('t', TOMORROW, 100)]);
    expect(fate(held.try(amountOf(TOMORROW, 1)))).toBe('unavailable');
    held.pass(12 * 3600 * 1000);
    expect(held.counters(TOMORROW)).toBe('100/0/0/0');
    held.take(amountOf(TOMORROW, 1));
  });
});

describe('the node', () => {
  it('that goes gives back what is free and what settles, and refuses who waits or comes', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100), leaseRecord('t', TOMORROW, 50)]);
    const first = held.take(of(40));
    const tried = held.try(of(90));
    expect(held.desk.returnAll(held.nowMs)).toBe(2);
    expect([held.counters(DAY), held.counters(TOMORROW)]).toEqual(['100/60/0/40', '50/50/0/0']);
    expect([fate(tried), fate(held.try(of(1)))]).toEqual(['unavailable', 'unavailable']);
    expect(held.hurries).toBe(1);
    held.settle(first, 10);
    expect(held.counters(DAY)).toBe('100/90/10/0');
    expect(held.desk.returnAll(held.nowMs)).toBe(0);
  });

  it('that goes without the control plane keeps its leases for when it is back', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100)], { connected: false });
    const first = held.take(of(40));
    expect(held.desk.returnAll(held.nowMs)).toBe(0);
    held.settle(first, 10);
    expect(held.counters(DAY)).toBe('100/0/10/0');
    expect(fate(held.try(of(1)))).toBe('unavailable');
  });

  it('tells the least that is free and what is in flight there', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100), leaseRecord('p', PREPAID, 60)]);
    held.take(of(10));
    expect(held.desk.room([DAY, PREPAID])).toEqual({ free: 60, inFlight: 0 });
    held.take(amountOf(PREPAID, 5));
    held.take(of(40));
    expect(held.desk.room([DAY, PREPAID])).toEqual({ free: 50, inFlight: 2 });
    expect(held.desk.room([DAY, MONTH])).toEqual({ free: 0, inFlight: 0 });
  });

  it('declares all that it has received', () => {
    const held = new HeldDesk([leaseRecord('d', DAY, 100, { returned: 5, used: 7 })]);
    held.desk.grants([{ leaseId: 'd', spoolId: SPOOL_ID, budget: DAY, granted: 150 }], 0, held.nowMs);
    expect(held.desk.declarations()).toEqual([leaseRecord('d', DAY, 150, { returned: 5, used: 7 })]);
  });
});
