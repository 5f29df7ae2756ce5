/** The lease desk under random schedules, against a small model of the control plane and of the spool. */
import { type BudgetRef, budgetId } from '@meridian/domain/budget';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { BudgetAmount, Reservation, ReserveOutcome } from './grants.ts';
import { LEASE_LIMITS } from './lease-desk.ts';
import { amountOf, DAY, HeldDesk, MONTH, PREPAID, SPOOL_ID } from './lease-testing.ts';

const BUDGETS: readonly BudgetRef[] = [DAY, MONTH, PREPAID];
/** Of the record that stands before all of the desk's. */
const RECOVERY_SEQ = 1;
const LIMITS = { ...LEASE_LIMITS, maxWaiting: 6 };

/** One open lease a budget at most; the others hold the rest of what is not granted here. */
interface ModelLease {
  readonly id: string;
  readonly budget: BudgetRef;
  granted: number;
  /** As ingested. */
  returned: number;
  used: number;
  closed: boolean;
  retiring: boolean;
}

interface ModelBudget {
  limit: number;
  settled: number;
  heldByOthers: number;
}

interface Request {
  readonly amounts: readonly BudgetAmount[];
  readonly sinceMs: number;
  outcome: ReserveOutcome | undefined;
  told: number;
  toldAtMs: number;
  gaveUp: boolean;
  giveUp: () => void;
}

type Frame =
  | { readonly type: 'grants'; readonly lease: ModelLease; readonly granted: number; readonly questionId: number; readonly spoolId: string }
  | {
      readonly type: 'denial';
      readonly questionId: number;
      readonly budget: BudgetRef;
      readonly reason: 'exhausted' | 'unreachable';
      readonly left: number;
    }
  | { readonly type: 'recall'; readonly recallId: bigint; readonly leaseId: string; readonly retire: boolean }
  | { readonly type: 'closed'; readonly leaseId: string };

class World {
  readonly held = new HeldDesk([], { limits: LIMITS });
  readonly budgets = new Map<string, ModelBudget>();
  readonly leases: ModelLease[] = [];
  readonly requests: Request[] = [];
  readonly reservations: Reservation[] = [];
  readonly frames: Frame[] = [];
  /** Written records, in the order of their seq from 1. */
  readonly records: { readonly leaseId: string; readonly granted: number; readonly returned: number }[] = [];
  readonly denials: { readonly budget: BudgetRef; readonly left: number; readonly atMs: number }[] = [];
  /** What the control plane must have ingested before a recall is answered. */
  readonly recalled = new Map<bigint, { readonly leaseId: string; readonly returned: number }>();
  /** In the order in which the desk told it, during one step. */
  #told: Request[] = [];
  #questionsTaken = 0;
  #questionsSeen = 0;
  readonly #open = new Map<string, { readonly questionId: number; readonly askedAtMs: number }>();
  #answersTaken = 0;
  #lastRecallId = 0n;

  constructor() {
    for (const budget of BUDGETS) this.budgets.set(budgetId(budget), { limit: 120, settled: 0, heldByOthers: 0 });
  }

  step(kind: number, a: number, b: number): void {
    this.#told = [];
    this.#act(kind, a, b);
    this.#check();
  }

  /** Everything comes to an end: nobody waits for ever, and nothing stays set aside. */
  end(): void {
    this.#told = [];
    while (this.held.writes.length > 0) this.#write(true);
    this.held.pass(LIMITS.maxWaitMs + LIMITS.answerTimeoutMs);
    for (const request of this.requests) expect(request.told).toBe(request.gaveUp ? 0 : 1);
    while (this.reservations.length > 0) this.#settle(0, 1);
    expect(this.held.desk.status()).toMatchObject({ waiting: 0, reservations: 0 });
    for (const { leaseId } of this.held.desk.declarations()) expect(this.#here(leaseId)?.reserved).toBe(0);
    this.held.desk.disconnected(this.held.nowMs);
    expect(this.held.desk.status().questions).toBe(0);
  }

  #act(kind: number, a: number, b: number): void {
    const { held } = this;
    const lease = this.leases[a % Math.max(1, this.leases.length)];
    switch (kind) {
      case 0:
      case 1:
      case 2:
        this.#reserve(a, b);
        return;
      case 3:
      case 4:
        if (this.reservations.length > 0) this.#settle(a, b);
        return;
      case 5:
      case 6:
        this.#answer(a, b);
        return;
      case 7:
      case 8:
      case 9:
        // Most often the oldest frame, sometimes another, sometimes it comes again.
        if (this.frames.length > 0) this.#deliver(b % 3 === 0 ? a % this.frames.length : 0, b % 5 === 0);
        return;
      case 10:
        if (b % 4 === 0) this.frames.splice(a % Math.max(1, this.frames.length), 1);
        return;
      case 11:
      case 12:
        if (held.writes.length > 0) this.#write(b % 6 !== 0);
        return;
      case 13:
        this.#ingest(a);
        return;
      case 14:
        if (lease === undefined) return;
        if (b % 9 === 0) lease.retiring = true;
        this.frames.push({
          type: 'recall',
          recallId: ++this.#lastRecallId,
          leaseId: b % 7 === 0 ? 'unknown' : lease.id,
          retire: lease.retiring,
        });
        return;
      case 15:
        if (lease === undefined || (!lease.retiring && b % 25 > 0)) return;
        lease.closed = true;
        this.frames.push({ type: 'closed', leaseId: lease.id });
        return;
      case 16: {
        if (b % 8 > 0) return;
        held.desk.disconnected(held.nowMs);
        this.frames.length = 0;
        this.#checkQuestions();
        this.#open.clear();
        this.#questionsTaken = held.questions.length;
        if (b % 16 === 0) return;
        held.desk.opened({ dbEpoch: 'e1', frozen: false }, held.nowMs);
        for (const open of this.leases) if (!open.closed) this.frames.push(this.#grantOf(open, 0));
        return;
      }
      case 17: {
        const budget = this.#budget(BUDGETS[a % BUDGETS.length] ?? DAY);
        budget.limit = Math.max(budget.settled + this.#heldHere(a % BUDGETS.length), b % 300);
        return;
      }
      case 18: {
        const waiting = this.requests.filter(({ outcome, gaveUp }) => outcome === undefined && !gaveUp);
        const request = waiting[a % Math.max(1, waiting.length)];
        if (request === undefined) return;
        request.gaveUp = true;
        request.giveUp();
        return;
      }
      case 19:
        held.pass([1, 5, 40, 300, 501, 1_001, 5_000][a % 7] ?? 1);
        return;
      default:
        // As it goes when all is well.
        this.#answer(a, b);
        if (this.frames.length > 0) this.#deliver(0, false);
        while (held.writes.length > 0) this.#write(true);
        held.pass(a % 50);
    }
  }

  #reserve(a: number, b: number): void {
    const chosen = BUDGETS.filter((_, index) => ((a % 7) + 1) & (1 << index));
    const amounts = chosen.map((budget, index) => amountOf(budget, ((b >> index) % 50) + 1));
    const request: Request = {
      amounts,
      sinceMs: this.held.nowMs,
      outcome: undefined,
      told: 0,
      toldAtMs: 0,
      gaveUp: false,
      giveUp: () => {},
    };
    this.requests.push(request);
    request.giveUp = this.held.desk.reserve(amounts, this.held.nowMs, (outcome) => {
      request.outcome = outcome;
      request.told++;
      request.toldAtMs = this.held.nowMs;
      this.#told.push(request);
      expect(request.gaveUp).toBe(false);
      expect(this.held.nowMs - request.sinceMs).toBeLessThanOrEqual(LIMITS.maxWaitMs + LIMITS.answerTimeoutMs);
      if (outcome.kind === 'reserved') this.reservations.push(outcome.reservation);
    });
  }

  #settle(a: number, b: number): void {
    const [reservation] = this.reservations.splice(a % this.reservations.length, 1);
    if (reservation === undefined) return;
    const charges = reservation.leases.map(({ amount }) => b % (amount + 1));
    this.held.settle(reservation, ...charges);
  }

  /** The control plane decides about a question; its answer is on its way. */
  #answer(a: number, b: number): void {
    const question = this.held.questions[this.#questionsTaken];
    if (question === undefined) return;
    this.#questionsTaken++;
    const { questionId, budget, need, want } = question;
    const book = this.#budget(budget);
    const index = BUDGETS.findIndex((other) => budgetId(other) === budgetId(budget));
    // Others take and give back.
    book.heldByOthers = Math.max(0, Math.min(book.limit - book.settled - this.#heldHere(index), a % 90));
    const left = Math.max(0, book.limit - book.settled - this.#heldHere(index) - book.heldByOthers);
    let lease = this.leases.find((open) => !open.closed && budgetId(open.budget) === budgetId(budget));
    if (b % 11 === 0 || lease?.retiring === true) {
      this.frames.push({ type: 'denial', questionId, budget, reason: 'unreachable', left });
    } else if (need > left || left === 0) {
      this.frames.push({ type: 'denial', questionId, budget, reason: 'exhausted', left });
    } else {
      if (lease === undefined) {
        lease = { id: `lease${this.leases.length}`, budget, granted: 0, returned: 0, used: 0, closed: false, retiring: false };
        this.leases.push(lease);
      }
      lease.granted += Math.min(left, Math.max(need, b % 2 === 0 ? want : 1));
      this.frames.push(this.#grantOf(lease, questionId));
      if (b % 13 === 0) this.frames.push({ ...this.#grantOf(lease, 0), spoolId: 'spl_other' });
    }
  }

  #deliver(index: number, again: boolean): void {
    const { held } = this;
    const frame = this.frames[index];
    if (frame === undefined) return;
    if (!again) this.frames.splice(index, 1);
    if (frame.type === 'grants' || frame.type === 'denial') this.#closeQuestion(frame.questionId);
    switch (frame.type) {
      case 'grants': {
        const { lease, granted, questionId, spoolId } = frame;
        held.desk.grants([{ leaseId: lease.id, spoolId, budget: lease.budget, granted }], questionId, held.nowMs);
        return;
      }
      case 'denial':
        if (frame.reason === 'exhausted') this.denials.push({ budget: frame.budget, left: frame.left, atMs: held.nowMs });
        held.desk.denial({ ...frame, limit: 0 }, held.nowMs);
        return;
      case 'recall': {
        const before = this.#here(frame.leaseId);
        const returned = before === undefined || before.closed ? 0 : before.granted - before.used - before.reserved;
        // One that comes again is answered when what its first coming gave back is in.
        if (!this.recalled.has(frame.recallId)) this.recalled.set(frame.recallId, { leaseId: frame.leaseId, returned });
        held.desk.recall(frame, held.nowMs);
        return;
      }
      case 'closed':
        held.desk.closed(frame.leaseId, held.nowMs);
        return;
      default:
        frame satisfies never;
    }
  }

  #write(works: boolean): void {
    const { held } = this;
    if (!works) {
      const rest = held.writes.splice(1);
      held.failWrites();
      held.writes.push(...rest);
      return;
    }
    const write = held.writes.shift();
    if (write === undefined) return;
    this.records.push({ leaseId: write.record.leaseId, granted: write.record.granted, returned: write.record.returned });
    write.written(undefined, RECOVERY_SEQ + this.records.length, held.nowMs);
  }

  #ingest(a: number): void {
    const seq = a % (this.records.length + 1);
    for (const record of this.records.slice(0, seq)) {
      const lease = this.leases.find(({ id }) => id === record.leaseId);
      if (lease === undefined || lease.closed) continue;
      lease.returned = Math.max(lease.returned, record.returned);
    }
    for (const lease of this.leases) {
      if (lease.closed) continue;
      const used = this.#here(lease.id)?.used ?? 0;
      this.#budget(lease.budget).settled += used - lease.used;
      lease.used = used;
    }
    this.held.desk.acknowledged(RECOVERY_SEQ + seq, this.held.nowMs);
  }

  #check(): void {
    const { held } = this;
    for (const record of held.desk.declarations()) {
      const here = this.#here(record.leaseId);
      const lease = this.leases.find(({ id }) => id === record.leaseId);
      if (here === undefined || lease === undefined) throw new Error('a lease that nobody granted');
      expect(here.used + here.reserved + here.returned).toBeLessThanOrEqual(here.granted);
      expect(here.granted).toBeLessThanOrEqual(here.received);
      expect(here.received).toBeLessThanOrEqual(lease.granted);
      // Usable is what was written down; what is on its way back is not used.
      const written = this.records.filter(({ leaseId }) => leaseId === record.leaseId);
      const goingBack = here.returned - Math.max(0, ...written.map(({ returned }) => returned));
      expect(here.granted - goingBack).toBeLessThanOrEqual(Math.max(0, ...written.map(({ granted }) => granted)));
      const parts = this.reservations.flatMap(({ leases }) => leases).filter(({ leaseId }) => leaseId === record.leaseId);
      expect(here.reserved).toBe(parts.reduce((sum, { amount }) => sum + amount, 0));
      expect(here.inFlight).toBe(parts.length);
      // Nothing that the control plane would have to cut or write off.
      if (!lease.closed) expect(lease.used + lease.returned).toBeLessThanOrEqual(lease.granted);
    }
    this.#checkTold();
    this.#checkAnswers();
    const status = held.desk.status();
    expect(status.waiting).toBeLessThanOrEqual(LIMITS.maxWaiting);
    expect(status.waiting).toBe(this.requests.filter(({ outcome, gaveUp }) => outcome === undefined && !gaveUp).length);
    if (status.waiting > 0) expect(held.wakeAtMs).toBeDefined();
    this.#checkQuestions();
  }

  /** One at a time a budget, unless the one before is answered, given up, or was asked on another stream. */
  #checkQuestions(): void {
    const { questions, askedAtMs } = this.held;
    for (; this.#questionsSeen < questions.length; this.#questionsSeen++) {
      const question = questions[this.#questionsSeen];
      const atMs = askedAtMs[this.#questionsSeen] ?? 0;
      if (question === undefined) continue;
      const id = budgetId(question.budget);
      const open = this.#open.get(id);
      if (open !== undefined) expect(atMs - open.askedAtMs).toBeGreaterThanOrEqual(LIMITS.answerTimeoutMs);
      expect(question.want).toBeGreaterThanOrEqual(Math.max(1, question.need));
      this.#open.set(id, { questionId: question.questionId, askedAtMs: atMs });
    }
  }

  #closeQuestion(questionId: number): void {
    for (const [id, open] of this.#open) if (open.questionId === questionId) this.#open.delete(id);
  }

  /** Goes back over what was decided in this step: what was free when each was decided is known from what came after. */
  #checkTold(): void {
    const free = new Map(BUDGETS.map((budget) => [budgetId(budget), this.#free(budget)]));
    const later = this.requests.filter(({ outcome, gaveUp }) => outcome === undefined && !gaveUp);
    for (const request of [...this.#told].reverse()) {
      const { outcome } = request;
      if (outcome?.kind === 'reserved') {
        for (const { budget, amount } of request.amounts) free.set(budgetId(budget), (free.get(budgetId(budget)) ?? 0) + amount);
        for (const waiting of later) {
          if (this.requests.indexOf(waiting) > this.requests.indexOf(request)) continue;
          for (const { budget, amount } of waiting.amounts) {
            const shared = request.amounts.some((other) => budgetId(other.budget) === budgetId(budget));
            if (shared)
              expect(amount, 'nobody passes one that came earlier and lacks something').toBeLessThanOrEqual(
                free.get(budgetId(budget)) ?? 0,
              );
          }
        }
      } else if (outcome?.kind === 'refused' && outcome.refusal.kind === 'exhausted') {
        const { short, left, grantable } = outcome.refusal;
        const id = budgetId(short.budget);
        expect(short.amount, 'a refusal needs a denial that leaves less').toBeGreaterThan(left);
        const fresh = this.denials.filter(
          ({ budget, atMs }) => budgetId(budget) === id && request.toldAtMs - atMs <= LIMITS.denialMemoryMs,
        );
        expect(left).toBeGreaterThanOrEqual(grantable);
        expect(fresh.map((denial) => denial.left)).toContain(grantable);
      }
      later.push(request);
    }
  }

  #checkAnswers(): void {
    for (const recallId of this.held.answers.slice(this.#answersTaken)) {
      const recalled = this.recalled.get(recallId);
      const lease = this.leases.find(({ id }) => id === recalled?.leaseId);
      if (recalled === undefined) throw new Error('an answer to no recall');
      if (lease !== undefined && !lease.closed) expect(lease.returned).toBeGreaterThanOrEqual(recalled.returned);
    }
    this.#answersTaken = this.held.answers.length;
  }

  #grantOf(lease: ModelLease, questionId: number): Extract<Frame, { type: 'grants' }> {
    return { type: 'grants', lease, granted: lease.granted, questionId, spoolId: SPOOL_ID };
  }

  #here(leaseId: string) {
    return this.held.desk.lease(leaseId);
  }

  #free(budget: BudgetRef): number {
    return this.held.desk.room([budget]).free;
  }

  #budget(budget: BudgetRef): ModelBudget {
    const found = this.budgets.get(budgetId(budget));
    if (found === undefined) throw new Error('no such budget');
    return found;
  }

  #heldHere(index: number): number {
    const id = budgetId(BUDGETS[index] ?? DAY);
    let held = 0;
    for (const lease of this.leases)
      if (!lease.closed && budgetId(lease.budget) === id) held += lease.granted - lease.returned - lease.used;
    return held;
  }
}

const SEEN = ['waited', 'refusedExhausted', 'refusedUnavailable', 'unanswered', 'grantsDropped', 'writesFailed'] as const;

it('keeps its promises under any schedule', () => {
  const seen = new Map<(typeof SEEN)[number], number>();
  const steps = fc.array(fc.tuple(fc.nat({ max: 25 }), fc.nat({ max: 5_000 }), fc.nat({ max: 5_000 })), {
    minLength: 40,
    maxLength: 200,
    size: 'max',
  });
  fc.assert(
    fc.property(steps, (schedule) => {
      const world = new World();
      for (const [kind, a, b] of schedule) world.step(kind, a, b);
      world.end();
      for (const key of SEEN) seen.set(key, (seen.get(key) ?? 0) + world.held.desk.status()[key]);
    }),
    { numRuns: 150 },
  );
  // The schedules lead to all that is promised about.
  for (const key of SEEN) expect(seen.get(key), key).toBeGreaterThan(key === 'writesFailed' ? 0 : 20);
}, 120_000);
