/** A whole JSON answer: read and edited by its bytes, or to and from the canonical language. */
import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { chargedUsage } from '@meridian/domain/estimated-usage';
import type { ServiceTier } from '@meridian/domain/price';
import { boundedCallId } from '../../canonical/call-id.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { Part } from '../../canonical/message.ts';
import type { Choice, Response, UsageReport } from '../../canonical/response.ts';
import { answerMembers, parseAnswer, readAnswerBody } from '../answer-body.ts';
import { answerEdits, type EditedMembers } from '../answer-edits.ts';
import { hasNoOutput, TEXT_BYTES_PER_TOKEN } from '../answer-facts.ts';
import { answerId } from '../answer-id.ts';
import type { Answer, AnswerEdits, AnswerFacts, Encoded, EncodeTerms } from '../dialect.ts';
import { isObject, type JsonObject, NO_REST, number, rest, text, withLiteral } from '../json.ts';
import { type Edit, type Span, splice, valueAt } from '../json-scanner.ts';
import { servedTier, writeTier } from '../openai-tiers.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { writeAnswerMessage } from './answer-message.ts';
import { readSources, SOURCE_KEYS } from './citations.ts';
import { readFinish, writeFinish } from './finish.ts';
import { cite, readParts } from './message.ts';
import { ThinkTags } from './think-tags.ts';
import { readUsage, reasoningTokens, writeUsage } from './usage.ts';

const DIALECT = 'openai-chat';

/** Longer `choices` (pictures, audio) are not parsed for their text: they are not empty, and their bytes stand for it. */
const PARSED_CHOICES_MAX_BYTES = 256 * 1024;

const ANSWER_KEYS: ReadonlySet<string> = new Set(['model', 'usage', 'service_tier', 'choices', 'error']);

/** Throws GatewayError `upstream_error` when the answer is not a JSON object, or is an error in a success's clothes. */
export function readAnswer(operation: Operation, body: Buffer): Answer {
  return readAnswerBody(() => read(operation, body));
}

function read(operation: Operation, body: Buffer): Answer {
  const { spans, field } = answerMembers(body, ANSWER_KEYS);
  const choices = spans.get('choices');
  if (choices === undefined) refuseFailure(field('error'));

  const model = field('model');
  const rawUsage = field('usage');
  const usage = readUsage(rawUsage);
  // What the provider has counted need not be read for it.
  const content = operation === 'chat' && hasNoOutput(usage) ? readContent(body, choices) : { empty: false, textBytes: 0 };
  const facts: AnswerFacts = {
    usage,
    usageIsInterim: false,
    serviceTier: readTier(field('service_tier'), rawUsage),
    model: text(model),
    empty: content.empty,
    countedOutputTokens: Math.ceil(content.textBytes / TEXT_BYTES_PER_TOKEN),
    reasoningTokens: reasoningTokens(rawUsage),
  };
  const members: EditedMembers = { model: spans.get('model'), usage: spans.get('usage'), costName: 'cost_usd' };
  const rewrite = (edits: AnswerEdits): Encoded => {
    const { estimatedInputTokens } = edits;
    if (usage !== undefined || estimatedInputTokens === undefined)
      return { body: splice(body, answerEdits(body, members, edits)), losses: [] };
    const counts = writeUsage(chargedUsage(undefined, estimatedInputTokens, facts.countedOutputTokens), undefined);
    const added = addedUsage(body, members.usage, operation, counts, edits.costUsdLiteral);
    return { body: splice(body, [...answerEdits(body, { ...members, usage: undefined }, edits), added]), losses: [] };
  };
  return { facts, rewrite };
}

/** Puts a usage into an answer that has none, or one that tells nothing, in whose place it stands. */
function addedUsage(body: Buffer, span: Span | undefined, operation: Operation, counts: JsonObject, costUsdLiteral: string): Edit {
  const { prompt_tokens, total_tokens } = counts;
  const text = withLiteral(operation === 'embeddings' ? { prompt_tokens, total_tokens } : counts, 'cost_usd', costUsdLiteral);
  if (span !== undefined) return { ...span, text };
  const start = body.indexOf(OPEN_BRACE) + 1;
  const isAlone = body.subarray(start, body.lastIndexOf(CLOSE_BRACE)).every((byte) => byte <= SPACE);
  return { start, end: start, text: `"usage":${text}${isAlone ? '' : ','}` };
}

const SPACE = 0x20;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** An error in a success's clothes. */
function refuseFailure(failure: unknown): void {
  if (failure !== undefined && failure !== null) throw errorFromAnswer({ error: failure });
}

/** Some tell the tier in the usage alone. */
function readTier(tier: unknown, rawUsage: unknown): ServiceTier | undefined {
  return servedTier(tier) ?? (isObject(rawUsage) ? servedTier(rawUsage.service_tier) : undefined);
}

interface Content {
  readonly empty: boolean;
  readonly textBytes: number;
}

function readContent(body: Buffer, span: Span | undefined): Content {
  if (span === undefined) return { empty: true, textBytes: 0 };
  if (span.end - span.start > PARSED_CHOICES_MAX_BYTES) return { empty: false, textBytes: span.end - span.start };
  const choices = valueAt(body, span);
  if (!Array.isArray(choices)) return { empty: true, textBytes: 0 };
  let empty = true;
  let textBytes = 0;
  for (const choice of choices) {
    const message: unknown = isObject(choice) ? (choice.message ?? choice.delta) : undefined;
    if (!isObject(message)) continue;
    if (hasContent(message)) empty = false;
    textBytes += contentBytes(message);
  }
  return { empty, textBytes };
}

/** Members of a message or delta that hold text, and those that hold lists of something. */
const TEXT_MEMBERS = ['content', 'reasoning_content', 'reasoning', 'refusal'] as const;
const LIST_MEMBERS = ['tool_calls', 'reasoning_details', 'images'] as const;
const OBJECT_MEMBERS = ['function_call', 'audio'] as const;

/** Text, reasoning, a tool call, a refusal or media is in it: what a client waits for. */
export function hasContent(message: Readonly<Record<string, unknown>>): boolean {
  for (const member of TEXT_MEMBERS) {
    const value = message[member];
    if ((typeof value === 'string' || Array.isArray(value)) && value.length > 0) return true;
  }
  for (const member of LIST_MEMBERS) {
    const value = message[member];
    if (Array.isArray(value) && value.length > 0) return true;
  }
  return OBJECT_MEMBERS.some((member) => isObject(message[member]));
}

/** Bytes of generated text in a message or delta: content, reasoning, refusal, names and arguments of tool calls. */
export function contentBytes(message: Readonly<Record<string, unknown>>): number {
  let bytes = textBytesOf(message.content) + textBytesOf(message.refusal);
  // Providers that send reasoning under two names send the same text in both.
  bytes += Math.max(textBytesOf(message.reasoning_content), textBytesOf(message.reasoning), textBytesOf(message.reasoning_details));
  for (const call of [message.tool_calls, message.function_call].flat()) {
    const called: unknown = isObject(call) ? (call.function ?? call) : undefined;
    if (isObject(called)) bytes += textBytesOf(called.name) + textBytesOf(called.arguments);
  }
  return bytes;
}

function textBytesOf(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (!Array.isArray(value)) return 0;
  let bytes = 0;
  for (const part of value) {
    if (isObject(part)) bytes += textBytesOf(part.text) + textBytesOf(part.thinking) + textBytesOf(part.summary);
  }
  return bytes;
}

const RESPONSE_KEYS = ['id', 'object', 'created', 'model', 'choices', 'usage', 'service_tier', ...SOURCE_KEYS];
const CHOICE_KEYS = ['index', 'message', 'finish_reason', 'logprobs'];

/** Throws GatewayError `upstream_error` as `readAnswer` does, and on a finish reason that is not known. */
export function decodeResponse(body: Buffer): Response {
  return readAnswerBody(() => decode(parseAnswer(body)));
}

function decode(fields: JsonObject): Response {
  if (fields.choices === undefined) refuseFailure(fields.error);
  const choices = Array.isArray(fields.choices) ? fields.choices.filter(isObject) : [];
  if (choices.length === 0) {
    throw new GatewayError('upstream_error', { source: 'upstream', message: 'The provider gave no answer.', cause: 'no choices' });
  }
  const id = text(fields.id) ?? '';
  return {
    dialect: DIALECT,
    id,
    createdSeconds: number(fields.created),
    model: text(fields.model),
    choices: choices.map((choice, position) => readChoice(choice, position, fields)),
    usage: readReport(fields.usage),
    serviceTier: readTier(fields.service_tier, fields.usage),
    rest: rest(fields, RESPONSE_KEYS),
  };
}

function readChoice(choice: JsonObject, position: number, answer: JsonObject): Choice {
  const index = number(choice.index) ?? position;
  const parts = isObject(choice.message) ? withThinking(readParts(choice.message, false)) : [];
  cite(parts, readSources(answer));
  return {
    index,
    parts: parts.map((part, place) =>
      part.type === 'tool_call' && part.id === '' ? { ...part, id: mintedCallId(answer.id, index, place) } : part,
    ),
    finish: readFinish(
      choice,
      parts.some(({ type }) => type === 'tool_call'),
    ),
    logprobs: choice.logprobs ?? undefined,
    rest: rest(choice, CHOICE_KEYS),
  };
}

/** Thinking that stands in the text, where there is none beside it. */
function withThinking(parts: readonly Part[]): Part[] {
  const [first, ...others] = parts;
  if (first?.type !== 'text') return [...parts];
  const tags = new ThinkTags();
  const pieces = [...tags.push(first.text), ...tags.end()];
  if (!pieces.some(({ type }) => type === 'reasoning')) return [...parts];
  const told = pieces.map(
    (piece): Part => (piece.type === 'reasoning' ? { ...piece, type: 'reasoning', carriers: [] } : { ...first, text: piece.text }),
  );
  return [...told, ...others];
}

/** For a call without an id: the same for the same call, and no other's. */
export function mintedCallId(answer: unknown, choice: number, call: number): string {
  return boundedCallId(`call_${text(answer) ?? ''}_${choice}_${call}`, MAX_MINTED_CHARACTERS);
}

const MAX_MINTED_CHARACTERS = 40;

/** Undefined where nothing was counted. */
export function readReport(raw: unknown): UsageReport | undefined {
  const usage = readUsage(raw);
  return usage === undefined || !isObject(raw) ? undefined : { usage, reasoningTokens: reasoningTokens(raw), raw };
}

/** The client's body. */
export function encodeResponse(response: Response, terms: EncodeTerms): Encoded {
  const { usage, serviceTier } = response;
  const isOurs = response.dialect === DIALECT;
  const losses: Loss[] = [];
  const fields = JSON.stringify({
    ...(isOurs ? response.rest : NO_REST),
    id: isOurs && response.id !== '' ? response.id : answerId('chatcmpl-', terms.requestId),
    object: 'chat.completion',
    created: response.createdSeconds ?? terms.createdSeconds,
    model: terms.model ?? response.model ?? terms.request.model,
    choices: response.choices.map((choice) => ({
      ...(isOurs ? choice.rest : NO_REST),
      index: choice.index,
      message: writeAnswerMessage(choice.parts, terms.request.tools, isOurs, (loss) => losses.push(loss)),
      logprobs: choice.logprobs ?? null,
      finish_reason: choice.finish === undefined ? null : writeFinish(choice.finish),
    })),
    service_tier: serviceTier === undefined ? undefined : writeTier(serviceTier),
  });
  const counts =
    usage === undefined ? '' : `,"usage":${withLiteral(writeUsage(usage.usage, usage.reasoningTokens), 'cost_usd', terms.costUsdLiteral)}`;
  return { body: [Buffer.from(`${fields.slice(0, -1)}${counts}}`)], losses };
}
