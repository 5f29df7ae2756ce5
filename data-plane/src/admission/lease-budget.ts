/** What the lease desk knows of one budget beside the counters of its lease. */
import { type BudgetRef, isPrepaidCapId } from '@meridian/domain/budget';
import { isWindowStart, nextWindowStartMs, type WindowKind } from '@meridian/domain/window';
import { type Lease, usableOf } from './lease-book.ts';
import { LeaseDemand } from './lease-demand.ts';
import type { Word } from './lease-verdict.ts';

/** What is free is to last for so long at the rate of use. */
const AHEAD_MS = 5_000;
const RATE_SPAN_MS = 30_000;
/** Between two refills at least; after a refill that was denied, twice as long each time. */
const REFILL_PAUSE_MS = 1_000;
const REFILL_DENIED_PAUSE_MS = 5_000;
const REFILL_DENIED_PAUSE_MAX_MS = 40_000;
const MAX_ASKED = 8;

export interface OpenQuestion {
  readonly id: number;
  readonly need: number;
  readonly askedAtMs: number;
  readonly asOf: AsOf;
}

/**
 * How the lease stood when something was asked. What is returned later may reach the control plane after it has decided:
 * then there is more to be had than its denial says.
 */
export interface AsOf {
  readonly lease: Lease | undefined;
  /** As much of what was returned had reached the control plane. */
  readonly ackedReturn: number;
}

/** The windows of one cap that the node has to do with. */
export interface CapBudgets {
  readonly capId: string;
  /** Leases do not tell; the first request does. */
  window: WindowKind | undefined;
  readonly budgets: LeaseBudget[];
}

export class LeaseBudget {
  readonly ref: BudgetRef;
  readonly cap: CapBudgets;
  readonly demand = new LeaseDemand();
  /** The open one. */
  lease: Lease | undefined;
  question: OpenQuestion | undefined;
  word: Word | undefined;
  /** When the question of the word was asked. */
  wordAsOf: AsOf | undefined;
  /** Those asked last, answered or not: a denial may be late. */
  readonly asked: OpenQuestion[] = [];
  /** Requests that wait for it or for another budget beside it. */
  waiting = 0;
  /** The window is over, and what is free of it is given back. */
  over = false;
  /** Of the pass over the waiting requests that last found one short of it. */
  shortInPass = 0;
  /** Of the pass that last left one waiting which uses it, with the sum of what those may take. */
  keptInPass = 0;
  wantInPass = 0;
  #granted = 0;
  #freeAfterGrant = 0;
  #refillFromMs = 0;
  #deniedPauseMs = REFILL_DENIED_PAUSE_MS;

  constructor(ref: BudgetRef, cap: CapBudgets) {
    this.ref = ref;
    this.cap = cap;
  }

  /** What may be reserved just now. A lease on a window that has not begun is kept for it. */
  usable(nowMs: number): number {
    return this.lease === undefined || this.ref.windowStartMs > nowMs ? 0 : usableOf(this.lease);
  }

  /**
   * First millisecond after the window, infinite for prepaid. A window that begins with a month is taken for the month as
   * long as no request has told: what is free of it is then given back late, never early.
   */
  endMs(): number {
    const { capId, windowStartMs } = this.ref;
    if (isPrepaidCapId(capId)) return Number.POSITIVE_INFINITY;
    const window = this.cap.window ?? (isWindowStart('utc_month', windowStartMs) ? 'utc_month' : 'utc_day');
    return nextWindowStartMs(window, windowStartMs) ?? Number.POSITIVE_INFINITY;
  }

  /** The clock shows an earlier time than before. */
  clockSetBack(nowMs: number): void {
    this.demand.clockSetBack(nowMs);
    if (this.word !== undefined && this.word.atMs > nowMs) this.word = undefined;
    if (this.question !== undefined && this.question.askedAtMs > nowMs) this.question = { ...this.question, askedAtMs: nowMs };
    this.#refillFromMs = Math.min(this.#refillFromMs, nowMs + this.#deniedPauseMs);
  }

  ask(question: OpenQuestion): void {
    this.question = question;
    if (this.asked.push(question) > MAX_ASKED) this.asked.shift();
  }

  /** Nothing would be lost by forgetting it. */
  isIdle(): boolean {
    return this.lease === undefined && this.question === undefined && this.waiting === 0;
  }

  /** Takes note of what is free after more was granted, which is what a refill is measured by. */
  granted(): void {
    if (this.lease === undefined || this.lease.granted === this.#granted) return;
    this.#granted = this.lease.granted;
    this.#freeAfterGrant = usableOf(this.lease);
    this.#deniedPauseMs = REFILL_DENIED_PAUSE_MS;
  }

  /** Whether so little is free that the node should ask before a request lacks it. */
  runsLow(nowMs: number): boolean {
    const { lease } = this;
    if (lease === undefined || nowMs < this.#refillFromMs) return false;
    const free = usableOf(lease);
    return free < this.#freeAfterGrant / 2 || free < this.demand.largestRecent(nowMs) || free < this.demand.usedPerMs(nowMs) * AHEAD_MS;
  }

  refillAsked(nowMs: number): void {
    this.#refillFromMs = nowMs + REFILL_PAUSE_MS;
  }

  /** Denied, or not answered. */
  refillFailed(nowMs: number): void {
    this.#refillFromMs = nowMs + this.#deniedPauseMs;
    this.#deniedPauseMs = Math.min(REFILL_DENIED_PAUSE_MAX_MS, 2 * this.#deniedPauseMs);
  }

  /** What would be of use beyond what is free: two of the largest requests, or what is used in 30 seconds. */
  refillWant(nowMs: number): number {
    const free = this.lease === undefined ? 0 : usableOf(this.lease);
    return Math.max(1, Math.max(2 * this.demand.largestRecent(nowMs), this.ratePer30s(nowMs)) - free);
  }

  ratePer30s(nowMs: number): number {
    return Math.ceil(this.demand.usedPerMs(nowMs) * RATE_SPAN_MS);
  }
}
