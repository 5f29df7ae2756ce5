// Writes a reply to the socket at its pace, and reports what the kernel took of it.

import type { ServerResponse } from 'node:http';
import { joinSegments, type Reply, type Segment } from './reply.ts';

/** When a reply's parts go out. `turn` writes one segment per event-loop turn, so that cuts reach the reader. */
export interface Pace {
  delayMs: number;
  firstByteDelayMs: number;
  segmentMs: number | 'turn';
}

/** What became of a reply. */
export interface Delivered {
  headSent: boolean;
  usageSent: boolean;
  completed: boolean;
  abortedByClient: boolean;
  piecesSent: number;
}

/** Writes without a pace are joined up to this size. */
const JOINED_BYTES = 64 * 1024;
/** A reset throws away what the reader has not picked up yet; this lets the last segment arrive. */
const RESET_GRACE_MS = 10;

function joined(segments: Segment[]): Segment[] {
  const groups: Segment[] = [];
  let group: Segment[] = [];
  let size = 0;
  for (const part of segments) {
    group.push(part);
    size += part.bytes.length;
    if (size < JOINED_BYTES) continue;
    groups.push(joinSegments(group));
    group = [];
    size = 0;
  }
  if (group.length > 0) groups.push(joinSegments(group));
  return groups;
}

/**
 * A delivery waits (delay), sends the head, waits again (first byte), writes its segments one by one with the pace
 * between them and the socket's consent, and comes to its ending. The end of the response, by whichever side, settles
 * it: only then is `settled` called, once.
 */
export class Delivery {
  readonly #response: ServerResponse;
  readonly #reply: Reply;
  readonly #pace: Pace;
  readonly #segments: Segment[];
  readonly #settled: (delivered: Delivered) => void;
  #next = 0;
  #flushed = 0;
  #headSent = false;
  #usageSent = false;
  #piecesSent = 0;
  #endedHere = false;
  #timer: NodeJS.Timeout | null = null;
  #turn: NodeJS.Immediate | null = null;
  #over = false;

  constructor(response: ServerResponse, reply: Reply, pace: Pace, settled: (delivered: Delivered) => void) {
    this.#response = response;
    this.#reply = reply;
    this.#pace = pace;
    this.#segments = pace.segmentMs === 0 ? joined(reply.segments) : reply.segments;
    this.#settled = settled;
    response.on('close', () => this.#settle());
    // The close that follows is what settles; an unheard error would end the process.
    response.on('error', () => {});
  }

  start(): void {
    if (this.#response.destroyed || this.#response.closed) this.#settle();
    else this.#after(this.#pace.delayMs, () => this.#head());
  }

  /** Ends the connection from this side, as a stopping server does. */
  abandon(): void {
    this.#endedHere = true;
    this.#response.destroy();
    this.#settle();
  }

  #after(ms: number | 'turn', step: () => void): void {
    if (ms === 0) step();
    else if (ms === 'turn') this.#turn = setImmediate(step);
    else this.#timer = setTimeout(step, ms);
  }

  #head(): void {
    const { status, headers, length, instead } = this.#reply;
    if (instead === 'silence') return;
    if (instead === 'reset') {
      this.#reset();
      return;
    }
    this.#response.writeHead(status, length === null ? headers : [...headers, 'content-length', String(length)]);
    this.#headSent = true;
    if (this.#pace.firstByteDelayMs > 0 || this.#segments.length === 0) this.#response.flushHeaders();
    this.#after(this.#pace.firstByteDelayMs, () => this.#write());
  }

  #write(): void {
    if (this.#over) return;
    const segment = this.#segments[this.#next];
    if (segment === undefined) {
      this.#finish();
      return;
    }
    this.#next += 1;
    const ready = this.#response.write(segment.bytes, (error) => {
      if (error) return;
      this.#flushed += 1;
      this.#piecesSent += segment.pieces;
      this.#usageSent ||= segment.usage;
    });
    const last = this.#next === this.#segments.length;
    const wait = last ? 0 : this.#pace.segmentMs;
    if (ready) this.#after(wait, () => this.#write());
    else this.#response.once('drain', () => this.#after(wait, () => this.#write()));
  }

  #finish(): void {
    switch (this.#reply.ending) {
      case 'end':
        this.#response.end();
        return;
      case 'silence':
        return;
      case 'close':
        this.#endedHere = true;
        this.#response.socket?.destroySoon();
        return;
      case 'reset':
        this.#after(RESET_GRACE_MS, () => this.#reset());
        return;
      default:
        this.#reply.ending satisfies never;
    }
  }

  #reset(): void {
    this.#endedHere = true;
    this.#response.socket?.resetAndDestroy();
  }

  #settle(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#turn !== null) clearImmediate(this.#turn);
    const ended = this.#response.writableFinished && this.#flushed === this.#segments.length && this.#reply.ending === 'end';
    this.#settled({
      headSent: this.#headSent,
      usageSent: this.#usageSent,
      completed: ended && !this.#reply.shortened,
      abortedByClient: !ended && !this.#endedHere,
      piecesSent: this.#piecesSent,
    });
  }
}
