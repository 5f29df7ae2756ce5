/** Takes turns: the work of one owner is done one piece at a time, so that it never holds more than one connection. */
import { GatewayError } from '@meridian/domain/error';

export class Turns {
  readonly #maxWaiting: number;
  /** The last piece of each owner's work, and how many pieces are waiting or under way. */
  readonly #lines = new Map<string, { last: Promise<unknown>; length: number }>();

  constructor(maxWaiting: number) {
    this.#maxWaiting = maxWaiting;
  }

  /** Does the work when what its owner asked for before is done. Rejects with `rate_limit_exceeded` when too much is waiting for that. */
  async take<T>(owner: string, work: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(owner) ?? { last: Promise.resolve(), length: 0 };
    if (line.length > this.#maxWaiting) {
      const message = `More than ${this.#maxWaiting} questions about usage are waiting for an answer: ask one at a time.`;
      throw new GatewayError('rate_limit_exceeded', { message, retryAfterSeconds: 1 });
    }
    this.#lines.set(owner, line);
    line.length += 1;
    const done = line.last.then(work);
    line.last = done.catch(() => undefined);
    try {
      return await done;
    } finally {
      line.length -= 1;
      if (line.length === 0) this.#lines.delete(owner);
    }
  }
}
