/** Embeddings, to and from the canonical language. Upstreams are asked for lists. */
import type { EmbeddingRequest, EmbeddingResponse } from '../../canonical/embedding.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { UsageReport } from '../../canonical/response.ts';
import { unreadable } from '../answer-body.ts';
import type { EmbeddingsCodec, Encoded, EncodeRequestTerms, RequestPlace } from '../dialect.ts';
import { invalid, isObject, type JsonObject, NO_REST, rest, text, withLiteral } from '../json.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { readPassThrough } from './pass-through-request.ts';
import { camelKeys, fieldsOf, integer, listOf } from './proto-json.ts';
import { bareModel, DIALECT } from './schema.ts';
import { readUsage, writeUsage } from './usage.ts';

const INPUT_KEYS = ['model', 'content', 'taskType', 'outputDimensionality'];

/** Throws GatewayError 400. All inputs must want the same of their vectors, since other providers are asked once for all. */
function decodeRequest(body: Buffer, place: RequestPlace): EmbeddingRequest {
  const { facts } = readPassThrough('embeddings', body, place);
  const parsed: unknown = JSON.parse(body.toString('utf8'));
  const fields = fieldsOf(parsed);
  const isSingle = place.form === 'embedContent';
  const asked = (isSingle ? [fields] : listOf(fields.requests).filter(isObject)).map(camelKeys);
  const [first = NO_REST] = asked;
  for (const name of ['taskType', 'outputDimensionality']) {
    if (asked.some((one) => one[name] !== first[name])) {
      throw invalid(`The parameter '${name}' must be the same in all requests for this model.`, 'requests');
    }
  }
  const taskType = text(first.taskType);
  return {
    dialect: DIALECT,
    model: facts.model,
    inputs: asked.map((one, index) => readInput(one.content, isSingle ? 'content' : `requests[${index}].content`)),
    isSingle,
    dimensions: integer(first.outputDimensionality),
    encoding: 'float',
    ...(taskType === undefined ? {} : { taskType }),
    user: undefined,
    rest: rest(first, INPUT_KEYS),
  };
}

function readInput(content: unknown, param: string): string {
  const texts = listOf(fieldsOf(content).parts).map((part) => fieldsOf(part).text);
  if (texts.every((one) => typeof one === 'string')) return texts.join('\n');
  throw invalid(`The parameter '${param}' may hold only texts for this model.`, param);
}

function encodeRequest(request: EmbeddingRequest, terms: EncodeRequestTerms): Encoded {
  const losses: Loss[] = [];
  const isOurs = request.dialect === DIALECT;
  if (!isOurs) for (const field of Object.keys(request.rest)) losses.push({ name: 'unknown_field', at: field });
  if (request.user !== undefined) losses.push({ name: 'user' });
  const requests = request.inputs.map((input) => {
    if (typeof input !== 'string') throw invalid('This model embeds texts, not token ids of another one.', 'input');
    return {
      ...(isOurs ? request.rest : NO_REST),
      model: `models/${bareModel(terms.model)}`,
      content: { parts: [{ text: input }] },
      taskType: request.taskType,
      outputDimensionality: request.dimensions,
    };
  });
  return { body: [Buffer.from(JSON.stringify({ requests }))], losses };
}

/** Throws GatewayError `upstream_error`. */
function decodeResponse(body: Buffer, request: EmbeddingRequest): EmbeddingResponse {
  const fields = parse(body);
  const list = fields.embedding === undefined ? listOf(fields.embeddings) : [fields.embedding];
  const vectors = list.map((embedding) => listOf(fieldsOf(embedding).values).filter((value) => typeof value === 'number'));
  if (vectors.length !== request.inputs.length || vectors.some((vector) => vector.length === 0)) {
    throw unreadable(`${vectors.length} vectors for ${request.inputs.length} inputs`);
  }
  return { model: undefined, vectors, usage: readReport(fields.usageMetadata), rest: NO_REST };
}

function parse(body: Buffer): JsonObject {
  let fields: unknown;
  try {
    fields = JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw unreadable(error);
  }
  if (!isObject(fields)) throw unreadable('an answer that is not an object');
  if (fields.error !== undefined && fields.error !== null) throw errorFromAnswer(fields);
  return fields;
}

function readReport(raw: unknown): UsageReport | undefined {
  const usage = readUsage(raw);
  return usage === undefined || !isObject(raw) ? undefined : { usage, reasoningTokens: undefined, raw };
}

function encodeResponse(
  { vectors, usage }: EmbeddingResponse,
  { costUsdLiteral, request }: { readonly costUsdLiteral: string | undefined; readonly request: EmbeddingRequest },
): Encoded {
  const embeddings = vectors.map((values) => ({ values }));
  const fields = JSON.stringify(request.isSingle ? { embedding: embeddings[0] } : { embeddings });
  const counts = usage === undefined ? undefined : writeUsage(usage.usage, undefined, undefined);
  const usageMetadata =
    counts === undefined
      ? ''
      : `,"usageMetadata":${withLiteral({ promptTokenCount: counts.promptTokenCount, promptTokenDetails: counts.promptTokensDetails }, 'costUsd', costUsdLiteral)}`;
  return { body: [Buffer.from(`${fields.slice(0, -1)}${usageMetadata}}`)], losses: [] };
}

export const embeddings: EmbeddingsCodec = { decodeRequest, encodeRequest, decodeResponse, encodeResponse };
