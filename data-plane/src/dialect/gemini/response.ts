/** A whole JSON answer: read and edited by its bytes, or to and from the canonical language. */
import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import type { Loss } from '../../canonical/loss.ts';
import type { Citation, Part } from '../../canonical/message.ts';
import type { Choice, Response, UsageReport } from '../../canonical/response.ts';
import type { Tool } from '../../canonical/tool.ts';
import { originalToolName } from '../../canonical/tool-name.ts';
import { answerMembers, parseAnswer, readAnswerBody } from '../answer-body.ts';
import { answerEdits, type EditedMembers } from '../answer-edits.ts';
import { hasNoOutput, TEXT_BYTES_PER_TOKEN } from '../answer-facts.ts';
import type { Answer, AnswerFacts, Encoded, EncodeTerms } from '../dialect.ts';
import { parseExact } from '../exact-json.ts';
import { isObject, type JsonObject, NO_REST, number, rest, text, withLiteral } from '../json.ts';
import { splice } from '../json-scanner.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { type IdMint, idMint } from './call-ids.ts';
import { readCitations, TextPlaces, writeGrounding } from './citations.ts';
import { hasFinished, readBlockReason, readFinish, writeFinish } from './finish.ts';
import type { HostedCalls } from './hosted-calls.ts';
import { readLogprobs, writeLogprobs } from './logprobs.ts';
import { readModelParts, writeModelParts } from './message.ts';
import { fieldsOf, listOf } from './proto-json.ts';
import { DIALECT } from './schema.ts';
import { argumentsObject } from './tools.ts';
import { readAnswerUsage, readUsage, reasoningTokens, servedTier, writeUsage } from './usage.ts';

/** Longer `candidates` (pictures, audio) are not parsed for their text: they are not empty, and their bytes stand for it. */
const PARSED_CANDIDATES_MAX_BYTES = 256 * 1024;

const ANSWER_KEYS: ReadonlySet<string> = new Set(['candidates', 'usageMetadata', 'modelVersion', 'promptFeedback', 'error']);
/** A picture may be grounded in a search, which is billed. */
const HOSTED_CALLS = [Buffer.from('"groundingMetadata"'), Buffer.from('"toolCall"')];

/** Throws GatewayError `upstream_error` when the answer is not a JSON object, or is an error in a success's clothes. */
export function readAnswer(operation: Operation, body: Buffer): Answer {
  return readAnswerBody(() => read(operation, body));
}

function read(operation: Operation, body: Buffer): Answer {
  const { spans, field } = answerMembers(body, ANSWER_KEYS);
  const span = spans.get('candidates');
  if (span === undefined) refuseFailure(field('error'));

  const usageMetadata = field('usageMetadata');
  const modelVersion = field('modelVersion');
  const isLong = span !== undefined && span.end - span.start > PARSED_CANDIDATES_MAX_BYTES;
  const candidates = !isLong || HOSTED_CALLS.some((name) => body.includes(name)) ? field('candidates') : undefined;
  const usage = operation === 'chat' ? readAnswerUsage({ usageMetadata, modelVersion, candidates }) : readUsage(usageMetadata);
  const content = isLong ? { empty: false, textBytes: span.end - span.start } : readContent(candidates);
  const facts: AnswerFacts = {
    usage,
    usageIsInterim: false,
    serviceTier: servedTier(usageMetadata),
    model: text(modelVersion),
    empty: operation === 'chat' && content.empty && hasNoOutput(usage),
    countedOutputTokens: Math.ceil(content.textBytes / TEXT_BYTES_PER_TOKEN),
    reasoningTokens: reasoningTokens(usageMetadata),
  };
  const members: EditedMembers = { model: spans.get('modelVersion'), usage: spans.get('usageMetadata'), costName: 'costUsd' };
  return { facts, rewrite: (edits) => ({ body: splice(body, answerEdits(body, members, edits)), losses: [] }) };
}

/** An error in a success's clothes. */
function refuseFailure(failure: unknown): void {
  if (failure !== undefined && failure !== null) throw errorFromAnswer({ error: failure });
}

interface Content {
  readonly empty: boolean;
  readonly textBytes: number;
}

/** Whether candidates hold what a client waits for, and the bytes of the text in them. */
export function readContent(candidates: unknown): Content {
  let empty = true;
  let textBytes = 0;
  for (const candidate of listOf(candidates)) {
    for (const part of listOf(fieldsOf(fieldsOf(candidate).content).parts)) {
      if (!isObject(part)) continue;
      if (hasContent(part)) empty = false;
      textBytes += contentBytes(part);
    }
  }
  return { empty, textBytes };
}

/** A signature alone is no content. */
function hasContent(part: JsonObject): boolean {
  return Object.keys(part).some((key) => !NO_CONTENT.has(key) && (key !== 'text' || part.text !== ''));
}

const NO_CONTENT: ReadonlySet<string> = new Set(['thought', 'thoughtSignature', 'partMetadata']);

function contentBytes(part: JsonObject): number {
  if (typeof part.text === 'string') return Buffer.byteLength(part.text);
  if (!isObject(part.functionCall)) return 0;
  const { name, args, partialArgs } = part.functionCall;
  return Buffer.byteLength(text(name) ?? '') + Buffer.byteLength(JSON.stringify(args ?? partialArgs ?? {}));
}

/** Throws GatewayError `upstream_error` as `readAnswer` does, and on an answer that broke off, or holds none. */
export function decodeResponse(body: Buffer): Response {
  return readAnswerBody(() => decode(parseAnswer(body, parseExact)));
}

function decode(fields: JsonObject): Response {
  if (fields.candidates === undefined) refuseFailure(fields.error);
  const id = text(fields.responseId) ?? '';
  const mint = idMint(id);
  const candidates = listOf(fields.candidates).filter(isObject);
  const created = Date.parse(text(fields.createTime) ?? '');
  return {
    dialect: DIALECT,
    id,
    createdSeconds: Number.isNaN(created) ? undefined : Math.floor(created / 1000),
    model: text(fields.modelVersion),
    choices: candidates.length === 0 ? [readBlocked(fields)] : candidates.map((candidate, place) => readCandidate(candidate, place, mint)),
    usage: readReport(fields),
    serviceTier: servedTier(fields.usageMetadata),
    rest: rest(fields, RESPONSE_KEYS),
  };
}

const RESPONSE_KEYS = ['candidates', 'usageMetadata', 'modelVersion', 'responseId', 'createTime'];
const CANDIDATE_KEYS = ['content', 'finishReason', 'index', 'logprobsResult'];

/** The finish of a prompt that was refused; undefined for one that was not. */
export function blockFinish(fields: JsonObject): Choice['finish'] {
  const { blockReason } = fieldsOf(fields.promptFeedback);
  return typeof blockReason === 'string' && blockReason !== '' ? readBlockReason(blockReason) : undefined;
}

function readBlocked(fields: JsonObject): Choice {
  const finish = blockFinish(fields);
  if (finish === undefined) {
    throw new GatewayError('upstream_error', { source: 'upstream', message: 'The provider gave no answer.', cause: 'no candidates' });
  }
  return { index: 0, parts: [], finish, logprobs: undefined, rest: NO_REST };
}

function readCandidate(candidate: JsonObject, place: number, mint: IdMint): Choice {
  const index = number(candidate.index) ?? place;
  const parts = readModelParts(listOf(fieldsOf(candidate.content).parts), (at, call) => mint(index, at, call));
  const calls = parts.some((part) => part.type === 'tool_call');
  return {
    index,
    parts: cited(parts, candidate),
    finish: hasFinished(candidate.finishReason) ? readFinish(candidate.finishReason, calls, candidate.finishMessage) : undefined,
    logprobs: readLogprobs(candidate.logprobsResult),
    rest: rest(candidate, CANDIDATE_KEYS),
  };
}

/** Places in the text of a candidate are places in all of its texts, of which each part has its own. */
function cited(parts: readonly Part[], candidate: JsonObject): readonly Part[] {
  const places = new TextPlaces();
  for (const part of parts) if (part.type === 'text') places.add(part.text);
  const citations = readCitations(candidate, places);
  const last = parts.findLastIndex((part) => part.type === 'text');
  const part = parts[last];
  return citations.length === 0 || part?.type !== 'text' ? parts : parts.with(last, { ...part, citations });
}

/** Undefined where nothing was counted. */
export function readReport(fields: JsonObject, calls?: HostedCalls): UsageReport | undefined {
  const usage = readAnswerUsage(fields, calls);
  const raw = fields.usageMetadata;
  return usage === undefined || !isObject(raw) ? undefined : { usage, reasoningTokens: reasoningTokens(raw), raw };
}

/** The client's body. */
export function encodeResponse(response: Response, terms: EncodeTerms): Encoded {
  const losses: Loss[] = [];
  const { usage, serviceTier } = response;
  const isOurs = response.dialect === DIALECT;
  const fields = JSON.stringify({
    ...(isOurs ? response.rest : NO_REST),
    candidates: response.choices.map((choice) => writeCandidate(choice, isOurs, terms.request.tools, losses)),
    modelVersion: terms.model ?? response.model,
    responseId: terms.requestId,
  });
  const counts =
    usage === undefined
      ? ''
      : `,"usageMetadata":${withLiteral(writeUsage(usage.usage, usage.reasoningTokens, serviceTier), 'costUsd', terms.costUsdLiteral)}`;
  return { body: [Buffer.from(`${fields.slice(0, -1)}${counts}}`)], losses };
}

function writeCandidate(choice: Choice, isOurs: boolean, tools: readonly Tool[], losses: Loss[]): JsonObject {
  const { index, parts, finish, logprobs } = choice;
  const written = writeModelParts(parts, {
    toClient: true,
    isOurs,
    nameOf: (name) => originalToolName(name, tools),
    param: 'candidates',
    lost: (name, type) => losses.push({ name, at: type }),
  });
  const places = new TextPlaces();
  const citations: Citation[] = [];
  let isBroken = false;
  for (const part of parts) {
    if (part.type === 'tool_call' && argumentsObject(part) === undefined) isBroken = true;
    if (part.type !== 'text') continue;
    places.add(part.text);
    citations.push(...part.citations);
  }
  const ended = finish === undefined ? undefined : finishFields(finish, isBroken);
  return {
    content: written.length === 0 ? { role: 'model' } : { parts: written, role: 'model' },
    ...ended,
    index,
    groundingMetadata: writeGrounding(citations, places),
    logprobsResult: writeLogprobs(logprobs),
    ...(isOurs ? choice.rest : NO_REST),
  };
}

/** `isBroken`: there is a call whose arguments are no object, which this protocol cannot show; it has a reason of its own for such. */
export function finishFields(finish: NonNullable<Choice['finish']>, isBroken: boolean): JsonObject {
  if (isBroken && finish.reason !== 'length') {
    return { finishReason: 'MALFORMED_FUNCTION_CALL', finishMessage: 'The arguments of a function call are not a JSON object.' };
  }
  return { finishReason: writeFinish(finish) };
}
