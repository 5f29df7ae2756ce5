// Remembers long prompt prefixes, so that a repeated one is reported as cached.

import type { Message } from './model-request.ts';
import { hash32 } from './seeded.ts';
import { CACHE_BLOCK_TOKENS, CACHE_MINIMUM_TOKENS } from './tokens.ts';

const BLOCK_BYTES = CACHE_BLOCK_TOKENS * 4;

/** The prefixes seen by one simulated provider, per model. */
export class PromptCache {
  readonly #seen = new Set<string>();

  /**
   * Counts whole blocks of the prompt's text that were seen before at the same place (`read`) and those remembered now
   * (`write`), in tokens; nothing below the minimum length counts.
   */
  look(model: string, messages: Message[]): { read: number; write: number } {
    const bytes = Buffer.from(messages.flatMap((message) => message.texts).join(''));
    const blocks = Math.floor(bytes.length / BLOCK_BYTES);
    if (blocks * CACHE_BLOCK_TOKENS < CACHE_MINIMUM_TOKENS) return { read: 0, write: 0 };
    let chain = hash32(model);
    let read = 0;
    for (let block = 0; block < blocks; block++) {
      chain = hash32(`${chain} ${bytes.toString('latin1', block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)}`);
      const key = `${model} ${block} ${chain}`;
      if (this.#seen.has(key) && read === block) read = block + 1;
      this.#seen.add(key);
    }
    const tokens = read * CACHE_BLOCK_TOKENS;
    if (tokens < CACHE_MINIMUM_TOKENS) return { read: 0, write: blocks * CACHE_BLOCK_TOKENS };
    return { read: tokens, write: blocks * CACHE_BLOCK_TOKENS - tokens };
  }
}
