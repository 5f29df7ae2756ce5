/**
 * Whether Redis is asked at all.
 *
 * The breaker is CLOSED (everything is sent) until five commands have failed within a second. Then it is OPEN: nothing is sent for a
 * pause with jitter. After the pause the next command is let through alone, as a probe (HALF-OPEN). If it succeeds the breaker is closed
 * again, with nothing remembered; if it fails, the next pause may be twice as long, up to a bound.
 *
 * What was sent before the state last changed tells nothing about now, so each command carries the round in which it was let through, and
 * an end of an earlier round is ignored.
 */

export interface BreakerLimits {
  /** So many failures … */
  readonly failures: number;
  /** … within so long open it. */
  readonly withinMs: number;
  /** The first pause; it doubles with each failed probe. Half of it is jitter. */
  readonly leastPauseMs: number;
  readonly mostPauseMs: number;
}

export const BREAKER_LIMITS: BreakerLimits = { failures: 5, withinMs: 1_000, leastPauseMs: 200, mostPauseMs: 2_000 };

export class Breaker {
  readonly #limits: BreakerLimits;
  readonly #random: () => number;
  /** When the last failures were, oldest first; never more than `failures`. */
  #failedAtMs: number[] = [];
  #round = 0;
  #pauseMs: number;
  /** undefined: closed. */
  #openUntilMs: number | undefined;
  #probing = false;

  /** `random` gives numbers in [0, 1). */
  constructor(limits: BreakerLimits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
    this.#pauseMs = limits.leastPauseMs;
  }

  /** Not closed: what needs Redis should do without it. */
  get open(): boolean {
    return this.#openUntilMs !== undefined;
  }

  /** The round of a command that may be sent now; undefined when none may. Each round that is given out must be ended by one of the two below. */
  admit(nowMs: number): number | undefined {
    if (this.#openUntilMs === undefined) return this.#round;
    if (this.#probing || nowMs < this.#openUntilMs) return undefined;
    this.#probing = true;
    return this.#round;
  }

  /** True when that closed it. */
  succeeded(round: number): boolean {
    if (round !== this.#round || this.#openUntilMs === undefined) return false;
    this.#round++;
    this.#openUntilMs = undefined;
    this.#probing = false;
    this.#failedAtMs = [];
    this.#pauseMs = this.#limits.leastPauseMs;
    return true;
  }

  /** True when that opened it. */
  failed(round: number, nowMs: number): boolean {
    if (round !== this.#round) return false;
    if (this.#openUntilMs !== undefined) {
      this.#pauseMs = Math.min(this.#limits.mostPauseMs, 2 * this.#pauseMs);
      this.#pause(nowMs);
      return false;
    }
    this.#failedAtMs = this.#failedAtMs.filter((atMs) => nowMs - atMs < this.#limits.withinMs);
    this.#failedAtMs.push(nowMs);
    if (this.#failedAtMs.length < this.#limits.failures) return false;
    this.#pause(nowMs);
    return true;
  }

  #pause(nowMs: number): void {
    this.#round++;
    this.#probing = false;
    this.#openUntilMs = nowMs + (this.#pauseMs * (1 + this.#random())) / 2;
  }
}
