// How much the simulated model reasons, and what its reasoning says.

const EFFORT_TOKENS: Record<string, number> = { none: 0, minimal: 8, low: 32, medium: 128, high: 512, xhigh: 1024, max: 2048 };
const WORDS = ['Let', ' me', ' think', ' about', ' this', ' step', ' by', ' step', '.', ' '];

/** Reasoning tokens for an effort; 0 where none is given. */
export function effortTokens(effort: string | null): number {
  return EFFORT_TOKENS[effort ?? 'none'] ?? 0;
}

/** Whether a model of OpenAI's reasons: the others refuse to be told how much. */
export function thinks(model: string): boolean {
  return !/^(gpt-3|gpt-4)/.test(model);
}

/** The reasoning token at a place, counted from 0. */
export function reasoningWord(index: number): string {
  return WORDS[index % WORDS.length] ?? ' ';
}

/** The reasoning tokens from one place up to another, as one text. */
export function reasoningText(from: number, to: number): string {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => reasoningWord(from + i)).join('');
}
