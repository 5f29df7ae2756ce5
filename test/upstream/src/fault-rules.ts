// Faults for all calls or a share of them, set through the control endpoint and drawn from a seed.

import { isObject, type JsonValue } from './json-value.ts';
import { type Condition, KnobError, type Knobs, parseKnobs, readKnobs } from './knobs.ts';
import type { ProviderName } from './provider.ts';
import { hash32, seededRandom } from './seeded.ts';

/** What the rules look at in a call. */
export interface CallFacts {
  provider: ProviderName;
  path: string;
  model: string | null;
  keyFingerprint: string | null;
  /** The text marks were found in; two calls with the same text are the same request tried again. */
  text: string;
}

interface Match {
  model?: string;
  path?: string;
  provider?: string;
  key?: string;
}

interface Rule {
  id: number;
  match: Match;
  rate: number;
  timesLeft: number;
  knobs: Knobs;
  draw: () => number;
  hits: number;
}

/** A rule as the control endpoint shows it. */
export interface RuleView {
  id: number;
  match: Match;
  rate: number;
  hits: number;
  fault: Knobs;
}

/** Exact, or with `*` for any run of characters. */
function fits(pattern: string | undefined, value: string | null): boolean {
  if (pattern === undefined) return true;
  if (value === null) return false;
  if (!pattern.includes('*')) return pattern === value;
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(value);
}

function readMatch(value: JsonValue | undefined): Match {
  if (value === undefined || value === null) return {};
  if (!isObject(value)) throw new KnobError('match is an object');
  const match: Record<string, string> = {};
  for (const [name, pattern] of Object.entries(value)) {
    if (!['model', 'path', 'provider', 'key'].includes(name)) throw new KnobError(`match has no field ${name}: model, path, provider, key`);
    if (typeof pattern !== 'string') throw new KnobError(`match.${name} is a text`);
    match[name] = pattern;
  }
  return match;
}

/** The rules in force, and the count of marks with `times`. */
export class FaultRules {
  #rules: Rule[] = [];
  #lastId = 0;
  readonly #tries = new Map<string, number>();

  /** Adds a rule from the control endpoint's body: `match`, `rate`, `seed`, `times`, and knobs beside them or in `fault`. */
  add(body: JsonValue): RuleView {
    if (!isObject(body)) throw new KnobError('the body is an object');
    const { match, rate, seed, times, fault, ...beside } = body;
    if (rate !== undefined && (typeof rate !== 'number' || rate < 0 || rate > 1)) throw new KnobError('rate is a number from 0 to 1');
    const own = typeof fault === 'string' ? parseKnobs(fault).knobs : {};
    const fields = Object.entries({ ...(isObject(fault) ? fault : {}), ...beside });
    const { knobs } = readKnobs(fields.map(([name, value]): [string, string | null] => [name, value === true ? null : String(value)]));
    // The seed also places the random cuts of `recut`, so that one number replays a whole run.
    const start = typeof seed === 'number' ? seed : 1;
    const rule: Rule = {
      id: ++this.#lastId,
      match: readMatch(match),
      rate: typeof rate === 'number' ? rate : 1,
      timesLeft: typeof times === 'number' ? times : Number.POSITIVE_INFINITY,
      knobs: { ...own, ...knobs, ...(typeof seed === 'number' ? { seed } : {}) },
      draw: seededRandom(start),
      hits: 0,
    };
    this.#rules.push(rule);
    return this.#view(rule);
  }

  any(): boolean {
    return this.#rules.length > 0;
  }

  list(): RuleView[] {
    return this.#rules.map((rule) => this.#view(rule));
  }

  /** Removes one rule, or all of them and the counts of tries. */
  remove(id: number | null): void {
    if (id !== null) {
      this.#rules = this.#rules.filter((rule) => rule.id !== id);
      return;
    }
    this.#rules = [];
    this.#tries.clear();
  }

  /** The knobs of one call: rules first, then the call's own texts in order; a later one wins field by field. */
  resolve(call: CallFacts, ownTexts: string[]): Knobs {
    let knobs: Knobs = {};
    for (const rule of this.#rules) {
      const { match } = rule;
      const matches =
        fits(match.model, call.model) &&
        fits(match.path, call.path) &&
        fits(match.provider, call.provider) &&
        fits(match.key, call.keyFingerprint);
      // Drawn for each matching call, so that the n-th call of a run meets the same fate in the next run.
      if (!matches || rule.draw() >= rule.rate || rule.timesLeft <= 0) continue;
      rule.timesLeft -= 1;
      rule.hits += 1;
      knobs = { ...knobs, ...rule.knobs };
    }
    ownTexts.forEach((text, index) => {
      const own = parseKnobs(text);
      if (this.#applies(own.condition, call, `${index} ${text}`)) knobs = { ...knobs, ...own.knobs };
    });
    return knobs;
  }

  #applies(condition: Condition, call: CallFacts, mark: string): boolean {
    if (!fits(condition.provider, call.provider) || !fits(condition.key, call.keyFingerprint)) return false;
    if (condition.times === undefined) return true;
    const key = `${hash32(mark)} ${hash32(call.text)} ${call.text.length}`;
    const tries = (this.#tries.get(key) ?? 0) + 1;
    this.#tries.set(key, tries);
    return tries <= condition.times;
  }

  #view(rule: Rule): RuleView {
    return { id: rule.id, match: rule.match, rate: rule.rate, hits: rule.hits, fault: rule.knobs };
  }
}
