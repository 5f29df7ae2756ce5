/**
 * What replicas tell each other about leases. A word that is lost costs time and nothing else, so none is kept for later
 * and none is repeated. Words of one moment travel together, and never in a transaction that does other work: every commit
 * that notifies waits for every other one in the whole server.
 */
import type { NotificationsOptions } from '../database/notifications.ts';
import { listen, MAX_PAYLOAD_BYTES, type Notifications } from '../database/notifications.ts';
import type { LeaseSignal } from './questions.ts';

const CHANNEL = 'meridian_leases';
/** Waiting to be sent; what comes on top is lost. */
const MAX_WAITING = 10_000;
/** Ids in one signal, so that it fits a payload. */
const MAX_IDS = 50;

export interface LeaseSignalsOptions {
  readonly url: string;
  /** Tells this replica from the others: random. */
  readonly replicaId: string;
  readonly onSignal: (signal: LeaseSignal) => void;
  readonly onError: (error: Error) => void;
}

export class LeaseSignals {
  readonly #options: LeaseSignalsOptions;
  readonly #notifications: Notifications;
  #waiting: string[] = [];
  #sending: Promise<void> | undefined;
  #closed = false;

  constructor(options: LeaseSignalsOptions, start: (options: NotificationsOptions) => Notifications = listen) {
    this.#options = options;
    this.#notifications = start({
      url: options.url,
      channel: CHANNEL,
      onMessage: (payload) => this.#receive(payload),
      onError: options.onError,
    });
  }

  get listening(): boolean {
    return this.#notifications.listening;
  }

  publish(signal: LeaseSignal): void {
    if (this.#closed) return;
    for (const part of partsOf(signal)) if (this.#waiting.length < MAX_WAITING) this.#waiting.push(JSON.stringify(part));
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#sending;
    await this.#notifications.close();
  }

  async #send(): Promise<void> {
    // What else is said in this turn goes along.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const head = `{"from":${JSON.stringify(this.#options.replicaId)},"signals":[`;
      let bytes = head.length + 2;
      let count = 0;
      for (const text of this.#waiting) {
        bytes += Buffer.byteLength(text) + 1;
        if (count > 0 && bytes > MAX_PAYLOAD_BYTES) break;
        count += 1;
      }
      const payload = `${head}${this.#waiting.splice(0, count).join(',')}]}`;
      await this.#notifications.publish(payload).catch((error: unknown) => {
        if (!this.#closed) this.#options.onError(error instanceof Error ? error : new Error(String(error)));
      });
    }
  }

  #receive(payload: string): void {
    let message: { from: string; signals: LeaseSignal[] };
    try {
      // Only replicas of ours write to this channel, and a newer one may say what this one does not know.
      message = JSON.parse(payload);
    } catch (error) {
      this.#options.onError(new Error('a signal cannot be read', { cause: error }));
      return;
    }
    if (message.from === this.#options.replicaId) return;
    for (const signal of message.signals) if (KNOWN.has(signal.type)) this.#options.onSignal(signal);
  }
}

const KNOWN: ReadonlySet<string> = new Set<LeaseSignal['type']>(['recall', 'answered', 'room', 'refresh', 'closed']);

function partsOf(signal: LeaseSignal): LeaseSignal[] {
  switch (signal.type) {
    case 'room':
      return chunks(signal.budgetIds).map((budgetIds) => ({ ...signal, budgetIds }));
    case 'refresh':
    case 'closed':
      return chunks(signal.leaseIds).map((leaseIds) => ({ ...signal, leaseIds }));
    case 'recall':
    case 'answered':
      return [signal];
    default:
      return signal satisfies never;
  }
}

function chunks(ids: readonly string[]): string[][] {
  return Array.from({ length: Math.ceil(ids.length / MAX_IDS) }, (_, index) => ids.slice(index * MAX_IDS, (index + 1) * MAX_IDS));
}
