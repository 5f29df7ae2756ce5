/** For tests: a lease desk whose effects are held, to be carried out, failed or delayed by hand. */
import type { BudgetRef } from '@meridian/domain/budget';
import { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { WindowKind } from '@meridian/domain/window';
import type { BudgetAmount, LeaseEffects, LeaseQuestion, Reservation, ReserveOutcome } from './grants.ts';
import { LeaseDesk, type LeaseLimits } from './lease-desk.ts';

export const SPOOL_ID = 'spl_here';
/** A Tuesday, at noon. */
export const NOON_MS = Date.UTC(2026, 2, 10, 12);
export const DAY_START_MS = Date.UTC(2026, 2, 10);

export const DAY: BudgetRef = { capId: 'cap_day', windowStartMs: DAY_START_MS };
export const MONTH: BudgetRef = { capId: 'cap_month', windowStartMs: Date.UTC(2026, 2, 1) };
export const PREPAID: BudgetRef = { capId: 'prepaid_acc_1', windowStartMs: 0 };

export function amountOf(budget: BudgetRef, amount: number): BudgetAmount {
  const window: WindowKind = budget.windowStartMs === 0 ? 'prepaid' : budget.capId.includes('month') ? 'utc_month' : 'utc_day';
  return { budget, scope: 'account', window, unit: 'nano_usd', amount };
}

export function leaseRecord(leaseId: string, budget: BudgetRef, granted: number, rest: Partial<LeaseRecord> = {}): LeaseRecord {
  return { leaseId, budget, granted, returned: 0, used: 0, closed: false, ...rest };
}

interface HeldWrite {
  readonly record: LeaseRecord;
  readonly written: (error: GatewayError | undefined, seq: number, nowMs: number) => void;
}

/** A request as its caller sees it. */
export interface Tried {
  outcome: ReserveOutcome | undefined;
  calls: number;
  readonly giveUp: () => void;
}

export class HeldDesk implements LeaseEffects {
  readonly desk: LeaseDesk;
  nowMs: number;
  /** Records handed over and not yet written. */
  readonly writes: HeldWrite[] = [];
  readonly written: LeaseRecord[] = [];
  readonly questions: LeaseQuestion[] = [];
  readonly askedAtMs: number[] = [];
  readonly answers: bigint[] = [];
  hurries = 0;
  wakeAtMs: number | undefined;
  /** The spool's recovery has written its record. */
  #seq = 1;

  /** `ingested`: the control plane has all that was written before this boot, as it has if nothing is said. */
  constructor(
    recovered: readonly LeaseRecord[] = [],
    options: { readonly connected?: boolean; readonly limits?: LeaseLimits; readonly nowMs?: number; readonly ingested?: boolean } = {},
  ) {
    this.nowMs = options.nowMs ?? NOON_MS;
    this.desk = new LeaseDesk({
      recovered,
      spoolId: SPOOL_ID,
      effects: this,
      nowMs: this.nowMs,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    this.desk.tick(this.nowMs);
    if (options.ingested !== false) this.desk.acknowledged(this.#seq, this.nowMs);
    if (options.connected !== false) this.desk.opened({ dbEpoch: 'e1', frozen: false }, this.nowMs);
  }

  write(record: LeaseRecord, written: HeldWrite['written']): void {
    this.writes.push({ record, written });
  }

  ask(question: LeaseQuestion): void {
    this.questions.push(question);
    this.askedAtMs.push(this.nowMs);
  }

  answerRecall({ recallId }: { readonly recallId: bigint }): void {
    this.answers.push(recallId);
  }

  hurry(): void {
    this.hurries++;
  }

  wakeAt(atMs: number | undefined): void {
    this.wakeAtMs = atMs;
  }

  /** Writes what was handed over. Returns the last seq. */
  flush(): number {
    for (let held = this.writes.shift(); held !== undefined; held = this.writes.shift()) {
      this.written.push(held.record);
      held.written(undefined, ++this.#seq, this.nowMs);
    }
    return this.#seq;
  }

  failWrites(): void {
    for (const { written } of this.writes.splice(0)) written(new GatewayError('overloaded'), 0, this.nowMs);
  }

  try(...amounts: readonly BudgetAmount[]): Tried {
    const tried: { -readonly [Field in keyof Tried]: Tried[Field] } = { outcome: undefined, calls: 0, giveUp: () => {} };
    tried.giveUp = this.desk.reserve(amounts, this.nowMs, (outcome) => {
      tried.outcome = outcome;
      tried.calls++;
    });
    return tried;
  }

  /** Reserves what must suffice at once. */
  take(...amounts: readonly BudgetAmount[]): Reservation {
    const { outcome } = this.try(...amounts);
    if (outcome?.kind !== 'reserved') throw new Error(`not reserved at once: ${JSON.stringify(outcome)}`);
    return outcome.reservation;
  }

  settle(reservation: Reservation, ...charges: readonly number[]): void {
    this.desk.settle(reservation, charges, this.nowMs);
  }

  grant(leaseId: string, budget: BudgetRef, granted: number, questionId = 0): void {
    this.desk.grants([{ leaseId, spoolId: SPOOL_ID, budget, granted }], questionId, this.nowMs);
    this.flush();
  }

  /** Denies the last question. */
  deny(left: number, reason: 'exhausted' | 'unreachable' = 'exhausted'): void {
    const question = this.questions.at(-1);
    if (question === undefined) throw new Error('nothing was asked');
    this.desk.denial({ questionId: question.questionId, budget: question.budget, reason, left, limit: 1_000 }, this.nowMs);
  }

  /** Lets time pass; the desk is woken whenever it has asked for it. */
  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    for (let wakes = 0; this.wakeAtMs !== undefined && this.wakeAtMs <= untilMs; wakes++) {
      if (wakes > 10_000) throw new Error('the desk wakes without end');
      this.nowMs = Math.max(this.nowMs, this.wakeAtMs);
      this.desk.tick(this.nowMs);
    }
    this.nowMs = untilMs;
  }

  /** granted/returned/used/reserved of the budget's open lease. */
  counters(budget: BudgetRef): string {
    const lease = this.desk.leaseOn(budget);
    return lease === undefined ? 'none' : `${lease.granted}/${lease.returned}/${lease.used}/${lease.reserved}`;
  }
}
