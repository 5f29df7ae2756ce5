import { budgetId, grantable } from '@meridian/domain/budget';
import { heldOf, type LeaseCounters } from '@meridian/domain/lease';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Budget, Escrow, type Lease } from './escrow.ts';

const BUDGETS = ['cap_a', 'cap_b', 'cap_c'].map((capId) => ({ capId, windowStartMs: 0 }));
const SPOOLS = ['spl_1', 'spl_2'];
const LIMIT = 1_000;
const COUNTERS = ['granted', 'returned', 'used', 'writtenOff'] as const satisfies readonly (keyof LeaseCounters)[];

function budgetOf(capId: string, change: Partial<Budget> = {}): Budget {
  return { ref: { capId, windowStartMs: 0 }, accountId: 'acc_1', unit: 'nano_usd', limit: LIMIT, settled: 0, held: 0, ...change };
}

/** What the tables hold: every step works on a fresh escrow, and only what it says it has changed is written back. */
class Books {
  readonly budgets = new Map(BUDGETS.map((ref) => [budgetId(ref), budgetOf(ref.capId)]));
  readonly leases = new Map<string, Lease>();

  step<T>(work: (escrow: Escrow) => T): T {
    const escrow = new Escrow(this.budgets.values(), this.leases.values());
    const result = work(escrow);
    const { budgets, leases } = escrow.changes();
    for (const budget of budgets) this.budgets.set(budgetId(budget.ref), budget);
    for (const lease of leases) this.leases.set(lease.id, lease);
    return result;
  }

  ids(): string[] {
    return [...this.leases.keys()];
  }
}

type Step = (books: Books) => void;

const place = fc.nat({ max: 7 });
const amount = fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 400 }) }, fc.constant(0));

/** Leases are picked by place, so that most steps find one. */
function pick(books: Books, at: number): string {
  const ids = books.ids();
  return ids.length === 0 ? 'none' : (ids[at % ids.length] ?? 'none');
}

const STEPS = {
  open: fc.tuple(place, place).map(([b, s]) => (books) => {
    const spoolId = SPOOLS[s % SPOOLS.length] ?? '';
    const ref = BUDGETS[b % BUDGETS.length];
    if (ref === undefined) return;
    const hasOne = [...books.leases.values()].some((l) => !l.closed && l.budgetId === budgetId(ref) && l.spoolId === spoolId);
    const lease = { id: `opened_${books.leases.size}`, budgetId: budgetId(ref), spoolId };
    if (hasOne) expect(() => books.step((escrow) => escrow.open(lease))).toThrow('open on');
    else books.step((escrow) => escrow.open(lease));
  }),
  grant: fc.tuple(place, amount).map(([at, n]) => (books) => {
    const id = pick(books, at);
    const before = books.leases.get(id);
    if (before === undefined) return;
    const budget = books.budgets.get(before.budgetId);
    const granted = books.step((escrow) => escrow.grant(id, n));
    expect(granted).toBe(!before.closed && !before.retiring && budget !== undefined && n <= grantable(budget));
    expect(books.leases.get(id)?.granted).toBe(before.granted + (granted ? n : 0));
  }),
  charge: fc.array(fc.tuple(place, amount), { maxLength: 4 }).map((parts) => (books) => {
    const amounts = parts.map(([at, n]) => ({ leaseId: pick(books, at), amount: BigInt(n) }));
    const before = new Map(books.leases);
    const { charged } = books.step((escrow) => escrow.charge(amounts));
    for (const [id, lease] of before) {
      const sum = amounts.filter((each) => each.leaseId === id).reduce((total, each) => total + Number(each.amount), 0);
      const after = books.leases.get(id) ?? lease;
      expect(after.used - lease.used).toBe(charged ? sum : 0);
      expect(after.writtenOff - lease.writtenOff).toBe(charged || lease.closed ? 0 : Math.min(sum, heldOf(lease)));
    }
    const canPay = amounts.every(({ leaseId, amount: one }) => one === 0n || before.get(leaseId)?.closed === false);
    const fits = [...before.values()].every(
      (lease) =>
        heldOf(lease) >= amounts.filter((each) => each.leaseId === lease.id).reduce((total, each) => total + Number(each.amount), 0),
    );
    expect(charged).toBe(canPay && fits);
  }),
  takeBack: fc.tuple(place, fc.nat({ max: 800 })).map(([at, returned]) => (books) => {
    const id = pick(books, at);
    const before = books.leases.get(id);
    const cut = books.step((escrow) => escrow.takeBack({ leaseId: id, returned }));
    if (before === undefined) return;
    const more = before.closed ? 0 : Math.max(0, returned - before.returned);
    expect((books.leases.get(id)?.returned ?? 0) - before.returned + cut).toBe(more);
  }),
  writeOff: fc.tuple(place, amount).map(
    ([at, n]) =>
      (books) =>
        books.step((escrow) => escrow.writeOff(pick(books, at), n)),
  ),
  retire: place.map((at) => (books) => {
    if (books.leases.size > 0) books.step((escrow) => escrow.retire(pick(books, at)));
  }),
  close: place.map((at) => (books) => {
    const id = pick(books, at);
    const before = books.leases.get(id);
    if (before === undefined) return;
    expect(books.step((escrow) => escrow.close(id))).toBe(before.closed ? 0 : heldOf(before));
    expect(books.leases.get(id)?.closed).toBe(true);
  }),
  declareLate: fc
    .record({
      lease: place,
      isNew: fc.boolean(),
      budget: place,
      spool: place,
      granted: fc.nat({ max: 800 }),
      returned: fc.nat({ max: 800 }),
      closed: fc.boolean(),
    })
    .map((given) => (books) => {
      const ref = BUDGETS[given.budget % BUDGETS.length];
      if (ref === undefined) return;
      const record = {
        leaseId: given.isNew ? `declared_${given.lease}` : pick(books, given.lease),
        budget: ref,
        granted: given.granted,
        returned: given.returned,
        used: 0,
        closed: given.closed,
      };
      books.step((escrow) => escrow.declare(record, SPOOLS[given.spool % SPOOLS.length] ?? '', true));
    }),
  setLimit: fc.tuple(place, fc.nat({ max: 2 * LIMIT })).map(([b, limit]) => (books) => {
    const ref = BUDGETS[b % BUDGETS.length];
    const budget = ref && books.budgets.get(budgetId(ref));
    if (budget !== undefined) books.budgets.set(budgetId(budget.ref), { ...budget, limit });
  }),
} satisfies Record<string, fc.Arbitrary<Step>>;

/** What does not hold after a step, whatever was asked for. Collected, since an assertion for each figure would take most of the time. */
function faultsOf(books: Books, before: Pick<Books, 'budgets' | 'leases'>): string[] {
  const faults: string[] = [];
  const must = (holds: boolean, fault: string): void => {
    if (!holds) faults.push(fault);
  };
  for (const [id, budget] of books.budgets) {
    const leases = [...books.leases.values()].filter((lease) => lease.budgetId === id);
    const was = before.budgets.get(id);
    must(budget.held === leases.reduce((sum, lease) => sum + heldOf(lease), 0), `${id} does not hold what its leases hold`);
    must(budget.settled === leases.reduce((sum, lease) => sum + lease.used, 0), `${id} has not settled what its leases used`);
    const taken = budget.settled + budget.held;
    must(taken <= Math.max(budget.limit, (was?.settled ?? 0) + (was?.held ?? 0)), `${id} grew past its limit`);
    for (const spoolId of SPOOLS) {
      const open = leases.filter((lease) => lease.spoolId === spoolId && !lease.closed && !lease.retiring);
      must(open.length <= 1, `${spoolId} has ${open.length} open leases on ${id}`);
    }
  }
  for (const [id, lease] of books.leases) {
    must(heldOf(lease) >= 0, `${id} gave away more than it was granted`);
    must(!lease.closed || heldOf(lease) === 0, `${id} is closed and holds something`);
    const was = before.leases.get(id);
    if (was === undefined) continue;
    for (const counter of COUNTERS) must(lease[counter] >= was[counter], `${counter} of ${id} shrank`);
    must(!was.closed || (lease.closed && COUNTERS.every((counter) => lease[counter] === was[counter])), `${id} was closed and changed`);
    must(!was.retiring || lease.retiring, `${id} came back`);
  }
  return faults;
}

describe('escrow', () => {
  it('never lets settled + held grow past a limit, nor a counter shrink, whatever comes in whatever order', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(STEPS.grant, STEPS.grant, ...Object.values(STEPS)), { minLength: 20, maxLength: 60 }), (steps) => {
        const books = new Books();
        // A lease of each spool on the first two budgets, so that most steps find something to do.
        books.step((escrow) => {
          for (const budgetOfStart of ['cap_a@0', 'cap_b@0']) {
            for (const spoolId of SPOOLS) escrow.open({ id: `${budgetOfStart} ${spoolId}`, budgetId: budgetOfStart, spoolId });
          }
        });
        for (const step of steps) {
          const before = { budgets: new Map(books.budgets), leases: new Map(books.leases) };
          step(books);
          expect(faultsOf(books, before)).toEqual([]);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('grants what is neither settled nor held, to the last unit', () => {
    const books = new Books();
    books.step((escrow) => {
      for (const spoolId of SPOOLS) escrow.open({ id: spoolId, budgetId: 'cap_a@0', spoolId });
      expect(escrow.grant('spl_1', LIMIT - 10)).toBe(true);
      escrow.charge([{ leaseId: 'spl_1', amount: 500n }]);
      expect([escrow.grant('spl_2', 11), escrow.grant('spl_2', 10), escrow.grant('spl_2', 1)]).toEqual([false, true, false]);
      escrow.takeBack({ leaseId: 'spl_1', returned: 3 });
      expect([escrow.grant('spl_2', 4), escrow.grant('spl_2', 3)]).toEqual([false, true]);
    });
    expect(books.budgets.get('cap_a@0')).toMatchObject({ settled: 500, held: 500 });
  });

  it('charges all leases or none, and a lease that is named twice with the sum', () => {
    const books = new Books();
    books.step((escrow) => {
      escrow.open({ id: 'a', budgetId: 'cap_a@0', spoolId: 'spl_1' });
      escrow.open({ id: 'b', budgetId: 'cap_b@0', spoolId: 'spl_1' });
      expect([escrow.grant('a', 100), escrow.grant('b', 60)]).toEqual([true, true]);
    });
    const verdict = books.step((escrow) =>
      escrow.charge([
        { leaseId: 'a', amount: 70n },
        { leaseId: 'b', amount: 70n },
      ]),
    );
    expect(verdict).toMatchObject({ charged: false, reason: expect.stringContaining('lease b has room for 60') });
    expect(books.leases.get('a')).toMatchObject({ used: 0, writtenOff: 70 });
    expect(books.leases.get('b')).toMatchObject({ used: 0, writtenOff: 60 });
    const twice = [
      { leaseId: 'a', amount: 20n },
      { leaseId: 'a', amount: 20n },
    ];
    expect(books.step((escrow) => escrow.charge(twice))).toMatchObject({ charged: false });
    expect(books.budgets.get('cap_a@0')).toMatchObject({ settled: 0, held: 0 });
  });

  it('refuses amounts that no counter can hold', () => {
    const books = new Books();
    books.step((escrow) => escrow.open({ id: 'a', budgetId: 'cap_a@0', spoolId: 'spl_1' }));
    for (const amount of [-1n, 2n ** 53n, 2n ** 64n]) {
      expect(books.step((escrow) => escrow.charge([{ leaseId: 'a', amount }]))).toMatchObject({ charged: false });
    }
    for (const bad of [-1, 0.5, Number.NaN, 2 ** 53]) expect(() => books.step((escrow) => escrow.grant('a', bad))).toThrow('a grant of');
  });

  it('grants no more on a lease that is full', () => {
    const ref = { capId: 'cap_a', windowStartMs: 0 };
    const full: Lease = {
      ...{ id: 'a', budgetId: budgetId(ref), spoolId: 'spl_1', closed: false, retiring: false },
      ...{ granted: 2 ** 52 + 1, returned: 2 ** 52 + 1, used: 0, writtenOff: 0 },
    };
    expect(new Escrow([budgetOf('cap_a')], [full]).grant('a', 1)).toBe(false);
    const escrow = new Escrow([budgetOf('cap_a')], [{ ...full, granted: 2 ** 52, returned: 2 ** 52 }]);
    expect(escrow.grant('a', 1)).toBe(true);
  });

  it('must not be given a lease without its budget', () => {
    const lease = { id: 'a', budgetId: 'cap_b@0', spoolId: 'spl_1', closed: false, retiring: false };
    expect(() => new Escrow([budgetOf('cap_a')], [{ ...lease, granted: 0, returned: 0, used: 0, writtenOff: 0 }])).toThrow('is not locked');
  });

  describe('a declaration to a restored database', () => {
    const record = { leaseId: 'a', budget: { capId: 'cap_a', windowStartMs: 0 }, granted: 800, returned: 100, used: 300, closed: false };

    it('restores what the backup does not know, without looking at the limit; used comes from the replay', () => {
      const books = new Books();
      const low = budgetOf('cap_a', { limit: 10 });
      books.budgets.set('cap_a@0', low);
      expect(books.step((escrow) => escrow.declare(record, 'spl_1', false))).toBe(true);
      expect(books.leases.get('a')).toMatchObject({ granted: 800, returned: 100, used: 0, writtenOff: 0, closed: false });
      expect(books.budgets.get('cap_a@0')).toMatchObject({ settled: 0, held: 700 });
      expect(books.step((escrow) => escrow.charge([{ leaseId: 'a', amount: 300n }])).charged).toBe(true);
      expect(books.budgets.get('cap_a@0')).toMatchObject({ settled: 300, held: 400 });
    });

    it('that comes after the thaw is taken only within the limit, else the lease is closed and written off', () => {
      const books = new Books();
      expect(books.step((escrow) => escrow.declare(record, 'spl_1', true))).toBe(true);
      expect(books.step((escrow) => escrow.declare({ ...record, leaseId: 'b' }, 'spl_2', true))).toBe(false);
      expect(books.leases.get('b')).toMatchObject({ granted: 800, returned: 100, writtenOff: 700, closed: true });
      expect(books.budgets.get('cap_a@0')).toMatchObject({ settled: 0, held: 700 });
    });

    it('changes nothing that another spool has, or that is closed', () => {
      const books = new Books();
      books.step((escrow) => escrow.declare(record, 'spl_1', false));
      expect(books.step((escrow) => escrow.declare({ ...record, granted: 900 }, 'spl_2', false))).toBe(false);
      expect(books.leases.get('a')?.granted).toBe(800);
      books.step((escrow) => escrow.close('a'));
      expect(books.step((escrow) => escrow.declare({ ...record, granted: 900 }, 'spl_1', false))).toBe(false);
      expect(books.leases.get('a')?.granted).toBe(800);
    });

    it('leaves one lease of a spool to be granted from: the one that the node has open', () => {
      const books = new Books();
      // The backup knows a lease that was closed since, and not the one in its place.
      books.step((escrow) => {
        escrow.open({ id: 'old', budgetId: 'cap_a@0', spoolId: 'spl_1' });
        escrow.grant('old', 100);
      });
      books.step((escrow) => escrow.declare(record, 'spl_1', false));
      books.step((escrow) => escrow.declare({ ...record, leaseId: 'old', granted: 200, returned: 0, closed: true }, 'spl_1', false));
      expect(books.leases.get('old')).toMatchObject({ granted: 200, closed: false, retiring: true });
      expect(books.leases.get('a')).toMatchObject({ closed: false, retiring: false });
      // What the replay brings still counts on it.
      expect(books.step((escrow) => escrow.charge([{ leaseId: 'old', amount: 150n }])).charged).toBe(true);
    });
  });
});
