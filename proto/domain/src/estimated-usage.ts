/** Usage that no provider has told, by counts of our own. */
import type { Usage } from './usage.ts';

/** About how many bytes of text make a token. */
const BYTES_PER_TOKEN = 4;

/** Tokens of an input, by the bound of them that counts each byte of text as one. */
export function estimatedInputTokens(inputTokensBound: number): number {
  return Math.ceil(inputTokensBound / BYTES_PER_TOKEN);
}

/** What is billed, and told to the client, where the provider told nothing. Both in tokens. */
export function estimatedUsage(input: number, output: number): Usage {
  return { input, output };
}
