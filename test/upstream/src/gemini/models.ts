// The models Google lists, and what its generations take.

import { ApiError } from '../api-error.ts';
import type { JsonObject } from '../json-value.ts';

const MODELS: Array<[id: string, name: string]> = [
  ['gemini-3.1-pro-preview', 'Gemini 3.1 Pro Preview'],
  ['gemini-3-flash-preview', 'Gemini 3 Flash Preview'],
  ['gemini-3-pro-image-preview', 'Gemini 3 Pro Image Preview'],
  ['gemini-2.5-pro', 'Gemini 2.5 Pro'],
  ['gemini-2.5-flash', 'Gemini 2.5 Flash'],
  ['gemini-2.5-flash-lite', 'Gemini 2.5 Flash-Lite'],
  ['gemini-2.5-flash-image', 'Gemini 2.5 Flash Image'],
  ['gemini-2.0-flash', 'Gemini 2.0 Flash'],
  ['gemini-embedding-2', 'Gemini Embedding 2'],
  ['gemini-embedding-001', 'Gemini Embedding 001'],
];

/** What a model takes, by its generation. */
export interface Traits {
  thinks: boolean;
  /** `thinkingLevel`, and tools together with a JSON answer. */
  third: boolean;
  /** Calls that come back must carry the signature they were made with. */
  needsSignatures: boolean;
  /** Calls have ids of their own. */
  namesCalls: boolean;
  drawsImages: boolean;
  /** A budget of 0 is refused. */
  alwaysThinks: boolean;
}

/** An unknown name counts as of the second generation. */
export function traitsOf(model: string): Traits {
  const generation = Number(/gemini-(\d+(?:\.\d+)?)/.exec(model)?.[1] ?? 2);
  const third = generation >= 3;
  return {
    thinks: generation >= 2.5,
    third,
    needsSignatures: third,
    namesCalls: third && model.includes('flash'),
    drawsImages: model.includes('image'),
    alwaysThinks: generation === 2.5 && model.includes('pro'),
  };
}

function notFound(model: string, method: string): ApiError {
  return new ApiError(
    404,
    `models/${model} is not found for API version v1beta, or is not supported for ${method}. Call ModelService.ListModels to see the list of available models and their supported methods.`,
  );
}

/** Refuses `unknown-…`; every other name is served. */
export function checkModel(model: string, method: string): void {
  if ((model.split('/').at(-1) ?? '').startsWith('unknown-')) throw notFound(model, method);
}

function modelObject([id, displayName]: [string, string]): JsonObject {
  const embeds = id.includes('embedding');
  return {
    name: `models/${id}`,
    version: '001',
    displayName,
    description: `${displayName}, simulated.`,
    inputTokenLimit: embeds ? 2048 : 1048576,
    outputTokenLimit: embeds ? 1 : 65536,
    supportedGenerationMethods: embeds
      ? ['embedContent', 'countTextTokens', 'countTokens', 'asyncBatchEmbedContent']
      : ['generateContent', 'countTokens', 'createCachedContent', 'batchGenerateContent'],
    ...(embeds ? {} : { temperature: 1, topP: 0.95, topK: 64, maxTemperature: 2, thinking: traitsOf(id).thinks }),
  };
}

/** The body of the models list. */
export function modelList(): JsonObject {
  return { models: MODELS.map(modelObject) };
}

/** One listed model, or Google's 404. */
export function modelById(id: string): JsonObject {
  const known = MODELS.find((model) => model[0] === id);
  if (known === undefined) {
    throw new ApiError(404, `Model is not found: models/${id} for api version v1beta`);
  }
  return modelObject(known);
}
