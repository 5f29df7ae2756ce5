// Answers embedding requests with unit vectors that depend on nothing but the input.

import { invalid } from '../api-error.ts';
import type { JsonObject, JsonValue } from '../json-value.ts';
import type { ProviderName } from '../provider.ts';
import { textTokens } from '../tokens.ts';
import { unitVector } from '../vectors.ts';
import { readModel } from './request.ts';
import { openRouterCost } from './usage.ts';

/** A valid embedding request; each input is a text or the tokens of one. */
export interface EmbeddingRequest {
  model: string;
  inputs: Array<string | number[]>;
  dimensions: number;
  base64: boolean;
}

const MOST_INPUTS = 2048;
const BAD_INPUT = `'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.`;

function nativeDimensions(model: string): number {
  return model.endsWith('-large') ? 3072 : 1536;
}

function isNumbers(value: JsonValue[]): value is number[] {
  return value.length > 0 && value.every((item) => typeof item === 'number' && Number.isInteger(item));
}

function readInputs(value: JsonValue | undefined): Array<string | number[]> {
  if (typeof value === 'string') {
    if (value === '') throw invalid(BAD_INPUT, null);
    return [value];
  }
  if (!Array.isArray(value) || value.length === 0) throw invalid(BAD_INPUT, null);
  if (isNumbers(value)) return [value];
  if (value.length > MOST_INPUTS) {
    throw invalid(
      `Invalid 'input': array too long. Expected an array with maximum length ${MOST_INPUTS}, but got an array with length ${value.length} instead.`,
      'input',
      'array_above_max_length',
    );
  }
  return value.map((item) => {
    if (typeof item === 'string' && item !== '') return item;
    if (Array.isArray(item) && isNumbers(item)) return item;
    throw invalid(BAD_INPUT, null);
  });
}

/** Turns a parsed body into an embedding request, or throws the ApiError OpenAI would answer. */
export function readEmbeddingRequest(body: JsonObject): EmbeddingRequest {
  const model = readModel(body);
  const inputs = readInputs(body.input);
  const { dimensions, encoding_format: format } = body;
  const native = nativeDimensions(model);
  if (dimensions !== undefined && dimensions !== null) {
    if (typeof dimensions !== 'number' || !Number.isInteger(dimensions)) {
      throw invalid(`'${String(dimensions)}' is not of type 'integer' - 'dimensions'`, null);
    }
    if (dimensions < 1) throw invalid(`${dimensions} is less than the minimum of 1 - 'dimensions'`, null);
    if (model.endsWith('ada-002')) throw invalid('This model does not support specifying dimensions.', null);
    if (dimensions > native) {
      throw invalid(`Invalid value for 'dimensions' = ${dimensions}. Must be less than or equal to ${native}.`, 'dimensions');
    }
  }
  if (format !== undefined && format !== null && format !== 'float' && format !== 'base64') {
    throw invalid(`'${String(format)}' is not one of ['float', 'base64'] - 'encoding_format'`, null);
  }
  return { model, inputs, dimensions: typeof dimensions === 'number' ? dimensions : native, base64: format === 'base64' };
}

/** The tokens of one input: the rule of texts (at least one), or the count of the tokens given. */
export function inputTokens(input: string | number[]): number {
  return typeof input === 'string' ? Math.max(1, textTokens(input)) : input.length;
}

function encoded(vector: Float32Array, base64: boolean): JsonValue {
  if (!base64) {
    // Nine digits give back the same float32, which keeps both encodings equal.
    return Array.from(vector, (value) => Number(value.toPrecision(9)));
  }
  const bytes = Buffer.alloc(vector.length * 4);
  vector.forEach((value, at) => {
    bytes.writeFloatLE(value, at * 4);
  });
  return bytes.toString('base64');
}

/** The usage object of an embedding call. */
export function embeddingUsage(provider: ProviderName, request: EmbeddingRequest): JsonObject {
  const tokens = request.inputs.reduce((sum, input) => sum + inputTokens(input), 0);
  const usage = { prompt_tokens: tokens, total_tokens: tokens };
  return provider === 'openai' ? usage : { ...usage, cost: openRouterCost(tokens, 0), is_byok: false };
}

/** The body of an embedding answer; `usage` null leaves it out. */
export function renderEmbeddings(provider: ProviderName, request: EmbeddingRequest, id: string, usage: JsonObject | null): string {
  const data = request.inputs.map((input, index) => {
    const embedding = encoded(unitVector(request.model, input, request.dimensions), request.base64);
    return { object: 'embedding', index, embedding };
  });
  const body = { object: 'list', data, model: request.model, ...(usage === null ? {} : { usage }) };
  return JSON.stringify(provider === 'openai' ? body : { ...body, provider: 'Simulated', id });
}
