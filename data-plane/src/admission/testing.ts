/** The control plane's end of `Leases` for tests of a node: budgets with limits, held by this node alone, at least half of the rest at a time. */
import { randomBytes } from 'node:crypto';
import { type BudgetRef, budgetId } from '@meridian/domain/budget';
import type { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { LeaseQuestion } from './grants.ts';
import { LeaseDesk } from './lease-desk.ts';

const TEST_SPOOL_ID = 'spl_test';

/** As the spool writes them. */
type WriteLease = (record: LeaseRecord, written: (error: GatewayError | undefined, seq: number) => void) => void;

export class TestBank {
  /** Limits by budget; for a budget without one, that of its cap. */
  readonly limits = new Map<string, number>();
  readonly desk: LeaseDesk;
  /** All that was asked so far. */
  readonly questions: LeaseQuestion[] = [];
  readonly #leases = new Map<string, { readonly leaseId: string; granted: number }>();
  readonly #limitOf: (capId: string) => number;
  readonly #nowMs: () => number;
  #withheld: LeaseQuestion[] | undefined;

  constructor(options: {
    /** The limit of every window of a cap. */
    readonly limitOf: (capId: string) => number;
    readonly nowMs: () => number;
    /** Where LEASE records go. */
    readonly write: WriteLease;
  }) {
    this.#limitOf = options.limitOf;
    this.#nowMs = options.nowMs;
    this.desk = new LeaseDesk({
      recovered: [],
      spoolId: TEST_SPOOL_ID,
      nowMs: options.nowMs(),
      effects: {
        write: (record, written) => options.write(record, (error, seq) => written(error, seq, options.nowMs())),
        ask: (question) => {
          this.questions.push(question);
          if (this.#withheld === undefined) setImmediate(() => this.#answer(question));
          else this.#withheld.push(question);
        },
        answerRecall: () => {},
        hurry: () => {},
        wakeAt: () => {},
      },
    });
    this.connect();
  }

  connect(): void {
    this.desk.opened({ dbEpoch: 'e1', frozen: false }, this.#nowMs());
    this.desk.tick(this.#nowMs());
  }

  disconnect(): void {
    this.desk.disconnected(this.#nowMs());
  }

  /** Leaves questions without an answer until `answer`. */
  withhold(): void {
    this.#withheld ??= [];
  }

  answer(): void {
    const withheld = this.#withheld ?? [];
    this.#withheld = undefined;
    for (const question of withheld) this.#answer(question);
  }

  /** The node's lease on a budget. */
  leaseOn(budget: BudgetRef): ReturnType<LeaseDesk['leaseOn']> {
    return this.desk.leaseOn(budget);
  }

  /** Set aside and not settled, over all leases. */
  get reservations(): number {
    return this.desk.status().reservations;
  }

  #answer({ questionId, budget, need, want }: LeaseQuestion): void {
    const id = budgetId(budget);
    const limit = this.limits.get(id) ?? this.#limitOf(budget.capId);
    const lease = this.#leases.get(id) ?? { leaseId: randomBytes(16).toString('hex'), granted: 0 };
    const left = Math.max(0, limit - lease.granted);
    const amount = Math.min(left, Math.max(need, want, Math.floor(left / 2)));
    if (amount < need || amount === 0) {
      this.desk.denial({ questionId, budget, reason: 'exhausted', left, limit }, this.#nowMs());
      return;
    }
    lease.granted += amount;
    this.#leases.set(id, lease);
    this.desk.grants([{ leaseId: lease.leaseId, spoolId: TEST_SPOOL_ID, budget, granted: lease.granted }], questionId, this.#nowMs());
  }
}

/** For a bank without a spool: a record is written at once. */
export function writtenAtOnce(): WriteLease {
  let seq = 0;
  return (_: LeaseRecord, written) => {
    const at = ++seq;
    setImmediate(() => written(undefined, at));
  };
}
