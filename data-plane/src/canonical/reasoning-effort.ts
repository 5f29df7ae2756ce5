/** How much a model thinks, in words and in tokens. */

/** Budgets up to these ask for this effort; any other for `high`. */
const EFFORTS: readonly (readonly [tokens: number, effort: string])[] = [
  [2_048, 'low'],
  [8_192, 'medium'],
];

/** The word that comes nearest to a thinking budget, for a model that is told a word. */
export function nearestEffort(budgetTokens: number): string {
  return EFFORTS.find(([most]) => budgetTokens <= most)?.[1] ?? 'high';
}
