/** How much a model is to think, as this protocol and its relatives write it, to and from the canonical language. */
import type { Loss } from '../../canonical/loss.ts';
import { asksToThink, nearestEffort } from '../../canonical/reasoning-effort.ts';
import type { Reasoning } from '../../canonical/request.ts';
import { isObject, type JsonObject, number, text } from '../json.ts';

/** The members of a request that are read. */
export const REASONING_KEYS = ['reasoning_effort', 'reasoning', 'thinking', 'enable_thinking', 'thinking_budget'];

/** Undefined where nothing is said. OpenAI's word goes before what the relatives have for it. */
export function readEffort(fields: JsonObject): Reasoning | undefined {
  const effort = text(fields.reasoning_effort);
  const read = isObject(fields.reasoning)
    ? readObject(fields.reasoning)
    : isObject(fields.thinking)
      ? readThinking(fields.thinking)
      : undefined;
  const relative = read ?? readSwitch(fields);
  if (effort === undefined) return relative;
  return { ...(relative ?? { budgetTokens: undefined }), effort };
}

/** OpenRouter's `{effort, max_tokens, enabled, exclude}`. */
function readObject({ effort, max_tokens: budget, enabled, exclude }: JsonObject): Reasoning {
  const isOn = enabled === true && text(effort) === undefined && number(budget) === undefined;
  return {
    effort: text(effort),
    budgetTokens: number(budget),
    ...(enabled === false ? { mode: 'off' } : isOn ? { mode: 'adaptive' } : {}),
    ...(exclude === true ? { show: 'none' } : {}),
  };
}

/** `{type: enabled | disabled, budget_tokens}` of DeepSeek, Z.ai and others. */
function readThinking({ type, budget_tokens: budget }: JsonObject): Reasoning | undefined {
  if (type === 'disabled') return { effort: undefined, budgetTokens: undefined, mode: 'off' };
  return { effort: undefined, budgetTokens: number(budget), ...(number(budget) === undefined ? { mode: 'adaptive' } : {}) };
}

/** Alibaba's. */
function readSwitch({ enable_thinking: enabled, thinking_budget: budget }: JsonObject): Reasoning | undefined {
  if (enabled === false) return { effort: undefined, budgetTokens: undefined, mode: 'off' };
  const budgetTokens = number(budget);
  if (budgetTokens !== undefined) return { effort: undefined, budgetTokens };
  return enabled === true ? { effort: undefined, budgetTokens: undefined, mode: 'adaptive' } : undefined;
}

export interface EffortTerms {
  /** The catalogue says that the model thinks. */
  readonly thinks: boolean;
  /** It can be told not to, by `none`. */
  readonly takesNone: boolean;
  readonly takesEffort: boolean;
  /** Thinking is asked for by OpenRouter's object, which can say all of it. */
  readonly takesObject: boolean;
  /** The request was written in this dialect: its word is the provider's to judge. */
  readonly isOurs: boolean;
  readonly lose: (loss: Loss) => void;
}

/** The members that ask for it. */
export function writeEffort(
  reasoning: Reasoning | undefined,
  { thinks, takesNone, takesEffort, takesObject, isOurs, lose }: EffortTerms,
): JsonObject {
  if (reasoning === undefined) return {};
  const { effort, budgetTokens, mode, show } = reasoning;
  if (reasoning.isDefault === true && !thinks) return {};
  // A model that does not think refuses the very parameter.
  if (!isOurs && !thinks) {
    if (asksToThink(reasoning)) lose({ name: 'reasoning_effort' });
    return {};
  }
  if (takesObject) {
    const exclude = show === 'none' ? true : undefined;
    if (mode === 'off') return { reasoning: { enabled: false, exclude } };
    // The object has room for one of the two.
    const amount = effort === undefined ? { max_tokens: budgetTokens } : { effort };
    return { reasoning: { ...amount, ...(effort === undefined && budgetTokens === undefined ? { enabled: true } : {}), exclude } };
  }
  if (show !== undefined && reasoning.isDefault !== true) lose({ name: 'reasoning_show' });
  const asked = askedEffort(reasoning) ?? (mode === 'off' && takesNone ? 'none' : undefined);
  // Others have no word for it, and think as much as they do by themselves.
  if (mode === 'off' && asked === undefined && thinks) lose({ name: 'reasoning_effort', at: 'none' });
  else if (mode === 'off' && effort !== undefined && effort !== 'none') lose({ name: 'reasoning_effort', at: effort });
  if (asked === undefined) return {};
  if (!takesEffort) {
    lose({ name: 'reasoning_effort' });
    return {};
  }
  if (effort === undefined && budgetTokens !== undefined) lose({ name: 'reasoning_budget' });
  if (asked !== 'max' || isOurs) return { reasoning_effort: asked };
  lose({ name: 'reasoning_effort', at: asked });
  return { reasoning_effort: 'xhigh' };
}

/** Not to think goes before an effort, and that before a budget; a model that is left to decide for itself thinks as much as by `high`. */
function askedEffort({ effort, budgetTokens, mode }: Reasoning): string | undefined {
  if (mode === 'off') return effort === 'none' ? effort : undefined;
  if (effort !== undefined) return effort;
  if (budgetTokens !== undefined) return nearestEffort(budgetTokens);
  return mode === 'adaptive' ? 'high' : undefined;
}
