/** A whole JSON answer: read and edited by its bytes, or to and from the canonical language. */
import type { Operation } from '@meridian/domain/dialect';
import type { Loss } from '../../canonical/loss.ts';
import type { Citation, Part } from '../../canonical/message.ts';
import type { Choice, Response, UsageReport } from '../../canonical/response.ts';
import { answerMembers, parseAnswer, readAnswerBody } from '../answer-body.ts';
import { answerEdits, type EditedMembers } from '../answer-edits.ts';
import { hasNoOutput, TEXT_BYTES_PER_TOKEN } from '../answer-facts.ts';
import { answerId } from '../answer-id.ts';
import type { Answer, AnswerFacts, Encoded, EncodeTerms } from '../dialect.ts';
import { isObject, type JsonObject, number, rest, text } from '../json.ts';
import { JsonCursor, type Span, splice, valueAt } from '../json-scanner.ts';
import { servedTier } from '../openai-tiers.ts';
import { RESPONSE_ID_PREFIX } from './error.ts';
import { failureOf, hasFailed, isCall, readFinish, writeFinish } from './finish.ts';
import { encryptedContent, type ItemStatus, imageItem, logprobsOf, messageItem, outputText, reasoningItem } from './item.ts';
import { readOutputItem, writeAnnotation } from './message.ts';
import { type ResponseHead, responseObject, withUsage } from './response-object.ts';
import { callItem, clientCall } from './tools.ts';
import { readAnswerUsage, reasoningTokens } from './usage.ts';

/** Longer outputs (pictures) are not parsed for their text: they are not empty, and their bytes stand for it. */
const PARSED_OUTPUT_MAX_BYTES = 256 * 1024;

const ANSWER_KEYS: ReadonlySet<string> = new Set(['model', 'usage', 'service_tier', 'output', 'error', 'status', 'tool_usage']);

/** Throws GatewayError `upstream_error` when the answer is not a JSON object, or is an error in a success's clothes. */
export function readAnswer(_operation: Operation, body: Buffer): Answer {
  return readAnswerBody(() => read(body));
}

function read(body: Buffer): Answer {
  const { spans, field } = answerMembers(body, ANSWER_KEYS);
  refuseFailure(field('status'), field('error') ?? null, spans.has('output'));

  const model = field('model');
  const usage = field('usage');
  const output = readOutput(body, spans.get('output'));
  const read = readAnswerUsage({ usage, output: output.items, tool_usage: field('tool_usage') });
  const facts: AnswerFacts = {
    usage: read,
    usageIsInterim: false,
    serviceTier: servedTier(field('service_tier')),
    model: typeof model === 'string' ? model : undefined,
    empty: output.empty && hasNoOutput(read),
    countedOutputTokens: Math.ceil(output.textBytes / TEXT_BYTES_PER_TOKEN),
    reasoningTokens: reasoningTokens(usage),
  };
  const members: EditedMembers = { model: spans.get('model'), usage: spans.get('usage'), costName: 'cost_usd' };
  return { facts, rewrite: (edits) => ({ body: splice(body, answerEdits(body, members, edits)), losses: [] }) };
}

/** An error in a success's clothes. */
function refuseFailure(status: unknown, error: unknown, hasOutput: boolean): void {
  const response = { status, error };
  if (hasFailed(response) || (error !== null && !hasOutput)) throw failureOf(response);
}

interface Output {
  /** As far as their kinds are needed: calls of the provider's tools are billed by them. */
  readonly items: readonly JsonObject[];
  readonly empty: boolean;
  readonly textBytes: number;
}

function readOutput(body: Buffer, span: Span | undefined): Output {
  if (span === undefined || body[span.start] !== OPEN_BRACKET) return { items: [], empty: true, textBytes: 0 };
  if (span.end - span.start > PARSED_OUTPUT_MAX_BYTES) {
    return { items: itemKinds(body, span), empty: false, textBytes: span.end - span.start };
  }
  const output = valueAt(body, span);
  const items = Array.isArray(output) ? output.filter(isObject) : [];
  let textBytes = 0;
  for (const item of items) textBytes += itemBytes(item);
  return { items, empty: !items.some(hasContent), textBytes };
}

const OPEN_BRACKET = 0x5b;
const KIND_KEYS: ReadonlySet<string> = new Set(['type', 'action', 'container_id']);

/** Of a long output what its items are, without their contents. */
function itemKinds(body: Buffer, span: Span): readonly JsonObject[] {
  const items: JsonObject[] = [];
  const cursor = new JsonCursor(body, span);
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    if (cursor.peek() !== 'object') {
      cursor.skipValue();
      continue;
    }
    const item: Record<string, unknown> = {};
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) {
      const key = cursor.key();
      const value = cursor.skipValue();
      if (KIND_KEYS.has(key)) item[key] = valueAt(body, value);
    }
    items.push(item);
  }
  return items;
}

/** Text, thinking, a call, a refusal or media is in it: what a client waits for. */
export function hasContent(item: JsonObject): boolean {
  if (item.type === 'message') return textBytesOf(item.content) > 0;
  if (item.type === 'reasoning') {
    return textBytesOf(item.summary) + textBytesOf(item.content) > 0 || (text(item.encrypted_content) ?? '') !== '';
  }
  return true;
}

/** Bytes of generated text in an item: content, thinking, refusal, names and arguments of calls. */
function itemBytes(item: JsonObject): number {
  let bytes = textBytesOf(item.content) + textBytesOf(item.summary);
  if (isCall(item)) for (const member of [item.name, item.arguments, item.input]) bytes += Buffer.byteLength(text(member) ?? '');
  return bytes;
}

function textBytesOf(parts: unknown): number {
  if (!Array.isArray(parts)) return 0;
  let bytes = 0;
  for (const part of parts) {
    if (isObject(part)) bytes += Buffer.byteLength(text(part.text) ?? '') + Buffer.byteLength(text(part.refusal) ?? '');
  }
  return bytes;
}

const RESPONSE_KEYS = ['id', 'object', 'created_at', 'model', 'output', 'usage', 'service_tier', 'status', 'incomplete_details', 'error'];

/** Throws GatewayError `upstream_error` as `readAnswer` does, and on an end that is not known. */
export function decodeResponse(body: Buffer): Response {
  return readAnswerBody(() => decode(parseAnswer(body)));
}

function decode(fields: JsonObject): Response {
  refuseFailure(fields.status, fields.error ?? null, fields.output !== undefined);
  const output = Array.isArray(fields.output) ? fields.output.filter(isObject) : [];
  return {
    dialect: 'openai-responses',
    id: text(fields.id) ?? '',
    createdSeconds: number(fields.created_at),
    model: text(fields.model),
    choices: [
      {
        index: 0,
        parts: placed(output.flatMap(readOutputItem)),
        finish: readFinish(fields, output.some(isCall)),
        logprobs: readLogprobs(output),
        rest: {},
      },
    ],
    usage: readReport(fields),
    serviceTier: servedTier(fields.service_tier),
    rest: rest(fields, RESPONSE_KEYS),
  };
}

/** Offsets of sources count from the beginning of a text here, and from the beginning of all texts in the canonical language. */
function placed(parts: readonly Part[]): readonly Part[] {
  let base = 0;
  return parts.map((part) => {
    if (part.type !== 'text') return part;
    const offset = base;
    base += part.text.length;
    if (part.citations.length === 0 || offset === 0) return part;
    return { ...part, citations: part.citations.map((citation) => shifted(citation, offset)) };
  });
}

/** A source, its offsets moved. */
export function shifted(citation: Citation, by: number): Citation {
  const { start, end } = citation;
  return { ...citation, start: start === undefined ? undefined : start + by, end: end === undefined ? undefined : end + by };
}

function readLogprobs(output: readonly JsonObject[]): unknown {
  const content: unknown[] = [];
  for (const item of output) {
    for (const part of Array.isArray(item.content) ? item.content : []) {
      if (isObject(part) && Array.isArray(part.logprobs)) content.push(...part.logprobs);
    }
  }
  return content.length === 0 ? undefined : { content, refusal: null };
}

/** The usage of a response; undefined where nothing was counted. */
export function readReport(response: JsonObject): UsageReport | undefined {
  const usage = readAnswerUsage(response);
  if (usage === undefined || !isObject(response.usage)) return undefined;
  return { usage, reasoningTokens: reasoningTokens(response.usage), raw: response.usage };
}

/** The client's body. */
export function encodeResponse(response: Response, terms: EncodeTerms): Encoded {
  const losses: Loss[] = [];
  const [choice, ...others] = response.choices;
  if (others.length > 0) losses.push({ name: 'choices' });
  const { status, incomplete_details } = writeFinish(choice?.finish);
  const output = writeOutput(
    choice ?? { parts: [], logprobs: undefined },
    response.dialect === 'openai-responses',
    terms,
    status === 'incomplete' ? 'incomplete' : 'completed',
    losses,
  );
  const head: ResponseHead = {
    id: answerId(RESPONSE_ID_PREFIX, terms.requestId),
    createdSeconds: response.createdSeconds ?? terms.createdSeconds,
    model: terms.model ?? response.model,
  };
  const object = responseObject(terms.request, head, {
    status,
    incomplete_details,
    output,
    serviceTier: response.serviceTier,
    endedSeconds: terms.nowSeconds?.(),
  });
  return { body: [Buffer.from(withUsage(object, response.usage, terms.costUsdLiteral))], losses };
}

/** The items of an answer; `lastStatus` is that of the last one. */
function writeOutput(
  choice: Pick<Choice, 'parts' | 'logprobs'>,
  isOurs: boolean,
  { request, requestId }: EncodeTerms,
  lastStatus: ItemStatus,
  losses: Loss[],
): readonly JsonObject[] {
  const { parts, logprobs } = choice;
  const output: JsonObject[] = [];
  const idOf = (prefix: string): string => answerId(prefix, requestId, output.length);
  let base = 0;
  const sources = sourcesByPlace(parts);
  let probabilities = request.logprobs === undefined ? [] : logprobsOf(logprobs);
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index];
    if (part === undefined) continue;
    const status = index === parts.length - 1 ? lastStatus : 'completed';
    switch (part.type) {
      case 'text':
      case 'refusal': {
        const run = messageRun(parts, index, isOurs);
        const last = index + run.length === parts.length ? lastStatus : 'completed';
        const { content, characters } = writeContent(run, sources, base, probabilities, losses);
        probabilities = [];
        if (content.length > 0) output.push(withPhase(messageItem(idOf('msg_'), last, content), isOurs ? run : []));
        base += characters;
        index += run.length - 1;
        break;
      }
      case 'reasoning': {
        const asked = request.reasoning?.wantsCarriers === true ? part.carriers.map(encryptedContent) : [];
        if (part.text !== '' || asked.length > 0) output.push(reasoningItem(idOf('rs_'), part.text, asked[0]));
        for (const encrypted of asked.slice(1)) output.push(reasoningItem(idOf('rs_'), '', encrypted));
        break;
      }
      case 'tool_call': {
        const call = clientCall(part, request);
        output.push({ ...(isOurs ? part.rest : {}), ...callItem(idOf(call.isCustom ? 'ctc_' : 'fc_'), status, call, part.arguments) });
        break;
      }
      case 'image': {
        const item = imageItem(idOf('ig_'), part);
        if (item === undefined) losses.push({ name: 'media_output', at: 'image' });
        else output.push(item);
        break;
      }
      case 'audio':
        if (part.transcript !== undefined) output.push(messageItem(idOf('msg_'), status, [outputText(part.transcript, [], [])]));
        losses.push(part.transcript === undefined ? { name: 'media_output', at: 'audio' } : { name: 'audio' });
        break;
      case 'foreign':
        if (part.dialect === 'openai-responses') output.push(part.value);
        else losses.push({ name: 'unknown_part', at: text(part.value.type) ?? 'unknown' });
        break;
      case 'video':
      case 'file':
      case 'tool_result':
        losses.push({ name: 'unknown_part', at: part.type });
        break;
      default:
        part satisfies never;
    }
  }
  return output;
}

/** What one message holds: the texts and refusals from `start` on, of one phase where the upstream tells of such. */
function messageRun(parts: readonly Part[], start: number, isOurs: boolean): readonly Part[] {
  const phase = phaseOf(parts[start]);
  let end = start + 1;
  for (let part = parts[end]; part?.type === 'text' || part?.type === 'refusal'; part = parts[++end]) {
    if (isOurs && part.type === 'text' && phaseOf(part) !== phase) break;
  }
  return parts.slice(start, end);
}

function phaseOf(part: Part | undefined): unknown {
  return part?.type === 'text' ? part.rest.phase : undefined;
}

function withPhase(message: JsonObject, run: readonly Part[]): JsonObject {
  const phase = phaseOf(run[0]);
  return phase === undefined ? message : { ...message, phase };
}

/** Sources by the text that they support: some providers tell all of them with the last one, by their places in all of the text. */
function sourcesByPlace(parts: readonly Part[]): ReadonlyMap<Part, readonly Citation[]> {
  const sources = new Map<Part, Citation[]>();
  let from = 0;
  const ends: (readonly [end: number, part: Part])[] = [];
  for (const part of parts) {
    if (part.type !== 'text') continue;
    const to = from + part.text.length;
    ends.push([to, part]);
    for (const citation of part.citations) {
      const { start = from, end = to } = citation;
      const home = start >= from || end === 0 ? part : (ends.find(([last]) => end <= last)?.[1] ?? part);
      const told = sources.get(home);
      if (told === undefined) sources.set(home, [citation]);
      else told.push(citation);
    }
    from = to;
  }
  return sources;
}

/** Texts that follow each other are one, since a provider may cut one where it cites; `base` characters stand before them in the answer. */
function writeContent(
  run: readonly Part[],
  sources: ReadonlyMap<Part, readonly Citation[]>,
  base: number,
  logprobs: readonly JsonObject[],
  losses: Loss[],
): { readonly content: readonly JsonObject[]; readonly characters: number } {
  let whole = '';
  let refusal = '';
  const annotations: JsonObject[] = [];
  for (const part of run) {
    if (part.type === 'refusal') refusal += part.text;
    if (part.type !== 'text') continue;
    const from = whole.length;
    whole += part.text;
    for (const citation of sources.get(part) ?? []) {
      const annotation = writeAnnotation(
        { ...shifted(citation, -base), start: citation.start === undefined ? from : Math.max(0, citation.start - base) },
        whole.length,
      );
      if (annotation === undefined) losses.push({ name: 'citations' });
      else annotations.push(annotation);
    }
  }
  const content: JsonObject[] = [];
  if (whole !== '') content.push(outputText(whole, annotations, logprobs));
  if (refusal !== '') content.push({ type: 'refusal', refusal });
  return { content, characters: whole.length };
}
