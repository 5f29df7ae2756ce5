/** How much a model is to think: `thinking` and `output_config.effort`, to and from the canonical language. */
import type { Loss } from '../../canonical/loss.ts';
import { nearestEffort } from '../../canonical/reasoning-effort.ts';
import type { Reasoning } from '../../canonical/request.ts';
import { isObject, type JsonObject, number, text } from '../json.ts';
import type { ModelWays } from './models.ts';
import { thinkingType } from './schema.ts';

/** The least budget that is taken; the budget must be below the output limit, too. */
const MIN_BUDGET_TOKENS = 1_024;
const MAX_BUDGET_TOKENS = 128_000;

/** Undefined where nothing is said. Throws GatewayError 400 on a kind of thinking that is not known. */
export function readReasoning(thinking: unknown, outputConfig: unknown): Reasoning | undefined {
  const type = thinkingType(thinking);
  const effort = isObject(outputConfig) ? text(outputConfig.effort) : undefined;
  if (type === undefined) return effort === undefined ? undefined : { effort, budgetTokens: undefined };
  if (type === 'disabled') return { effort, budgetTokens: undefined, mode: 'off' };
  const fields = isObject(thinking) ? thinking : {};
  const show = SHOWN[text(fields.display) ?? ''];
  return {
    effort,
    budgetTokens: number(fields.budget_tokens),
    ...(type === 'adaptive' ? { mode: 'adaptive' as const } : {}),
    ...(show === undefined ? {} : { show }),
  };
}

const SHOWN: Readonly<Partial<Record<string, string>>> = { summarized: 'auto', omitted: 'none' };

export interface ReasoningTerms {
  /** The request came in this dialect. */
  readonly isOurs: boolean;
  readonly ways: ModelWays;
  readonly maxTokens: number;
  /** The answer must begin with a call. */
  readonly forcesTool: boolean;
  /** A turn of the model is to be continued that does not begin with its thinking. */
  readonly continuesUnproven: boolean;
  /** Temperature, top_p or top_k is set, which this model takes, but not beside thinking. */
  readonly setsSampling: boolean;
  readonly lose: (loss: Loss) => void;
}

export interface WrittenReasoning {
  readonly thinking: JsonObject | undefined;
  readonly effort: string | undefined;
}

const NOTHING: WrittenReasoning = { thinking: undefined, effort: undefined };

export function writeReasoning(reasoning: Reasoning | undefined, terms: ReasoningTerms): WrittenReasoning {
  if (reasoning === undefined) return NOTHING;
  const { isOurs, ways, forcesTool, continuesUnproven, setsSampling } = terms;
  // What nobody asked for makes way for what the client did ask, and is not missed.
  const isDefault = reasoning.isDefault === true;
  if (isDefault && setsSampling) return NOTHING;
  const lose = isDefault ? () => {} : terms.lose;
  if (reasoning.mode === 'off' || reasoning.effort === 'none') {
    return { thinking: ways.thinking === 'none' ? undefined : { type: 'disabled' }, effort: undefined };
  }
  const asksForNothing = reasoning.effort === undefined && reasoning.budgetTokens === undefined && reasoning.mode === undefined;
  if (asksForNothing) return NOTHING;
  if (ways.thinking === 'none') {
    lose({ name: 'reasoning_effort' });
    return NOTHING;
  }
  const effort = effortFor(reasoning, ways, lose);
  // A forced call and thinking exclude each other; the call is what the client's program waits for. Who leaves it to the model in this
  // protocol's own words knows the models that take both.
  if (forcesTool && !(isOurs && reasoning.mode === 'adaptive')) {
    lose({ name: 'reasoning_effort' });
    return { thinking: undefined, effort };
  }
  const display = reasoning.show === undefined ? {} : { display: reasoning.show === 'none' ? 'omitted' : 'summarized' };
  const isAdaptive = ways.thinking === 'adaptive' || (ways.thinking === 'both' && reasoning.budgetTokens === undefined);
  if (isAdaptive) return { thinking: { type: 'adaptive', ...display }, effort };
  const budget = budgetFor(reasoning, terms.maxTokens);
  if (budget === undefined || continuesUnproven) {
    lose({ name: 'reasoning_effort' });
    return { thinking: undefined, effort };
  }
  return { thinking: { type: 'enabled', budget_tokens: budget, ...display }, effort };
}

/** Words that this protocol does not have, and its nearest; any other goes on as it is, for the provider to judge. */
const NEAREST_EFFORT: Readonly<Partial<Record<string, string>>> = { minimal: 'low' };

function effortFor({ effort, budgetTokens }: Reasoning, ways: ModelWays, lose: (loss: Loss) => void): string | undefined {
  if (effort !== undefined) {
    if (!ways.takesEffort) return undefined;
    const nearest = NEAREST_EFFORT[effort];
    if (nearest !== undefined) lose({ name: 'reasoning_effort', at: effort });
    return nearest ?? effort;
  }
  if (budgetTokens === undefined || ways.thinking !== 'adaptive') return undefined;
  lose({ name: 'reasoning_budget' });
  return nearestEffort(budgetTokens);
}

/** Shares of the output limit, for models that are told a budget and clients that name an effort. */
const SHARE_PERCENT: Readonly<Partial<Record<string, number>>> = { minimal: 10, low: 20, medium: 50, high: 80, xhigh: 95, max: 95 };

/** Undefined where the output limit leaves no room for thinking. */
function budgetFor({ effort, budgetTokens }: Reasoning, maxTokens: number): number | undefined {
  const wanted = budgetTokens ?? Math.floor((maxTokens * (SHARE_PERCENT[effort ?? 'high'] ?? 50)) / 100);
  const budget = Math.min(Math.max(wanted, MIN_BUDGET_TOKENS), MAX_BUDGET_TOKENS, maxTokens - 1);
  return budget < MIN_BUDGET_TOKENS ? undefined : budget;
}
