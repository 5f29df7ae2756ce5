// The append-only record of every call served: the independent account that bills are compared with.

import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { JsonObject } from './json-value.ts';
import type { ProviderName } from './provider.ts';

/** One upstream call. Times are milliseconds since 1970. */
export interface JournalLine {
  /** The line's number, from 1, in the order in which calls ended. */
  n: number;
  /** The id in the answer's body; null where the answer has none. */
  id: string | null;
  t_start: number;
  t_end: number;
  path: string;
  provider: ProviderName;
  model: string | null;
  stream: boolean;
  /** The last four characters of the key. */
  key_fingerprint: string | null;
  /** The caller's own x-client-request-id or x-request-id. */
  request_id: string | null;
  /** The x-request-id (x-generation-id on OpenRouter) this answer carried. */
  upstream_request_id: string | null;
  client_marker: string | null;
  /** The status sent, or that would have been sent where `head_sent` is false. */
  status: number;
  head_sent: boolean;
  fault: string | null;
  /** The exact usage sent, or that the complete answer would have carried; null for errors. */
  usage: JsonObject | null;
  /** Whether the kernel took the last byte of the usage object. */
  usage_sent: boolean;
  /** Whether the kernel took every byte of an answer that was meant to end in order, and it ended so. */
  completed: boolean;
  /** Whether the caller closed the connection before the answer had ended. */
  aborted_by_client: boolean;
  /** Output tokens whose bytes the kernel took. */
  pieces_sent: number;
}

/** Collects lines in memory and, with a file, on disk: one write for all calls that ended in the same turn. */
export class Journal {
  #lines: JournalLine[] = [];
  #lastNumber = 0;
  #pending: string[] = [];
  #scheduled = false;
  #descriptor: number | null = null;

  constructor(path: string | null) {
    if (path === null) return;
    mkdirSync(dirname(path), { recursive: true });
    this.#descriptor = openSync(path, 'a');
  }

  append(line: Omit<JournalLine, 'n'>): void {
    const numbered = { n: ++this.#lastNumber, ...line };
    this.#lines.push(numbered);
    if (this.#descriptor === null) return;
    this.#pending.push(`${JSON.stringify(numbered)}\n`);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.flush());
  }

  /** The lines numbered above `after`. */
  since(after: number): JournalLine[] {
    return after <= 0 ? [...this.#lines] : this.#lines.filter((line) => line.n > after);
  }

  /** Forgets the lines in memory; the file is append-only and the numbers go on. */
  clear(): void {
    this.#lines = [];
  }

  flush(): void {
    this.#scheduled = false;
    if (this.#descriptor === null || this.#pending.length === 0) return;
    const bytes = Buffer.from(this.#pending.join(''));
    this.#pending = [];
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
  }

  /** Writes what is waiting, makes it durable and closes the file. */
  close(): void {
    this.flush();
    if (this.#descriptor === null) return;
    fsyncSync(this.#descriptor);
    closeSync(this.#descriptor);
    this.#descriptor = null;
  }
}
