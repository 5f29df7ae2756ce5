/** How much a model thinks: levels of Gemini 3, budgets of Gemini 2.5, and the words and budgets of everybody. */
import type { Loss } from '../../canonical/loss.ts';
import { asksToThink, nearestEffort } from '../../canonical/reasoning-effort.ts';
import type { Reasoning } from '../../canonical/request.ts';
import { type JsonObject, text } from '../json.ts';
import type { ModelWays } from './models.ts';
import { fieldsOf, integer } from './proto-json.ts';

/** A `thinkingConfig`; undefined where it says nothing. A budget of 0 turns thinking off, -1 leaves it to the model. */
export function readThinking(value: unknown): Reasoning | undefined {
  const config = fieldsOf(value);
  const budget = integer(config.thinkingBudget);
  const level = text(config.thinkingLevel)?.toLowerCase();
  const effort = level === undefined || level === 'thinking_level_unspecified' ? undefined : level;
  if (budget === undefined && effort === undefined && typeof config.includeThoughts !== 'boolean') return undefined;
  return {
    effort,
    budgetTokens: budget !== undefined && budget > 0 ? budget : undefined,
    ...(budget === 0 ? { mode: 'off' } : budget === -1 ? { mode: 'adaptive' } : {}),
    // This dialect shows no thinking by itself.
    show: config.includeThoughts === true ? 'auto' : 'none',
  };
}

/** Budgets of the words, as Google's own translation has them. */
const BUDGETS: Readonly<Partial<Record<string, number>>> = {
  none: 0,
  minimal: 1_024,
  low: 1_024,
  medium: 8_192,
  high: 24_576,
  xhigh: Number.MAX_SAFE_INTEGER,
  max: Number.MAX_SAFE_INTEGER,
};
/** From the least; `xhigh` and `max` ask for more than there is. */
const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'];

/** A `thinkingConfig`; undefined where the client said nothing, or the model does not think. */
export function writeThinking(reasoning: Reasoning | undefined, ways: ModelWays, lost: (loss: Loss) => void): JsonObject | undefined {
  if (reasoning === undefined) return undefined;
  const { effort, budgetTokens, mode, show } = reasoning;
  const isOff = mode === 'off' || effort === 'none';
  if (ways.thinking === 'none') {
    if (asksToThink(reasoning)) lost({ name: 'reasoning_effort' });
    return undefined;
  }
  const includeThoughts = isOff || show === 'none' ? {} : { includeThoughts: true };
  const amount = ways.thinking === 'level' ? levelOf(reasoning, isOff, ways, lost) : budgetOf(reasoning, isOff, ways, lost);
  const said = effort !== undefined || budgetTokens !== undefined || mode !== undefined || show !== undefined;
  return said ? { ...amount, ...includeThoughts } : undefined;
}

function levelOf({ effort, budgetTokens, mode }: Reasoning, isOff: boolean, { levels }: ModelWays, lost: (loss: Loss) => void): JsonObject {
  if (effort === undefined && budgetTokens === undefined && !isOff) return {};
  if (mode === 'adaptive' && effort === undefined) return {};
  const asked = isOff ? 'none' : (effort ?? nearestEffort(budgetTokens ?? 0));
  if (levels.includes(asked)) {
    if (effort === undefined) lost({ name: 'reasoning_budget' });
    return { thinkingLevel: asked.toUpperCase() };
  }
  lost({ name: effort === undefined && !isOff ? 'reasoning_budget' : 'reasoning_effort' });
  const rank = EFFORTS.indexOf(asked);
  // A word that nobody here knows is left to the provider to judge.
  if (rank === -1) return { thinkingLevel: asked.toUpperCase() };
  return { thinkingLevel: (levels.find((level) => EFFORTS.indexOf(level) >= rank) ?? levels.at(-1))?.toUpperCase() };
}

function budgetOf(
  { effort, budgetTokens, mode }: Reasoning,
  isOff: boolean,
  { budget }: ModelWays,
  lost: (loss: Loss) => void,
): JsonObject {
  const asked = isOff ? 0 : (budgetTokens ?? (effort === undefined ? undefined : BUDGETS[effort]));
  if (asked === undefined) {
    if (mode === 'adaptive') return { thinkingBudget: -1 };
    if (effort !== undefined) lost({ name: 'reasoning_effort' });
    return {};
  }
  const thinkingBudget = Math.min(Math.max(asked, budget.least), budget.most);
  if (isOff && thinkingBudget > 0) lost({ name: 'reasoning_effort' });
  else if (budgetTokens !== undefined && thinkingBudget !== asked) lost({ name: 'reasoning_budget' });
  return { thinkingBudget };
}
