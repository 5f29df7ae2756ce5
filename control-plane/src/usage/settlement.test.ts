import { type BudgetUnit, budgetId, prepaidCapId } from '@meridian/domain/budget';
import { heldOf, type LeaseRecord, NO_COUNTERS } from '@meridian/domain/lease';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Budget, Escrow, type Lease } from '../budgets/escrow.ts';
import { type Settlement, type SettlementRecord, settle } from './settlement.ts';

const SPOOL = 'spl_1';
const OWN: ReadonlySet<string> = new Set([SPOOL]);

const PREPAID = budgetOf(prepaidCapId('acc_1'), 'acc_1', 'nano_usd');
const CAP = budgetOf('cap_nano', 'acc_1', 'nano_usd');
const COUNT = budgetOf('cap_count', 'acc_1', 'chat_completions');
const OTHER = budgetOf(prepaidCapId('acc_2'), 'acc_2', 'nano_usd');

function budgetOf(capId: string, accountId: string, unit: BudgetUnit): Budget {
  return { ref: { capId, windowStartMs: 0 }, accountId, unit, limit: 1_000, settled: 0, held: 0 };
}

const hex = (letter: string): string => letter.repeat(32);
const [CREDIT, CAPPED, COUNTED, FOREIGN, ELSEWHERE] = [hex('a'), hex('b'), hex('c'), hex('d'), hex('e')];

/** A lease of 100 on each budget, and one of another spool on the credit. */
function escrow(change: Partial<Record<string, Partial<Lease>>> = {}): Escrow {
  const lease = (id: string, budget: Budget, spoolId = SPOOL): Lease => ({
    ...{ ...NO_COUNTERS, id, budgetId: budgetId(budget.ref), spoolId, granted: 100, closed: false, retiring: false },
    ...change[id],
  });
  const leases = [
    lease(CREDIT, PREPAID),
    lease(CAPPED, CAP),
    lease(COUNTED, COUNT),
    lease(FOREIGN, OTHER),
    lease(ELSEWHERE, PREPAID, 'spl_2'),
  ];
  const budgets = [PREPAID, CAP, COUNT, OTHER].map((budget) => {
    const own = leases.filter((each) => each.budgetId === budgetId(budget.ref));
    return { ...budget, settled: sum(own.map(({ used }) => used)), held: sum(own.filter(({ closed }) => !closed).map(heldOf)) };
  });
  return new Escrow(budgets, leases);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

type Amounts = Readonly<Record<string, number>>;

function amountsOf(amounts: Amounts) {
  return Object.entries(amounts).map(([leaseId, amount]) => ({ leaseId, amount: BigInt(amount) }));
}

function first(chargeNano: number, amounts: Amounts, seq = 1): SettlementRecord {
  return { seq, kind: 'first', accountId: 'acc_1', requestId: `req_${seq}`, chargeNano: BigInt(chargeNano), leases: amountsOf(amounts) };
}

function said(leaseId: string, change: Partial<LeaseRecord>, seq = 1): SettlementRecord {
  const budget = { [CREDIT]: PREPAID, [CAPPED]: CAP, [COUNTED]: COUNT, [FOREIGN]: OTHER }[leaseId] ?? PREPAID;
  return { seq, kind: 'lease', lease: { leaseId, budget: budget.ref, granted: 100, returned: 0, used: 0, closed: false, ...change } };
}

function run(rules: Escrow, ...records: SettlementRecord[]): Settlement {
  return settle(rules, OWN, records);
}

describe('a final', () => {
  it('is charged on all its leases, each in its own unit', () => {
    const rules = escrow();
    const { writtenOff, alarms } = run(rules, first(40, { [CREDIT]: 40, [CAPPED]: 40, [COUNTED]: 1 }));
    expect([writtenOff.size, alarms]).toEqual([0, []]);
    expect([rules.lease(CREDIT)?.used, rules.lease(CAPPED)?.used, rules.lease(COUNTED)?.used]).toEqual([40, 40, 1]);
    expect(rules.budget(budgetId(COUNT.ref))).toMatchObject({ settled: 1, held: 99 });
  });

  it.each<[string, Amounts, Partial<Record<string, Partial<Lease>>>, string]>([
    ['without room on one of its leases', { [CREDIT]: 40, [CAPPED]: 40 }, { [CAPPED]: { returned: 80 } }, 'has room for 20, not for 40'],
    ['on a closed lease', { [CREDIT]: 40 }, { [CREDIT]: { closed: true, writtenOff: 100 } }, 'is closed'],
    ['on a lease that is not known', { [CREDIT]: 40, [hex('9')]: 40 }, {}, 'is not known'],
    ['without a lease on its account’s credit', { [CAPPED]: 40 }, {}, 'no lease on the credit of its account'],
    ['on a lease of another account', { [CREDIT]: 40, [FOREIGN]: 40 }, {}, 'belongs to another account'],
    ['on a lease of another spool', { [ELSEWHERE]: 40 }, {}, 'belongs to another spool'],
    ['that would count less of a cap than it costs', { [CREDIT]: 40, [CAPPED]: 39 }, {}, 'was to pay 39 of 40'],
    ['that would take less credit than it costs', { [CREDIT]: 39 }, {}, 'was to pay 39 of 40'],
    ['without room for its count', { [CREDIT]: 40, [COUNTED]: 1 }, { [COUNTED]: { used: 100 } }, 'has room for 0, not for 1'],
  ])('%s is charged to nobody, and what it used is written off', (_, amounts, change, reason) => {
    const rules = escrow(change);
    const before = new Map([...rules.leases()].map((lease) => [lease.id, lease]));
    const { writtenOff, alarms } = run(rules, first(40, amounts));
    expect(writtenOff.get(1)).toContain(reason);
    expect(alarms).toEqual([{ kind: 'written_off', requestId: 'req_1', chargeNano: 40n, reason: writtenOff.get(1) }]);
    for (const lease of rules.leases()) {
      const was = before.get(lease.id) ?? expect.fail();
      const asked = lease.spoolId === SPOOL && !was.closed ? (amounts[lease.id] ?? 0) : 0;
      expect(lease.used).toBe(was.used);
      expect(lease.writtenOff - was.writtenOff).toBe(Math.min(asked, heldOf(was)));
    }
  });

  it('may name leases of the spool that its own replaces', () => {
    const rules = escrow();
    const { writtenOff } = settle(rules, new Set([SPOOL, 'spl_2']), [first(40, { [ELSEWHERE]: 40 })]);
    expect(writtenOff.size).toBe(0);
    expect(rules.lease(ELSEWHERE)?.used).toBe(40);
  });

  it('that names a lease twice is charged the sum, as far as there is room for it', () => {
    const rules = escrow();
    const twice = [...amountsOf({ [CREDIT]: 60 }), ...amountsOf({ [CREDIT]: 60 })];
    const record = { seq: 1, kind: 'first' as const, accountId: 'acc_1', requestId: 'r', chargeNano: 120n, leases: twice };
    expect(run(rules, record).writtenOff.get(1)).toContain('has room for 100, not for 120');
    expect(rules.lease(CREDIT)).toMatchObject({ used: 0, writtenOff: 100 });
  });

  it('of a cap that a restored database lost is charged on its credit all the same', () => {
    const lost = { ...budgetOf('cap_lost', '', 'nano_usd'), limit: 0, held: 100 };
    const lease = {
      ...NO_COUNTERS,
      id: CAPPED,
      budgetId: budgetId(lost.ref),
      spoolId: SPOOL,
      granted: 100,
      closed: false,
      retiring: false,
    };
    const rules = new Escrow([PREPAID, lost], [{ ...lease, id: CREDIT, budgetId: budgetId(PREPAID.ref) }, lease]);
    expect(run(rules, first(40, { [CREDIT]: 40, [CAPPED]: 1 })).writtenOff.size).toBe(0);
    expect([rules.lease(CREDIT)?.used, rules.lease(CAPPED)?.used]).toEqual([40, 1]);
  });
});

describe('a second final', () => {
  const again = (amount: number, counted: number): SettlementRecord => {
    return { seq: 2, kind: 'duplicate', leases: amountsOf({ [CREDIT]: amount }), counted: new Map([[CREDIT, BigInt(counted)]]) };
  };

  it('writes off what it holds beyond the first, and charges nothing', () => {
    const rules = escrow();
    expect(run(rules, first(30, { [CREDIT]: 30 }), again(50, 30))).toMatchObject({ alarms: [] });
    expect(rules.lease(CREDIT)).toMatchObject({ used: 30, writtenOff: 20 });
  });

  it('of no more than the first changes nothing', () => {
    const rules = escrow();
    run(rules, first(30, { [CREDIT]: 30 }), again(30, 30), again(10, 30));
    expect(rules.lease(CREDIT)).toMatchObject({ used: 30, writtenOff: 0 });
  });
});

describe('a dead letter', () => {
  it('writes off what could be read of it, whatever that is', () => {
    const rules = escrow();
    const leases = [...amountsOf({ [CREDIT]: 30, [hex('9')]: 5, [ELSEWHERE]: 7 }), { leaseId: CAPPED, amount: 2n ** 80n }];
    run(rules, { seq: 1, kind: 'letter', leases }, { seq: 2, kind: 'letter', leases: [{ leaseId: COUNTED, amount: -5n }] });
    expect([...rules.leases()].map((lease) => lease.writtenOff)).toEqual([30, 100, 0, 0, 0]);
  });
});

describe('what a node says of a lease', () => {
  it('gives back what is free, and no more: the rest is cut off, which alarms', () => {
    const rules = escrow();
    const { alarms } = run(rules, first(40, { [CREDIT]: 40 }), said(CREDIT, { returned: 70, used: 40 }, 2));
    expect(alarms).toEqual([{ kind: 'return_cut', leaseId: CREDIT, cut: 10 }]);
    expect(rules.lease(CREDIT)).toMatchObject({ used: 40, returned: 60 });
    expect(rules.budget(budgetId(PREPAID.ref))).toMatchObject({ settled: 40, held: 100 });
  });

  it('is compared with our own sum of what came before it', () => {
    const records = [
      first(10, { [CREDIT]: 10 }),
      said(CREDIT, { used: 10 }, 2),
      first(20, { [CREDIT]: 20 }, 3),
      said(CREDIT, { used: 10 }, 4),
    ];
    expect(run(escrow(), ...records).alarms).toEqual([{ kind: 'lease_used_differs', leaseId: CREDIT, nodeUsed: 10, used: 30 }]);
    expect(run(escrow(), said(CREDIT, { used: 1 })).alarms).toMatchObject([{ kind: 'lease_used_differs', nodeUsed: 1, used: 0 }]);
  });

  it('counts what was written off as used by the node', () => {
    const rules = escrow({ [CAPPED]: { returned: 100 } });
    expect(run(rules, first(40, { [CREDIT]: 40, [CAPPED]: 40 }), said(CREDIT, { used: 40 }, 2)).alarms).toMatchObject([
      { kind: 'written_off' },
    ]);
  });

  it('of more than was granted gives a restored database away, and so does a lease that is not known', () => {
    expect(run(escrow(), said(CREDIT, { granted: 150 })).alarms).toEqual([
      { kind: 'lease_ahead', leaseId: CREDIT, nodeGranted: 150, granted: 100 },
    ]);
    expect(run(escrow(), said(hex('9'), { granted: 50 })).alarms).toEqual([
      { kind: 'lease_ahead', leaseId: hex('9'), nodeGranted: 50, granted: 0 },
    ]);
  });

  it('counts for nothing on a closed lease, on one of another spool, and with another budget', () => {
    const rules = escrow({ [CREDIT]: { closed: true, writtenOff: 100 } });
    expect(run(rules, said(CREDIT, { returned: 50, used: 3 })).alarms).toEqual([]);
    expect(run(rules, said(ELSEWHERE, { returned: 50 })).alarms).toEqual([{ kind: 'lease_foreign', leaseId: ELSEWHERE }]);
    expect(run(rules, said(CAPPED, { returned: 50, budget: COUNT.ref })).alarms).toEqual([{ kind: 'lease_foreign', leaseId: CAPPED }]);
    expect(rules.changes()).toEqual({ budgets: [], leases: [] });
  });

  it('closes a lease that is being replaced, once nothing is held on it', () => {
    const rules = escrow({ [CREDIT]: { retiring: true } });
    run(rules, said(CREDIT, { returned: 60 }));
    expect(rules.lease(CREDIT)?.closed).toBe(false);
    run(rules, first(40, { [CREDIT]: 40 }), said(CREDIT, { returned: 60, used: 40 }, 2));
    expect(rules.lease(CREDIT)).toMatchObject({ closed: true, used: 40, returned: 60, writtenOff: 0 });
  });
});

describe('any sequence of records', () => {
  const amount = fc.integer({ min: 0, max: 60 });
  const leaseId = fc.constantFrom(CREDIT, CAPPED, COUNTED, FOREIGN, ELSEWHERE, hex('9'));
  const amounts = fc.array(fc.record({ leaseId, amount: amount.map(BigInt) }), { maxLength: 4 });
  const sound = fc.tuple(amount, fc.boolean(), fc.boolean()).map(([charge, capped, counted]) => ({
    chargeNano: BigInt(charge),
    leases: amountsOf({ [CREDIT]: charge, ...(capped ? { [CAPPED]: charge } : {}), ...(counted ? { [COUNTED]: 1 } : {}) }),
  }));
  const wild = fc.record({ chargeNano: amount.map(BigInt), leases: amounts });
  const record: fc.Arbitrary<SettlementRecord> = fc.oneof(
    fc
      .oneof({ weight: 3, arbitrary: sound }, wild)
      .map((final) => ({ seq: 1, kind: 'first' as const, accountId: 'acc_1', requestId: 'r', ...final })),
    fc.tuple(amounts, amount).map(([leases, counted]) => ({
      ...{ seq: 1, kind: 'duplicate' as const, leases },
      counted: new Map(leases.map((each) => [each.leaseId, BigInt(counted)])),
    })),
    amounts.map((leases) => ({ seq: 1, kind: 'letter' as const, leases })),
    fc.tuple(leaseId, amount, amount, fc.boolean()).map(([id, returned, used, closed]) => said(id, { returned, used, closed })),
  );

  it('keeps every lease within what it was granted, and charges customers what their budgets are charged', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 25 }), fc.boolean(), (given, retiring) => {
        const rules = escrow({ [CREDIT]: { retiring } });
        const records = given.map((each, index) => ({ ...each, seq: index + 1 }));
        const { writtenOff } = settle(rules, OWN, records);
        let charged = 0n;
        for (const each of records) if (each.kind === 'first' && !writtenOff.has(each.seq)) charged += each.chargeNano;
        expect(BigInt(rules.lease(CREDIT)?.used ?? -1)).toBe(charged);
        for (const lease of rules.leases()) {
          expect(lease.used + lease.returned + lease.writtenOff).toBeLessThanOrEqual(lease.granted);
          if (lease.spoolId !== SPOOL) expect(lease).toMatchObject({ used: 0, returned: 0, writtenOff: 0 });
        }
        for (const budget of [PREPAID, CAP, COUNT, OTHER]) {
          const own = [...rules.leases()].filter((lease) => lease.budgetId === budgetId(budget.ref));
          expect(rules.budget(budgetId(budget.ref))).toMatchObject({
            settled: sum(own.map((each) => each.used)),
            held: sum(own.map(heldOf)),
          });
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
