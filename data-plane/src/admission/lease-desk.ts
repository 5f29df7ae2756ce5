/**
 * Hands out parts of this node's leases to requests, and sees to it that there is something to hand out: a machine without
 * clock, timers, promises or I/O of its own. Each call brings the time; what is to be done goes out through LeaseEffects.
 *
 * A request whose leases suffice is served at once. Otherwise it waits, for at most 5 s and among at most 256: nobody passes
 * one that came earlier and lacks something of a budget that both use. The first that lacks something of a budget is judged
 * (lease-verdict.ts) on every change: it may have the desk ask the control plane, go on waiting, or be refused. One
 * question at a time is open on a budget. A request that lacks nothing of a budget holds up nobody there, even where it
 * waits for another; and one that could not be served by all that may come back is refused as soon as that is known.
 *
 * Every call but the ones that find enough free is a turn: it changes what it has to, then all waiting requests are gone
 * through in their order (a pass), and only then is anybody told, so that a caller may come back from within its `done`.
 *
 * What is free is given back when it is recalled, on a lease that is being replaced, when a window is over, or when the
 * node goes; never merely because it is not used.
 */
import { type BudgetRef, MAX_LIMIT } from '@meridian/domain/budget';
import type { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import { isWindowStart } from '@meridian/domain/window';
import type { BudgetAmount, Grants, LeaseEffects, Refusal, Reservation, ReserveOutcome } from './grants.ts';
import { freeOf, type Lease, LeaseBook, type LeaseShare, leaseRecordOf, usableOf } from './lease-book.ts';
import { type AsOf, type CapBudgets, LeaseBudget } from './lease-budget.ts';
import { LeaseJournal } from './lease-journal.ts';
import { judge, UNWRITTEN, type Verdict } from './lease-verdict.ts';

export interface LeaseLimits {
  readonly maxWaiting: number;
  /** How long a request waits for this node's own reservations to settle. */
  readonly maxWaitMs: number;
  /** A question that is not answered for so long is given up. After `maxWaitMs` a request waits for one more answer. */
  readonly answerTimeoutMs: number;
  /** How long a denial counts. */
  readonly denialMemoryMs: number;
  /** After the end of a window, before what is free of it is given back: requests admitted just before may still arrive here. */
  readonly windowGraceMs: number;
  /** Between returns of what becomes free bit by bit, and before a failed write is tried again. */
  readonly returnPauseMs: number;
  /** Returns in one tick when windows end, which many do at once. */
  readonly returnsPerTick: number;
  /** Refills that are open at once; questions that requests wait for are not counted against it. */
  readonly maxRefills: number;
  /** How long a closed lease is remembered, so that a late grant does not open it again. */
  readonly closedMemoryMs: number;
}

export const LEASE_LIMITS: LeaseLimits = {
  maxWaiting: 256,
  maxWaitMs: 5_000,
  answerTimeoutMs: 500,
  denialMemoryMs: 1_000,
  windowGraceMs: 5_000,
  returnPauseMs: 1_000,
  returnsPerTick: 500,
  maxRefills: 1_024,
  closedMemoryMs: 25 * 3600 * 1000,
};

/** While leases of windows that are over wait for their return. */
const NEXT_RETURNS_MS = 20;

export interface LeaseDeskOptions {
  /** As the spool's recovery has them. */
  readonly recovered: Iterable<LeaseRecord>;
  readonly spoolId: string;
  readonly effects: LeaseEffects;
  readonly nowMs: number;
  readonly limits?: LeaseLimits;
}

/** A lease's total, as the control plane says it. */
export interface LeaseGrant {
  readonly leaseId: string;
  readonly spoolId: string;
  readonly budget: BudgetRef;
  readonly granted: number;
}

export interface LeaseDenial {
  readonly questionId: number;
  readonly budget: BudgetRef;
  readonly reason: 'exhausted' | 'unreachable';
  /** What could be granted at most. */
  readonly left: number;
  readonly limit: number;
}

export interface LeaseRecall {
  readonly recallId: bigint;
  readonly leaseId: string;
  /** The lease is to be replaced. */
  readonly retire: boolean;
}

/** For metrics; the sums count from the start of the process. */
export interface LeaseDeskStatus {
  readonly connected: boolean;
  /** As the control plane said when the stream was opened. */
  readonly frozen: boolean;
  readonly dbEpoch: string;
  readonly waiting: number;
  readonly questions: number;
  /** Leases that are not closed. */
  readonly openLeases: number;
  /** Requests that are set aside and not settled. */
  readonly reservations: number;
  readonly reserved: number;
  /** Of the reserved: those that had to wait. */
  readonly waited: number;
  readonly refusedExhausted: number;
  readonly refusedUnavailable: number;
  readonly asked: number;
  readonly unanswered: number;
  /** For another spool, for a closed lease, or beside an open one. */
  readonly grantsDropped: number;
  readonly writesFailed: number;
}

/** A share of a lease, in the shape that admission reads. */
interface ReservedShare extends LeaseShare {
  readonly leaseId: string;
  readonly unit: BudgetAmount['unit'];
  readonly of: LeaseBudget;
}

class LeaseReservation implements Reservation {
  readonly leases: readonly ReservedShare[];
  settled = false;

  constructor(leases: readonly ReservedShare[]) {
    this.leases = leases;
  }
}

class WaitingRequest {
  readonly parts: readonly { readonly of: LeaseBudget; readonly wanted: BudgetAmount }[];
  sinceMs: number;
  readonly done: (outcome: ReserveOutcome) => void;
  outcome: ReserveOutcome | undefined;
  gaveUp = false;

  constructor(parts: WaitingRequest['parts'], sinceMs: number, done: (outcome: ReserveOutcome) => void) {
    this.parts = parts;
    this.sinceMs = sinceMs;
    this.done = done;
  }
}

const NOTHING_TO_GIVE_UP = (): void => {};

export class LeaseDesk implements Grants {
  readonly #book: LeaseBook;
  readonly #journal: LeaseJournal;
  readonly #effects: LeaseEffects;
  readonly #spoolId: string;
  readonly #limits: LeaseLimits;
  readonly #caps = new Map<string, CapBudgets>();
  /** In the order of their coming. */
  #waiting: WaitingRequest[] = [];
  /** Decided, not yet told. */
  readonly #decided: WaitingRequest[] = [];
  /** In the order of their asking. */
  readonly #questions = new Map<number, LeaseBudget>();
  #lastQuestionId = 0;
  /** Questions of earlier streams are below it. */
  #firstQuestionId = 1;
  #connected = false;
  #frozen = false;
  #dbEpoch = '';
  /** The node goes; `gives` where what becomes free is given back. */
  #leaving: 'no' | 'keeps' | 'gives' = 'no';
  readonly #closed: { readonly lease: Lease; readonly atMs: number }[] = [];
  /** Leases of which something became free that is to be given back. */
  readonly #toReturn = new Set<Lease>();
  #returnAtMs = Number.POSITIVE_INFINITY;
  #rewriteAtMs = Number.POSITIVE_INFINITY;
  /** Leases of windows that are over, still to be given back. */
  readonly #over: LeaseBudget[] = [];
  /** When the next window ends, of those that the node has to do with. */
  #nextEndMs = Number.POSITIVE_INFINITY;
  #nowMs: number;
  #depth = 0;
  /** The waiting requests are to be looked at (again). */
  #again = false;
  #pass = 1;
  /** When a waiting request is to be judged anew. */
  #judgeAtMs = Number.POSITIVE_INFINITY;
  #wakeAtMs: number | undefined;
  /** Whoever drives the desk knows of it, and it has not come. */
  #wakeIsSet = true;
  #reservations = 0;
  #reserved = 0;
  #waited = 0;
  #refusedExhausted = 0;
  #refusedUnavailable = 0;
  #asked = 0;
  #unanswered = 0;
  #grantsDropped = 0;
  #writesFailed = 0;

  /** Whoever drives it calls `tick` once when it is ready for effects. */
  constructor({ recovered, spoolId, effects, nowMs, limits = LEASE_LIMITS }: LeaseDeskOptions) {
    this.#book = new LeaseBook(recovered);
    this.#effects = effects;
    this.#spoolId = spoolId;
    this.#limits = limits;
    this.#nowMs = nowMs;
    this.#journal = new LeaseJournal(this.#book, effects, (lease, error, nowMs) => this.#written(lease, error, nowMs));
    for (const lease of this.#book.leases()) {
      if (lease.closed) {
        this.#closed.push({ lease, atMs: nowMs });
      } else if (this.#book.openOn(lease.budget) === lease) {
        const of = this.#budgetOf(lease.budget);
        of.lease = lease;
        of.granted();
      }
    }
  }

  reserve(amounts: readonly BudgetAmount[], nowMs: number, done: (outcome: ReserveOutcome) => void): () => void {
    if (this.#again && this.#depth === 0) this.#turn(nowMs, () => {});
    const reservation = this.#leaving === 'no' || amounts.length === 0 ? this.#reserveNow(amounts, nowMs) : undefined;
    if (reservation === undefined) return this.#reserveLater(amounts, nowMs, done);
    let disturbed = false;
    for (const { of } of reservation.leases) {
      // One that came earlier, and waits for another budget, may lack something of this one now.
      if (of.waiting > 0 || (this.#connected && of.runsLow(nowMs))) disturbed = true;
    }
    if (disturbed) {
      this.#turn(nowMs, () => {
        for (const { of } of reservation.leases) this.#refill(of, nowMs);
      });
    }
    done({ kind: 'reserved', reservation });
    return NOTHING_TO_GIVE_UP;
  }

  settle(reservation: Reservation, charges: readonly number[], nowMs: number): void {
    if (!(reservation instanceof LeaseReservation)) throw new TypeError('not a reservation of the lease desk');
    if (reservation.settled) throw new Error('a reservation is settled once');
    this.#book.settle(reservation.leases, charges);
    reservation.settled = true;
    this.#reservations--;
    let disturbed = false;
    let i = 0;
    for (const { of, lease } of reservation.leases) {
      of.demand.used(charges[i++] ?? 0, nowMs);
      if (of.waiting > 0 || lease.retiring || of.over || this.#leaving === 'gives') disturbed = true;
    }
    if (!disturbed) return;
    this.#turn(nowMs, () => {
      for (const { lease } of reservation.leases) this.#returnIfDue(lease);
    });
  }

  room(budgets: readonly BudgetRef[]): { readonly free: number; readonly inFlight: number } {
    let free = Number.MAX_SAFE_INTEGER;
    let inFlight = 0;
    for (const budget of budgets) {
      const lease = this.#book.openOn(budget);
      const here = lease === undefined ? 0 : usableOf(lease);
      if (here >= free) continue;
      free = here;
      inFlight = lease?.inFlight ?? 0;
    }
    return { free, inFlight };
  }

  /** The stream is open and all leases are declared: questions may be asked. */
  opened(stream: { readonly dbEpoch: string; readonly frozen: boolean }, nowMs: number): void {
    this.#turn(nowMs, () => {
      this.#dropQuestions();
      this.#connected = true;
      this.#dbEpoch = stream.dbEpoch;
      this.#frozen = stream.frozen;
    });
  }

  disconnected(nowMs: number): void {
    this.#turn(nowMs, () => {
      this.#connected = false;
      this.#dropQuestions();
      this.#journal.dropRecalls();
    });
  }

  /** `questionId` is that of the question that is answered, 0 where nobody asked. */
  grants(grants: readonly LeaseGrant[], questionId: number, nowMs: number): void {
    this.#turn(nowMs, () => {
      this.#answered(questionId);
      for (const grant of grants) this.#grant(grant);
    });
  }

  denial(denial: LeaseDenial, nowMs: number): void {
    this.#turn(nowMs, () => {
      const { questionId, reason, left, limit } = denial;
      const of = this.#find(denial.budget);
      if (of === undefined) return;
      const question = of.question?.id === questionId ? of.question : undefined;
      if (question !== undefined) {
        this.#answered(questionId);
        of.refillFailed(nowMs);
      }
      if (reason === 'exhausted') {
        // What was said late is no less true, but a question of an earlier stream may have been decided long ago.
        const asked = of.asked.findLast((each) => each.id === questionId);
        if (questionId < this.#firstQuestionId || asked === undefined) return;
        of.word = { kind: 'exhausted', left, limit, asked: question?.need ?? 0, atMs: nowMs };
        of.wordAsOf = asked.asOf;
      } else if (question !== undefined && question.need > 0) {
        of.word = { kind: 'unavailable', reason: 'another node holds the budget and cannot be asked', atMs: nowMs };
      }
    });
  }

  recall({ recallId, leaseId, retire }: LeaseRecall, nowMs: number): void {
    this.#turn(nowMs, () => {
      const lease = this.#book.lease(leaseId);
      if (lease === undefined || lease.closed) {
        this.#effects.answerRecall({ recallId, leaseId });
        return;
      }
      if (retire) this.#book.retire(lease);
      this.#journal.giveBack(lease);
      this.#journal.answer(lease, recallId);
    });
  }

  /** The control plane has closed the lease. */
  closed(leaseId: string, nowMs: number): void {
    this.#turn(nowMs, () => {
      const lease = this.#book.lease(leaseId);
      if (lease === undefined || lease.closed) return;
      this.#book.close(lease);
      this.#journal.answerAll(lease);
      this.#journal.write(lease);
      this.#toReturn.delete(lease);
      this.#closed.push({ lease, atMs: nowMs });
      const of = this.#budgetOf(lease.budget);
      of.lease = this.#book.openOn(lease.budget);
      if (of.over && of.isIdle()) this.#drop(of);
    });
  }

  /** The control plane has ingested this incarnation's records up to seq. */
  acknowledged(seq: number, nowMs: number): void {
    // What is acknowledged comes back with an answer to whoever lacks it: nothing here changes for those that wait.
    this.#setNow(nowMs);
    this.#journal.acknowledged(seq);
  }

  tick(nowMs: number): void {
    // It has come, if only a little early.
    this.#wakeIsSet = false;
    this.#turn(nowMs, () => {
      this.#giveUpQuestions(nowMs);
      if (nowMs >= this.#nextEndMs + this.#limits.windowGraceMs) this.#endWindows(nowMs);
      for (const { lease } of this.#over.splice(0, this.#limits.returnsPerTick)) if (lease !== undefined) this.#journal.giveBack(lease);
      if (nowMs >= this.#returnAtMs) {
        this.#returnAtMs = Number.POSITIVE_INFINITY;
        for (const lease of this.#toReturn) this.#journal.giveBack(lease);
        this.#toReturn.clear();
      }
      if (nowMs >= this.#rewriteAtMs) {
        this.#rewriteAtMs = Number.POSITIVE_INFINITY;
        this.#journal.writeAgain();
      }
      this.#forgetClosed(nowMs);
    });
  }

  /** All leases that the node has, and the closed ones that it remembers. */
  declarations(): LeaseRecord[] {
    return [...this.#book.leases()].map(leaseRecordOf);
  }

  /** How a lease stands, also one that is closed and remembered; undefined for any other. */
  lease(leaseId: string): Lease | undefined {
    return this.#book.lease(leaseId);
  }

  /** How the lease of a budget stands; undefined without one. */
  leaseOn(budget: BudgetRef): Lease | undefined {
    return this.#book.openOn(budget);
  }

  /**
   * The node goes: nothing is admitted any more, who waits is refused, and all that is free is given back, now and as
   * reservations settle. Without the control plane nothing is given back: nobody else could use it, and the node may be
   * back first. Returns how many leases were given back from.
   */
  returnAll(nowMs: number): number {
    let returned = 0;
    this.#turn(nowMs, () => {
      this.#leaving = this.#connected ? 'gives' : 'keeps';
      if (this.#leaving === 'keeps') return;
      for (const lease of this.#book.leases()) if (this.#journal.giveBack(lease) > 0) returned++;
      if (returned > 0) this.#effects.hurry();
    });
    return returned;
  }

  status(): LeaseDeskStatus {
    let openLeases = 0;
    for (const lease of this.#book.leases()) if (!lease.closed) openLeases++;
    return {
      connected: this.#connected,
      frozen: this.#frozen,
      dbEpoch: this.#dbEpoch,
      waiting: this.#waiting.length,
      questions: this.#questions.size,
      openLeases,
      reservations: this.#reservations,
      reserved: this.#reserved,
      waited: this.#waited,
      refusedExhausted: this.#refusedExhausted,
      refusedUnavailable: this.#refusedUnavailable,
      asked: this.#asked,
      unanswered: this.#unanswered,
      grantsDropped: this.#grantsDropped,
      writesFailed: this.#writesFailed,
    };
  }

  /** The way that nearly all requests go. Undefined where something is missing or somebody waits; nothing has changed then. */
  #reserveNow(amounts: readonly BudgetAmount[], nowMs: number): LeaseReservation | undefined {
    const shares: ReservedShare[] = [];
    let suffices = true;
    for (const { budget, window, unit, amount } of amounts) {
      const of = this.#budgetOf(budget);
      if (of.cap.window === undefined) this.#learnWindow(of.cap, window);
      of.demand.asked(amount, nowMs);
      const { lease } = of;
      if (lease === undefined || of.shortInPass === this.#pass || amount > of.usable(nowMs)) suffices = false;
      else if (suffices) shares.push({ leaseId: lease.id, unit, amount, lease, of });
    }
    return suffices ? this.#take(shares) : undefined;
  }

  #take(shares: readonly ReservedShare[]): LeaseReservation | undefined {
    if (!this.#book.reserve(shares)) return undefined;
    this.#reservations++;
    this.#reserved++;
    return new LeaseReservation(shares);
  }

  #reserveLater(amounts: readonly BudgetAmount[], nowMs: number, done: (outcome: ReserveOutcome) => void): () => void {
    const parts = amounts.map((wanted) => ({ of: this.#budgetOf(wanted.budget), wanted }));
    for (const { wanted } of parts) {
      if (!Number.isSafeInteger(wanted.amount) || wanted.amount <= 0) throw new RangeError(`a reservation of ${wanted.amount}`);
    }
    if (new Set(parts.map(({ of }) => of)).size < parts.length) throw new Error('a request names a budget twice');
    const request = new WaitingRequest(parts, nowMs, done);
    this.#turn(nowMs, () => {
      if (this.#waiting.length >= this.#limits.maxWaiting) {
        this.#decide(request, this.#unavailable(request, undefined, `${this.#limits.maxWaiting} requests wait already`));
        return;
      }
      this.#waiting.push(request);
      for (const { of } of parts) of.waiting++;
    });
    return request.outcome !== undefined ? NOTHING_TO_GIVE_UP : () => this.#giveUp(request);
  }

  #giveUp(request: WaitingRequest): void {
    if (request.gaveUp) return;
    request.gaveUp = true;
    if (request.outcome !== undefined) return;
    const index = this.#waiting.indexOf(request);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    for (const { of } of request.parts) of.waiting--;
    if (this.#waiting.length === 0) return;
    // It may have held up others. By the time of an earlier call they cannot be judged, a question would be given up too soon: the
    // next call does it.
    this.#again = true;
    if (this.#depth > 0) return;
    this.#judgeAtMs = this.#nowMs;
    this.#wake();
  }

  /** Changes something, after which all waiting requests are looked at anew. Within a turn it is part of that turn. */
  #turn(nowMs: number, change: () => void): void {
    this.#setNow(nowMs);
    this.#depth++;
    try {
      change();
      this.#again = true;
      if (this.#depth === 1) {
        while (this.#again) {
          this.#again = false;
          this.#lookAtAll(this.#nowMs);
        }
      }
    } finally {
      this.#depth--;
    }
    if (this.#depth > 0) return;
    this.#wake();
    this.#tell();
  }

  #setNow(nowMs: number): void {
    if (nowMs < this.#nowMs) this.#clockSetBack(nowMs);
    this.#nowMs = nowMs;
  }

  /** What lies in the clock's future now would seem to have just happened until it is there again: it counts as of now, or not at all. */
  #clockSetBack(nowMs: number): void {
    for (const { budgets } of this.#caps.values()) for (const of of budgets) of.clockSetBack(nowMs);
    for (const request of this.#waiting) request.sinceMs = Math.min(request.sinceMs, nowMs);
    if (Number.isFinite(this.#returnAtMs)) this.#returnAtMs = Math.min(this.#returnAtMs, nowMs + this.#limits.returnPauseMs);
    if (Number.isFinite(this.#rewriteAtMs)) this.#rewriteAtMs = Math.min(this.#rewriteAtMs, nowMs + this.#limits.returnPauseMs);
    this.#wakeIsSet = false;
  }

  /** One pass; begun anew after a request was served that an earlier one, still waiting, shares a budget with. */
  #lookAtAll(nowMs: number): void {
    let unfair = true;
    let asking: LeaseBudget[] = [];
    while (unfair) {
      unfair = false;
      asking = [];
      this.#pass++;
      this.#judgeAtMs = Number.POSITIVE_INFINITY;
      let kept = 0;
      for (const [index, request] of this.#waiting.entries()) {
        const outcome = this.#look(request, asking, nowMs);
        if (outcome === undefined) {
          this.#waiting[kept++] = request;
          continue;
        }
        for (const { of } of request.parts) {
          of.waiting--;
          if (outcome.kind === 'reserved' && of.keptInPass === this.#pass) unfair = true;
        }
        this.#decide(request, outcome);
        if (!unfair) continue;
        this.#waiting.copyWithin(kept, index + 1);
        kept += this.#waiting.length - index - 1;
        break;
      }
      this.#waiting.length = kept;
    }
    for (const of of asking) this.#ask(of, nowMs);
  }

  /** What becomes of a waiting request; undefined: it goes on waiting. */
  #look(request: WaitingRequest, asking: LeaseBudget[], nowMs: number): ReserveOutcome | undefined {
    const patientUntilMs = request.sinceMs + this.#limits.maxWaitMs;
    const endsMs = patientUntilMs + this.#limits.answerTimeoutMs;
    if (this.#leaving !== 'no') return this.#unavailable(request, undefined, 'the node is going');
    let free = true;
    let judgeAtMs = nowMs < patientUntilMs ? patientUntilMs : endsMs;
    const toAsk: LeaseBudget[] = [];
    for (const { of, wanted } of request.parts) {
      // An earlier request is short of it and has been judged.
      if (of.shortInPass === this.#pass) {
        free = false;
        continue;
      }
      const need = wanted.amount - of.usable(nowMs);
      if (need <= 0) continue;
      free = false;
      const verdict = this.#judge(of, need, request.sinceMs, patientUntilMs, endsMs, nowMs);
      if (verdict.kind === 'exhausted') {
        this.#refusedExhausted++;
        const { left: grantable, limit } = verdict;
        const left = grantable + of.usable(nowMs);
        return { kind: 'refused', refusal: { kind: 'exhausted', short: wanted, left, grantable, limit } };
      }
      if (verdict.kind === 'unavailable') return this.#unavailable(request, wanted, verdict.reason);
      if (verdict.kind === 'wait') judgeAtMs = Math.min(judgeAtMs, verdict.untilMs);
      else toAsk.push(of);
    }
    if (free) return this.#serve(request);
    if (nowMs >= endsMs) return this.#unavailable(request, undefined, 'requests that came earlier waited for the budget');
    for (const { of, wanted } of request.parts) {
      if (wanted.amount > of.usable(nowMs)) of.shortInPass = this.#pass;
      if (of.keptInPass !== this.#pass) of.wantInPass = 0;
      of.keptInPass = this.#pass;
      of.wantInPass += wanted.amount;
    }
    for (const of of toAsk) asking.push(of);
    this.#judgeAtMs = Math.min(this.#judgeAtMs, judgeAtMs);
    return undefined;
  }

  #serve(request: WaitingRequest): ReserveOutcome {
    const shares = request.parts.map(({ of, wanted }): ReservedShare => {
      if (of.lease === undefined) throw new Error('a budget without a lease has nothing free');
      return { leaseId: of.lease.id, unit: wanted.unit, amount: wanted.amount, lease: of.lease, of };
    });
    const reservation = this.#take(shares);
    if (reservation === undefined) throw new Error('what is free could not be reserved');
    if (request.sinceMs < this.#nowMs) this.#waited++;
    return { kind: 'reserved', reservation };
  }

  #judge(of: LeaseBudget, need: number, sinceMs: number, patientUntilMs: number, endsMs: number, nowMs: number): Verdict {
    const { lease } = of;
    const isWriting = lease !== undefined && lease.received > lease.granted && this.#journal.isWriting(lease);
    if (of.ref.windowStartMs > nowMs) return { kind: 'unavailable', reason: 'the window has not begun' };
    return judge(
      {
        need,
        sinceMs,
        patientUntilMs,
        endsMs,
        hope: lease === undefined ? 0 : lease.reserved + this.#journal.unackedReturn(lease),
        returning: lease === undefined ? 0 : this.#journal.unackedReturn(lease),
        inFlight: lease?.inFlight ?? 0,
        unwritten: lease === undefined || isWriting ? 0 : lease.received - lease.granted,
        word: this.#isOutdated(of) ? undefined : of.word,
        connected: this.#connected,
        answering: of.question !== undefined || isWriting,
        retiring: lease?.retiring ?? false,
      },
      this.#limits.denialMemoryMs,
      nowMs,
    );
  }

  #asOf({ lease }: LeaseBudget): AsOf {
    return { lease, ackedReturn: lease === undefined ? 0 : this.#journal.ackedReturn(lease) };
  }

  /** Whether a denial does not count what this node has given back since. */
  #isOutdated(of: LeaseBudget): boolean {
    if (of.word?.kind !== 'exhausted' || of.wordAsOf === undefined) return false;
    const { lease, ackedReturn } = this.#asOf(of);
    return lease !== of.wordAsOf.lease || ackedReturn > of.wordAsOf.ackedReturn;
  }

  #unavailable(request: WaitingRequest, short: BudgetAmount | undefined, reason: string): ReserveOutcome {
    const named =
      short ?? request.parts.find(({ of, wanted }) => wanted.amount > of.usable(this.#nowMs))?.wanted ?? request.parts[0]?.wanted;
    if (named === undefined) throw new Error('a request that takes nothing lacks nothing');
    this.#refusedUnavailable++;
    const refusal: Refusal = { kind: 'unavailable', short: named, reason };
    return { kind: 'refused', refusal };
  }

  #decide(request: WaitingRequest, outcome: ReserveOutcome): void {
    request.outcome = outcome;
    this.#decided.push(request);
  }

  #tell(): void {
    for (let request = this.#decided.shift(); request !== undefined; request = this.#decided.shift()) {
      const { outcome } = request;
      if (outcome === undefined) continue;
      if (!request.gaveUp) request.done(outcome);
      else if (outcome.kind === 'reserved') {
        this.settle(
          outcome.reservation,
          outcome.reservation.leases.map(() => 0),
          this.#nowMs,
        );
      }
    }
  }

  #ask(of: LeaseBudget, nowMs: number): void {
    const first = this.#waiting.find(({ parts }) => parts.some((part) => part.of === of && part.wanted.amount > of.usable(nowMs)));
    const wanted = first?.parts.find((part) => part.of === of)?.wanted;
    if (wanted === undefined || of.question !== undefined) return;
    const need = wanted.amount - of.usable(nowMs);
    this.#question(of, need, Math.max(need, of.wantInPass - of.usable(nowMs)), nowMs);
  }

  #refill(of: LeaseBudget, nowMs: number): void {
    const { lease } = of;
    if (!this.#connected || of.waiting > 0 || of.question !== undefined || this.#questions.size >= this.#limits.maxRefills) return;
    if (lease === undefined || lease.retiring || lease.received > lease.granted || of.over || !of.runsLow(nowMs)) return;
    of.refillAsked(nowMs);
    this.#question(of, 0, of.refillWant(nowMs), nowMs);
  }

  #question(of: LeaseBudget, need: number, want: number, nowMs: number): void {
    const questionId = ++this.#lastQuestionId;
    of.ask({ id: questionId, need, askedAtMs: nowMs, asOf: this.#asOf(of) });
    this.#questions.set(questionId, of);
    this.#asked++;
    this.#effects.ask({
      questionId,
      budget: of.ref,
      need,
      want: Math.min(want, MAX_LIMIT),
      ratePer30s: Math.min(of.ratePer30s(nowMs), MAX_LIMIT),
    });
  }

  #answered(questionId: number): void {
    const of = this.#questions.get(questionId);
    if (of === undefined) return;
    this.#questions.delete(questionId);
    of.question = undefined;
  }

  #giveUpQuestions(nowMs: number): void {
    for (const [questionId, of] of this.#questions) {
      const { question } = of;
      if (question !== undefined && question.askedAtMs + this.#limits.answerTimeoutMs > nowMs) return;
      this.#answered(questionId);
      this.#unanswered++;
      of.refillFailed(nowMs);
      if (of.waiting > 0) of.word = { kind: 'unavailable', reason: 'the control plane did not answer in time', atMs: nowMs };
    }
  }

  #dropQuestions(): void {
    for (const of of this.#questions.values()) of.question = undefined;
    this.#questions.clear();
    this.#firstQuestionId = this.#lastQuestionId + 1;
  }

  #grant({ leaseId, spoolId, budget, granted }: LeaseGrant): void {
    let lease = this.#book.lease(leaseId);
    let other = this.#book.openOn(budget);
    if (lease === undefined && other !== undefined && other.inFlight === 0 && !this.#journal.isKnown(other)) {
      // It was never declared: a control plane whose database was restored knows nothing of it, and will not tell its end.
      this.closed(other.id, this.#nowMs);
      other = this.#book.openOn(budget);
    }
    const isOurs =
      spoolId === this.#spoolId && (lease === undefined ? other === undefined : !lease.closed && sameBudget(lease.budget, budget));
    if (!isOurs) {
      this.#grantsDropped++;
      return;
    }
    const of = this.#budgetOf(budget);
    if (lease === undefined) {
      lease = this.#book.open(leaseId, budget);
      of.lease = lease;
    }
    if (this.#book.receive(lease, granted)) of.word = undefined;
    // What is being written is usable soon; what could not be written is tried again.
    else if (granted <= lease.granted || this.#journal.isWriting(lease)) return;
    this.#journal.write(lease);
  }

  /** A record of the lease is in the spool, or could not be written. */
  #written(lease: Lease, error: GatewayError | undefined, nowMs: number): void {
    this.#turn(nowMs, () => {
      const of = this.#find(lease.budget);
      if (error !== undefined) {
        this.#writesFailed++;
        if (this.#journal.unwritten > 0) this.#rewriteAtMs = Math.min(this.#rewriteAtMs, this.#nowMs + this.#limits.returnPauseMs);
        if (of !== undefined && of.waiting > 0 && lease.received > lease.granted) {
          of.word = { kind: 'unavailable', reason: UNWRITTEN, atMs: this.#nowMs };
        }
        return;
      }
      if (of?.lease === lease) of.granted();
      this.#returnIfDue(lease);
    });
  }

  /** Gives back what became free of a lease that is not to be used any more; bit by bit only as often as is of use. */
  #returnIfDue(lease: Lease): void {
    if (freeOf(lease) === 0) return;
    if (!lease.retiring && this.#leaving !== 'gives' && this.#find(lease.budget)?.over !== true) return;
    if (lease.inFlight === 0) {
      this.#toReturn.delete(lease);
      this.#journal.giveBack(lease);
      return;
    }
    this.#toReturn.add(lease);
    this.#returnAtMs = Math.min(this.#returnAtMs, this.#nowMs + this.#limits.returnPauseMs);
  }

  #endWindows(nowMs: number): void {
    this.#nextEndMs = Number.POSITIVE_INFINITY;
    for (const cap of this.#caps.values()) {
      for (const of of [...cap.budgets]) {
        if (of.over) continue;
        const endMs = of.endMs();
        if (nowMs < endMs + this.#limits.windowGraceMs) {
          this.#nextEndMs = Math.min(this.#nextEndMs, endMs);
          continue;
        }
        of.over = true;
        if (of.isIdle()) this.#drop(of);
        else this.#over.push(of);
      }
    }
  }

  #forgetClosed(nowMs: number): void {
    let first = this.#closed[0];
    while (first !== undefined && first.atMs + this.#limits.closedMemoryMs <= nowMs) {
      this.#closed.shift();
      // A request cannot take a day; one that seems to is not worth a lease that is never forgotten.
      if (first.lease.inFlight > 0) this.#closed.push({ lease: first.lease, atMs: nowMs });
      else {
        this.#journal.forget(first.lease);
        this.#book.forget(first.lease);
      }
      first = this.#closed[0];
    }
  }

  #wake(): void {
    let atMs = Math.min(this.#judgeAtMs, this.#returnAtMs, this.#rewriteAtMs, this.#nextEndMs + this.#limits.windowGraceMs);
    const oldest = this.#questions.values().next().value?.question;
    if (oldest !== undefined) atMs = Math.min(atMs, oldest.askedAtMs + this.#limits.answerTimeoutMs);
    if (this.#over.length > 0) atMs = Math.min(atMs, this.#nowMs + NEXT_RETURNS_MS);
    const wakeAtMs = Number.isFinite(atMs) ? atMs : undefined;
    if (this.#wakeIsSet && wakeAtMs === this.#wakeAtMs) return;
    this.#wakeIsSet = true;
    this.#wakeAtMs = wakeAtMs;
    this.#effects.wakeAt(wakeAtMs);
  }

  #find(budget: BudgetRef): LeaseBudget | undefined {
    const cap = this.#caps.get(budget.capId);
    if (cap === undefined) return undefined;
    for (const of of cap.budgets) if (of.ref.windowStartMs === budget.windowStartMs) return of;
    return undefined;
  }

  #budgetOf(budget: BudgetRef): LeaseBudget {
    const found = this.#find(budget);
    if (found !== undefined) return found;
    let cap = this.#caps.get(budget.capId);
    if (cap === undefined) {
      cap = { capId: budget.capId, window: undefined, budgets: [] };
      this.#caps.set(budget.capId, cap);
    }
    const of = new LeaseBudget({ capId: budget.capId, windowStartMs: budget.windowStartMs }, cap);
    cap.budgets.push(of);
    if (!isWindowStart('utc_month', budget.windowStartMs) && cap.window === undefined) this.#learnWindow(cap, 'utc_day');
    this.#nextEndMs = Math.min(this.#nextEndMs, of.endMs());
    return of;
  }

  #learnWindow(cap: CapBudgets, window: CapBudgets['window']): void {
    cap.window = window;
    for (const of of cap.budgets) if (!of.over) this.#nextEndMs = Math.min(this.#nextEndMs, of.endMs());
  }

  #drop(of: LeaseBudget): void {
    const { cap } = of;
    const index = cap.budgets.indexOf(of);
    if (index >= 0) cap.budgets.splice(index, 1);
    if (cap.budgets.length === 0) this.#caps.delete(cap.capId);
  }
}

function sameBudget(one: BudgetRef, other: BudgetRef): boolean {
  return one.capId === other.capId && one.windowStartMs === other.windowStartMs;
}
