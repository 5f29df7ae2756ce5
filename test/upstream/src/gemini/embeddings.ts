// Answers Gemini's requests to embed, one content or several.

import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';
import { textTokens } from '../tokens.ts';
import { unitVector } from '../vectors.ts';
import { refused } from './error.ts';
import { withCamelNames } from './fields.ts';

/** A valid request to embed: a text and a length for each vector. */
export interface EmbedRequest {
  inputs: Array<{ text: string; dimensions: number }>;
  batch: boolean;
}

const NATIVE_DIMENSIONS = 3072;
const MOST_INPUTS = 100;

function readOne(value: JsonValue | undefined, at: string): { text: string; dimensions: number } {
  const request = isObject(value) ? value : {};
  const content = isObject(request.content) ? request.content : null;
  const parts = content !== null && Array.isArray(content.parts) ? content.parts : [];
  if (parts.length === 0) throw refused(`* ${at}.content: content is required and must not be empty.\n`);
  const config = isObject(request.embedContentConfig) ? request.embedContentConfig : {};
  const dimensions = request.outputDimensionality ?? config.outputDimensionality ?? NATIVE_DIMENSIONS;
  if (typeof dimensions !== 'number' || !Number.isInteger(dimensions) || dimensions < 1 || dimensions > NATIVE_DIMENSIONS) {
    throw refused(`* ${at}.output_dimensionality: output_dimensionality must be between 1 and ${NATIVE_DIMENSIONS}.\n`);
  }
  const text = parts.map((part) => (isObject(part) ? (typeof part.text === 'string' ? part.text : JSON.stringify(part)) : '')).join('');
  return { text, dimensions };
}

/** Reads the body of embedContent or batchEmbedContents. */
export function readEmbedRequest(given: JsonObject, batch: boolean): EmbedRequest {
  const body = withCamelNames(given);
  if (!isObject(body)) throw refused('Request contains an invalid argument.');
  if (!batch) return { inputs: [readOne(body, 'EmbedContentRequest')], batch };
  const requests = Array.isArray(body.requests) ? body.requests : [];
  if (requests.length === 0) throw refused('* BatchEmbedContentsRequest.requests: requests is not specified\n');
  if (requests.length > MOST_INPUTS)
    throw refused(`* BatchEmbedContentsRequest.requests: at most ${MOST_INPUTS} requests can be in one batch\n`);
  return { inputs: requests.map((one, index) => readOne(one, `BatchEmbedContentsRequest.requests[${index}]`)), batch };
}

/** The usage of an embedding call; the first embedding models do not tell it. */
export function embeddingUsage(request: EmbedRequest): JsonObject {
  const tokens = request.inputs.reduce((sum, { text }) => sum + Math.max(1, textTokens(text)), 0);
  return { promptTokenCount: tokens, promptTokenDetails: [{ modality: 'TEXT', tokenCount: tokens }] };
}

/** The body of an embedding answer; `usage` null leaves it out. */
export function renderEmbeddings(model: string, request: EmbedRequest, usage: JsonObject | null): string {
  const vectors = request.inputs.map(({ text, dimensions }) => ({
    values: Array.from(unitVector(model, text, dimensions), (value) => Number(value.toPrecision(9))),
  }));
  const shown = usage === null ? {} : { usageMetadata: usage };
  const [first] = vectors;
  return JSON.stringify(request.batch || first === undefined ? { embeddings: vectors, ...shown } : { embedding: first, ...shown });
}
