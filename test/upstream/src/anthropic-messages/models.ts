// The models Anthropic lists, the names it answers with, and what its generations take.

import { ApiError } from '../api-error.ts';
import type { JsonObject } from '../json-value.ts';

const MODELS: Array<[id: string, name: string, created: string]> = [
  ['claude-opus-4-8', 'Claude Opus 4.8', '2026-05-28T00:00:00Z'],
  ['claude-opus-4-7', 'Claude Opus 4.7', '2026-04-16T00:00:00Z'],
  ['claude-sonnet-4-6', 'Claude Sonnet 4.6', '2026-02-17T00:00:00Z'],
  ['claude-opus-4-6', 'Claude Opus 4.6', '2026-02-04T00:00:00Z'],
  ['claude-opus-4-5-20251101', 'Claude Opus 4.5', '2025-11-24T00:00:00Z'],
  ['claude-haiku-4-5-20251001', 'Claude Haiku 4.5', '2025-10-15T00:00:00Z'],
  ['claude-sonnet-4-5-20250929', 'Claude Sonnet 4.5', '2025-09-29T00:00:00Z'],
];

// Anthropic answers a short name with the dated one behind it, as its recordings show.
const DATED: Record<string, string> = {
  'claude-opus-4-5': 'claude-opus-4-5-20251101',
  'claude-haiku-4-5': 'claude-haiku-4-5-20251001',
  'claude-sonnet-4-5': 'claude-sonnet-4-5-20250929',
};

/** What a model takes, by its generation. */
export interface Traits {
  /** `thinking.type` adaptive. */
  adaptive: boolean;
  /** `thinking.type` enabled with a budget. */
  budget: boolean;
  /** The levels of `output_config.effort`; empty where there is none. */
  efforts: string[];
  /** Messages of role `system` among the others. */
  inlineSystem: boolean;
  /** A conversation may end with the assistant's own words. */
  prefill: boolean;
  /** `temperature` and `top_p` together. */
  bothSamplers: boolean;
  /** Thinking is not shown unless `thinking.display` asks for it. */
  hidesThinking: boolean;
  /** The usage tells the thinking tokens. */
  tellsThinking: boolean;
  /** `message_delta` repeats the input's usage. */
  repeatsInput: boolean;
}

const EFFORTS = ['high', 'low', 'max', 'medium'];

/** Reads the generation of a name such as claude-opus-4-7 or claude-3-5-sonnet-20241022; an unknown name counts as 4.6. */
function generationOf(model: string): number {
  const newer = /claude-[a-z]+-(\d+)(?:[-.](\d{1,2}))?(?:$|[^\d])/.exec(model);
  if (newer !== null) return Number(newer[1]) + Number(newer[2] ?? 0) / 10;
  const older = /claude-(\d+)(?:[-.](\d))?-/.exec(model);
  return older === null ? 4.6 : Number(older[1]) + Number(older[2] ?? 0) / 10;
}

export function traitsOf(model: string): Traits {
  const generation = generationOf(model);
  const newest = generation >= 4.7;
  const effort = generation >= 4.6 || (generation >= 4.5 && model.includes('opus'));
  return {
    adaptive: generation >= 4.6,
    budget: !newest,
    efforts: effort ? (newest ? [...EFFORTS, 'xhigh'] : EFFORTS) : [],
    inlineSystem: generation >= 4.8,
    prefill: generation < 4.6,
    bothSamplers: generation < 4.1,
    hidesThinking: newest,
    tellsThinking: generation >= 4.6,
    repeatsInput: generation >= 4.5,
  };
}

/** The model name in an answer. */
export function servedModel(asked: string): string {
  return DATED[asked] ?? asked;
}

/** Refuses `unknown-…`; every other name is served. */
export function checkModel(model: string): void {
  if (model.startsWith('unknown-')) throw new ApiError(404, `model: ${model}`, { type: 'not_found_error' });
}

function modelObject([id, display_name, created_at]: [string, string, string]): JsonObject {
  return { type: 'model', id, display_name, created_at };
}

/** The body of the models list. */
export function modelList(): JsonObject {
  return { data: MODELS.map(modelObject), has_more: false, first_id: MODELS[0]?.[0] ?? null, last_id: MODELS.at(-1)?.[0] ?? null };
}

/** One listed model, or Anthropic's 404. */
export function modelById(id: string): JsonObject {
  const known = MODELS.find((model) => model[0] === servedModel(id));
  if (known === undefined) throw new ApiError(404, `model: ${id}`, { type: 'not_found_error' });
  return modelObject(known);
}
