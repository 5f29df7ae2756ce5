/** Embeddings, to and from the canonical language. */
import { GatewayError } from '@meridian/domain/error';
import type { EmbeddingRequest, EmbeddingResponse } from '../../canonical/embedding.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { EmbeddingsCodec, Encoded, EncodeRequestTerms } from '../dialect.ts';
import { invalid, isObject, type JsonObject, NO_REST, number, rest, text, withLiteral } from '../json.ts';
import { readPassThrough } from './pass-through-request.ts';
import { readAnswer, readReport } from './response.ts';
import { EMBEDDINGS_KEYS } from './schema.ts';
import { writeUsage } from './usage.ts';
import { readVector, writeVector } from './vector.ts';

const DIALECT = 'openai-chat';

/** Throws GatewayError 400 with the parameter at fault. */
function decodeRequest(body: Buffer): EmbeddingRequest {
  // The same checks and limits as in the other lane.
  const { facts } = readPassThrough('embeddings', body);
  const fields: unknown = JSON.parse(body.toString('utf8'));
  if (!isObject(fields)) throw invalid('The request body must be a JSON object.');
  const { inputs, isSingle } = readInputs(fields.input);
  return {
    dialect: DIALECT,
    model: facts.model,
    inputs,
    isSingle,
    dimensions: number(fields.dimensions),
    encoding: fields.encoding_format === 'base64' ? 'base64' : 'float',
    user: text(fields.user),
    rest: rest(fields, [...EMBEDDINGS_KEYS]),
  };
}

/** A text, texts, token ids, or lists of them; which of these it is has been checked. */
function readInputs(input: unknown): Pick<EmbeddingRequest, 'inputs' | 'isSingle'> {
  if (!Array.isArray(input)) return { inputs: [String(input)], isSingle: true };
  return typeof input[0] === 'number' ? { inputs: [input], isSingle: true } : { inputs: input, isSingle: false };
}

function encodeRequest(request: EmbeddingRequest, terms: EncodeRequestTerms): Encoded {
  const losses: Loss[] = [];
  const isOurs = request.dialect === DIALECT;
  if (!isOurs) for (const field of Object.keys(request.rest)) losses.push({ name: 'unknown_field', at: field });
  if (request.taskType !== undefined) losses.push({ name: 'embedding_task' });
  const fields: JsonObject = {
    ...(isOurs ? request.rest : NO_REST),
    model: terms.model,
    input: request.isSingle ? request.inputs[0] : request.inputs,
    dimensions: request.dimensions,
    user: request.user,
  };
  return { body: [Buffer.from(JSON.stringify(fields))], losses };
}

/** Throws GatewayError `upstream_error` on an answer that cannot be read, or has not a vector for each input. */
function decodeResponse(body: Buffer, request: EmbeddingRequest): EmbeddingResponse {
  const { facts } = readAnswer('embeddings', body);
  const fields = JSON.parse(body.toString('utf8')) as JsonObject;
  const data = Array.isArray(fields.data) ? fields.data.filter(isObject) : [];
  const vectors: (readonly number[])[] = [];
  for (const [position, item] of data.entries()) vectors[number(item.index) ?? position] = readVector(item.embedding);
  const isWhole = vectors.length === request.inputs.length && request.inputs.every((_, index) => (vectors[index]?.length ?? 0) > 0);
  if (!isWhole) throw unreadable(`${vectors.length} vectors for ${request.inputs.length} inputs`);
  return {
    model: facts.model,
    vectors,
    usage: readReport(fields.usage),
    rest: rest(fields, ['object', 'data', 'model', 'usage']),
  };
}

function unreadable(cause: string): GatewayError {
  return new GatewayError('upstream_error', { source: 'upstream', message: "The provider's answer could not be read.", cause });
}

const encodeResponse: EmbeddingsCodec['encodeResponse'] = ({ model, vectors, usage }, terms) => {
  const { encoding } = terms.request;
  const fields = JSON.stringify({
    object: 'list',
    data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: writeVector(vector, encoding) })),
    model: terms.model ?? model ?? terms.request.model,
  });
  return { body: [Buffer.from(`${fields.slice(0, -1)}${writeCounts(usage?.usage, terms.costUsdLiteral)}}`)], losses: [] };
};

function writeCounts(usage: Parameters<typeof writeUsage>[0] | undefined, costUsdLiteral: string | undefined): string {
  if (usage === undefined) return '';
  const { prompt_tokens, total_tokens } = writeUsage(usage, undefined);
  return `,"usage":${withLiteral({ prompt_tokens, total_tokens }, 'cost_usd', costUsdLiteral)}`;
}

export const embeddings: EmbeddingsCodec = { decodeRequest, encodeRequest, decodeResponse, encodeResponse };
