// The knobs a call can be steered with: their names, their values, and how they are written.

import type { RecutStyle } from './recut.ts';

/** Everything a header, a mark in a message or a global rule may ask of one call. Absent means untouched. */
export interface Knobs {
  status?: number;
  code?: string;
  retry_after?: number;
  retry_after_ms?: number;
  delay_ms?: number;
  first_byte_delay_ms?: number;
  pace_ms?: number;
  silence?: boolean;
  silence_after?: number;
  reset?: boolean;
  reset_after?: number;
  cut_after?: number;
  cut_hard?: boolean;
  malformed?: number;
  oversize?: number;
  not_json?: boolean;
  empty?: boolean;
  no_usage?: boolean;
  seed_usage?: boolean;
  extra_output?: number;
  served_tier?: string;
  error_event_after?: number;
  tokens?: number;
  reasoning?: number;
  huge?: number;
  cache?: 'read' | 'write';
  padding?: number;
  strict?: boolean;
  refusal?: boolean;
  content_filter?: number;
  blocked?: boolean;
  finish?: string;
  citations?: boolean;
  redacted?: boolean;
  recut?: RecutStyle;
  seed?: number;
}

/** When the knobs of a mark apply: only at this provider, only with this key, only the first `times` calls. */
export interface Condition {
  provider?: string;
  key?: string;
  times?: number;
}

export interface KnobText {
  knobs: Knobs;
  condition: Condition;
}

type Kind = 'number' | 'flag' | 'text' | 'recut' | 'cache' | 'count';

const KINDS: Record<keyof Knobs | keyof Condition, Kind> = {
  status: 'number',
  code: 'text',
  retry_after: 'number',
  retry_after_ms: 'number',
  delay_ms: 'number',
  first_byte_delay_ms: 'number',
  pace_ms: 'number',
  silence: 'flag',
  silence_after: 'number',
  reset: 'flag',
  reset_after: 'number',
  cut_after: 'number',
  cut_hard: 'flag',
  malformed: 'count',
  oversize: 'number',
  not_json: 'flag',
  empty: 'flag',
  no_usage: 'flag',
  seed_usage: 'flag',
  extra_output: 'number',
  served_tier: 'text',
  error_event_after: 'number',
  tokens: 'number',
  reasoning: 'number',
  huge: 'number',
  cache: 'cache',
  padding: 'number',
  strict: 'flag',
  refusal: 'flag',
  content_filter: 'count',
  blocked: 'flag',
  finish: 'text',
  citations: 'flag',
  redacted: 'flag',
  recut: 'recut',
  seed: 'number',
  provider: 'text',
  key: 'text',
  times: 'number',
};

const CONDITIONS = new Set(['provider', 'key', 'times']);
const RECUTS = ['random', 'utf8', 'crlf', 'whole'];
/** A knob that does not exist or has an impossible value; a typo must not pass as a healthy call. */
export class KnobError extends Error {}

function readValue(name: string, kind: Kind, value: string | null): number | boolean | string {
  const number = value === null || value === '' ? Number.NaN : Number(value);
  switch (kind) {
    case 'flag':
      if (value === null || value === '1' || value === 'true') return true;
      if (value === '0' || value === 'false') return false;
      throw new KnobError(`${name} is a switch: write it alone, or with 1 or 0`);
    case 'count':
      if (value === null) return 0;
      break;
    case 'text':
      if (value === null || value === '') throw new KnobError(`${name} needs a value`);
      return value;
    case 'cache':
      if (value === null || value === 'read') return 'read';
      if (value === 'write') return 'write';
      throw new KnobError('cache is read or write');
    case 'recut':
      if (value !== null && RECUTS.includes(value)) return value;
      if (!(number >= 1)) throw new KnobError(`recut is a number of bytes or one of ${RECUTS.join(', ')}`);
      break;
    case 'number':
      break;
  }
  if (!Number.isInteger(number) || number < 0) throw new KnobError(`${name} needs a whole number, not ${value ?? 'nothing'}`);
  if (name === 'status' && number !== 200 && (number < 400 || number > 599)) throw new KnobError('status is 200 or from 400 to 599');
  return number;
}

/** Reads pairs of name and value into knobs and their condition. */
export function readKnobs(pairs: Iterable<[string, string | null]>): KnobText {
  const knobs: Record<string, number | boolean | string> = {};
  const condition: Record<string, number | boolean | string> = {};
  for (const [name, value] of pairs) {
    const kind = Object.hasOwn(KINDS, name) ? KINDS[name as keyof typeof KINDS] : undefined;
    if (kind === undefined) throw new KnobError(`there is no knob ${name}; the knobs are ${Object.keys(KINDS).join(', ')}`);
    (CONDITIONS.has(name) ? condition : knobs)[name] = readValue(name, kind, value);
  }
  // Each entry was checked against the kind of its name just above.
  return { knobs: knobs as Knobs, condition: condition as Condition };
}

/** Reads `status=503;delay_ms=200`, also with blanks or commas between. */
export function parseKnobs(text: string): KnobText {
  const pairs = text
    .split(/[\s;,]+/)
    .filter((part) => part !== '')
    .map((part): [string, string | null] => {
      const at = part.indexOf('=');
      return at < 0 ? [part, null] : [part.slice(0, at), part.slice(at + 1)];
    });
  return readKnobs(pairs);
}

/** One line for the journal; null when nothing was asked. */
export function describeKnobs(knobs: Knobs): string | null {
  const parts = Object.entries(knobs).map(([name, value]) => (value === true ? name : `${name}=${value}`));
  return parts.length === 0 ? null : parts.join(';');
}
