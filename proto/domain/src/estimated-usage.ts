/** Usage that no provider has told to its end, by counts of our own. */
import type { Usage } from './usage.ts';

/** About how many bytes of text make a token. */
const BYTES_PER_TOKEN = 4;

/** Tokens of an input, by the bound of them that counts each byte of text as one. */
export function estimatedInputTokens(inputTokensBound: number): number {
  return Math.ceil(inputTokensBound / BYTES_PER_TOKEN);
}

/**
 * What is billed, and told to the client, where the provider told nothing, or nothing of what it generated since. The usage as far as it was
 * told, and counts of ours in tokens.
 */
export function chargedUsage(told: Usage | undefined, estimatedInput: number, countedOutput: number): Usage {
  if (told === undefined) return { input: estimatedInput, output: countedOutput };
  return { ...told, output: Math.max(told.output ?? 0, countedOutput) };
}
