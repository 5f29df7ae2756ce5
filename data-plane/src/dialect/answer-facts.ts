/** What is counted of answers in the same way in all dialects. */
import { outputTokens, type Usage } from '@meridian/domain/usage';

/** About one token in so many bytes of text, for answers whose provider did not count. */
export const TEXT_BYTES_PER_TOKEN = 4;

/** A preamble of a stream that is longer than this is no preamble: it goes out, and with it the chance to fail over. */
export const MAX_HELD_BYTES = 64 * 1024;

/** Nothing was generated, as far as the provider says. */
export function hasNoOutput(usage: Usage | undefined): boolean {
  return usage === undefined || outputTokens(usage) === 0;
}
