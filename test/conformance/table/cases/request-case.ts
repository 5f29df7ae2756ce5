/** A request that says the same in the words of several dialects, and what may happen to it on its way to the others. */
import type { LossName } from '@meridian/data-plane/canonical/loss';
import type { DialectName } from '@meridian/domain/dialect';
import type { Json } from '../json.ts';

export type PerDialect<Value> = Readonly<Partial<Record<DialectName, Value>>>;

/** `refuse`: 400 before anything is sent. Losses: those that are named, and no other. */
export type Outcome = 'refuse' | readonly LossName[];

export interface RequestCase {
  /** What must hold, in the order in which the hard cases of translation are counted. */
  readonly number: number;
  readonly what: string;
  /** By the dialect of the client; one that cannot say it is absent. `model` is the upstream's to know. */
  readonly asked: PerDialect<Json>;
  readonly isStream?: boolean;
  /** By the dialect of the upstream; absent: carried whole. */
  readonly outcome?: PerDialect<Outcome>;
  /** By client and upstream, where it depends on both: `openai-chat>gemini`. */
  readonly outcomeOf?: Readonly<Record<string, Outcome>>;
  /** Differences that are the way to say it, by the dialect of the upstream: a tool that stands for a format. */
  readonly saidBy?: PerDialect<readonly string[]>;
  /** Upstream models that the case is about. */
  readonly models?: PerDialect<string>;
  /** Of the upstream's model, where the case is about one that lacks some. */
  readonly capabilities?: readonly string[];
  /** What the upstream's body must look like beyond the same meaning; each text is a complaint. */
  readonly check?: (body: Json, upstream: DialectName, client: DialectName) => readonly string[];
}

/** A complaint where a condition does not hold. */
export function unless(holds: boolean, complaint: string): string[] {
  return holds ? [] : [complaint];
}

/** A picture of one pixel. */
export const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
export const PDF = Buffer.from('%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n').toString('base64');
export const WAV = Buffer.from('RIFF\u0024\u0000\u0000\u0000WAVEfmt ', 'latin1').toString('base64');

export const WEATHER_SCHEMA: Json = {
  type: 'object',
  properties: { city: { type: 'string', description: 'A city' }, unit: { type: 'string', enum: ['c', 'f'] } },
  required: ['city'],
  additionalProperties: false,
};

const WEATHER = { name: 'get_weather', description: 'The weather of a city' };

/** The same function, as each dialect declares it. */
export const TOOLS: Readonly<Record<DialectName, readonly Json[]>> = {
  'openai-chat': [{ type: 'function', function: { ...WEATHER, parameters: WEATHER_SCHEMA } }],
  'openai-responses': [{ type: 'function', ...WEATHER, parameters: WEATHER_SCHEMA }],
  'anthropic-messages': [{ ...WEATHER, input_schema: WEATHER_SCHEMA }],
  gemini: [{ functionDeclarations: [{ ...WEATHER, parametersJsonSchema: WEATHER_SCHEMA }] }],
};

/** A question in one turn, with more fields of the body. */
export function question(text: string, more: PerDialect<Json>): PerDialect<Json> {
  const all: PerDialect<Json> = {
    'openai-chat': { messages: [{ role: 'user', content: text }] },
    'openai-responses': { input: text },
    'anthropic-messages': { max_tokens: 4_096, messages: [{ role: 'user', content: text }] },
    gemini: { contents: [{ role: 'user', parts: [{ text }] }] },
  };
  return Object.fromEntries(Object.entries(more).map(([name, fields]) => [name, { ...all[name as DialectName], ...fields }]));
}
