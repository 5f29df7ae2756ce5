/**
 * Which turn of a connection is served when. Turns with the same `stream_id`, and those without one, are served one after the other, in
 * the order in which they came; those of different lanes at the same time, up to a limit.
 */
import { MAX_RUNNING_TURNS, MAX_STREAM_IDS, MAX_WAITING_BYTES, MAX_WAITING_TURNS } from './limits.ts';

/** Undefined is the lane of the turns that name none. */
export type LaneName = string | undefined;

export interface WaitingTurn {
  readonly lane: LaneName;
  readonly bytes: number;
}

export class Lanes<T extends WaitingTurn> {
  readonly #waiting: T[] = [];
  readonly #running = new Set<LaneName>();
  readonly #named = new Set<string>();
  #waitingBytes = 0;

  get running(): number {
    return this.#running.size;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Takes its place behind those that came before, or tells which limit is in the way. */
  enter(turn: T): 'entered' | 'too_many_streams' | 'too_many_waiting' {
    const { lane } = turn;
    if (lane !== undefined && !this.#named.has(lane)) {
      if (this.#named.size >= MAX_STREAM_IDS) return 'too_many_streams';
      this.#named.add(lane);
    }
    // A single one may be as large as any request.
    const isFull = this.#waiting.length >= MAX_WAITING_TURNS || this.#waitingBytes + turn.bytes > MAX_WAITING_BYTES;
    if (isFull && this.#waiting.length > 0) return 'too_many_waiting';
    this.#waiting.push(turn);
    this.#waitingBytes += turn.bytes;
    return 'entered';
  }

  /** The turn that is to be served now, which counts as running until `left`. */
  next(): T | undefined {
    if (this.#running.size >= MAX_RUNNING_TURNS) return undefined;
    const index = this.#waiting.findIndex((turn) => !this.#running.has(turn.lane));
    const turn = this.#waiting[index];
    if (turn === undefined) return undefined;
    this.#waiting.splice(index, 1);
    this.#waitingBytes -= turn.bytes;
    this.#running.add(turn.lane);
    return turn;
  }

  left(lane: LaneName): void {
    this.#running.delete(lane);
  }

  /** Those that are not to be served any more. */
  takeWaiting(): T[] {
    this.#waitingBytes = 0;
    return this.#waiting.splice(0);
  }
}
