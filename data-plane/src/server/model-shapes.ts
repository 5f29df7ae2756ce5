/** In which shape models are told to whom: that of the client's dialect. */
import type { Spoken } from '../dialect/registry.ts';
import type { CallableModel } from './callable-models.ts';
import { anthropicModel, anthropicModels } from './models-anthropic.ts';
import { geminiModel, geminiModels } from './models-gemini.ts';
import { openaiModel, openaiModels } from './models-openai.ts';
import type { Query } from './page-query.ts';

export interface ModelShape {
  /** Throws GatewayError 400 for a page that cannot be told. */
  list(models: readonly CallableModel[], query: Query): unknown;
  one(model: CallableModel): unknown;
}

const OPENAI: ModelShape = { list: openaiModels, one: openaiModel };
const ANTHROPIC: ModelShape = { list: anthropicModels, one: anthropicModel };
const GEMINI: ModelShape = { list: geminiModels, one: geminiModel };

export const MODEL_SHAPES: Readonly<Record<Spoken, ModelShape>> = {
  'openai-chat': OPENAI,
  'openai-responses': OPENAI,
  'anthropic-messages': ANTHROPIC,
  gemini: GEMINI,
  'gemini-json-array': GEMINI,
};
