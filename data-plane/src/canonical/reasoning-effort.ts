/** How much a model thinks, in words and in tokens. */
import type { Reasoning } from './request.ts';

/** Budgets up to these ask for this effort; any other for `high`. */
const EFFORTS: readonly (readonly [tokens: number, effort: string])[] = [
  [2_048, 'low'],
  [8_192, 'medium'],
];

/** The word that comes nearest to a thinking budget, for a model that is told a word. */
export function nearestEffort(budgetTokens: number): string {
  return EFFORTS.find(([most]) => budgetTokens <= most)?.[1] ?? 'high';
}

/** Whether thinking is asked for: what a model that does not think loses, whereas not to think is what it does. */
export function asksToThink({ effort, budgetTokens, mode }: Reasoning): boolean {
  if (mode === 'off' || effort === 'none') return false;
  return effort !== undefined || budgetTokens !== undefined || mode !== undefined;
}
