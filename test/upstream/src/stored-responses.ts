// What the simulated Responses API keeps of answers that were asked to be stored.

import type { JsonObject, JsonValue } from './json-value.ts';

/** A stored response, and the whole conversation up to its end. */
export interface StoredResponse {
  body: JsonObject;
  items: JsonValue[];
}

const MOST_STORED = 1024;

/** The stored responses, oldest out first. */
export class StoredResponses {
  readonly #responses = new Map<string, StoredResponse>();

  get(id: string): StoredResponse | undefined {
    return this.#responses.get(id);
  }

  put(id: string, response: StoredResponse): void {
    if (this.#responses.size >= MOST_STORED) {
      const oldest = this.#responses.keys().next().value;
      if (oldest !== undefined) this.#responses.delete(oldest);
    }
    this.#responses.set(id, response);
  }

  /** True where there was one. */
  delete(id: string): boolean {
    return this.#responses.delete(id);
  }

  /** Whether an output item with this id is stored. */
  hasItem(id: string): boolean {
    return this.#responses
      .values()
      .some(({ items }) => items.some((item) => typeof item === 'object' && item !== null && !Array.isArray(item) && item.id === id));
  }
}
