/** A whole JSON answer: read and edited by its bytes, or to and from the canonical language. */
import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { packCallId } from '../../canonical/call-id.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { Part, TextPart, ToolCallPart } from '../../canonical/message.ts';
import type { Response, UsageReport } from '../../canonical/response.ts';
import { originalToolName } from '../../canonical/tool-name.ts';
import { answerMembers, parseAnswer, readAnswerBody } from '../answer-body.ts';
import { answerEdits, type EditedMembers } from '../answer-edits.ts';
import { hasNoOutput, TEXT_BYTES_PER_TOKEN } from '../answer-facts.ts';
import { answerId } from '../answer-id.ts';
import type { Answer, AnswerFacts, Encoded, EncodeTerms } from '../dialect.ts';
import { parseExact } from '../exact-json.ts';
import { isObject, type JsonObject, rest, text, withLiteral } from '../json.ts';
import { type Span, splice, valueAt } from '../json-scanner.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { readFinish, writeFinish } from './finish.ts';
import { plainText, readBlock, readCitation, writeCitation, writeThinking } from './message.ts';
import { DIALECT } from './schema.ts';
import { DIRECT_CALLER, JSON_ANSWER_TOOL, readArguments } from './tools.ts';
import { readUsage, reasoningTokens, servedTier, writeUsage } from './usage.ts';

/** Longer contents are not parsed for their text: they are not empty, and their bytes stand for it. */
const PARSED_CONTENT_MAX_BYTES = 256 * 1024;

const ANSWER_KEYS: ReadonlySet<string> = new Set(['type', 'model', 'usage', 'content', 'error']);

/** Throws GatewayError `upstream_error` when the answer is not a JSON object, or is an error in a success's clothes. */
export function readAnswer(_operation: Operation, body: Buffer): Answer {
  return readAnswerBody(() => read(body));
}

function read(body: Buffer): Answer {
  const { spans, field } = answerMembers(body, ANSWER_KEYS);
  refuseFailure(field('type'), field('error'), spans.has('content'));

  const model = field('model');
  const rawUsage = field('usage');
  const usage = readUsage(rawUsage);
  // What the provider has counted need not be read for it.
  const content = hasNoOutput(usage) ? readContentFacts(body, spans.get('content')) : { empty: false, textBytes: 0 };
  const facts: AnswerFacts = {
    usage,
    usageIsInterim: false,
    serviceTier: servedTier(rawUsage),
    model: text(model),
    empty: content.empty,
    countedOutputTokens: Math.ceil(content.textBytes / TEXT_BYTES_PER_TOKEN),
    reasoningTokens: reasoningTokens(rawUsage),
  };
  const members: EditedMembers = { model: spans.get('model'), usage: spans.get('usage'), costName: 'cost_usd' };
  return { facts, rewrite: (edits) => ({ body: splice(body, answerEdits(body, members, edits)), losses: [] }) };
}

/** An error in a success's clothes. */
function refuseFailure(type: unknown, failure: unknown, hasContent: boolean): void {
  if (type === 'error' || (isObject(failure) && !hasContent)) throw errorFromAnswer({ type: 'error', error: failure });
}

interface ContentFacts {
  readonly empty: boolean;
  readonly textBytes: number;
}

function readContentFacts(body: Buffer, span: Span | undefined): ContentFacts {
  if (span === undefined) return { empty: true, textBytes: 0 };
  if (span.end - span.start > PARSED_CONTENT_MAX_BYTES) return { empty: false, textBytes: span.end - span.start };
  const content = valueAt(body, span);
  if (!Array.isArray(content)) return { empty: true, textBytes: 0 };
  let empty = true;
  let textBytes = 0;
  for (const block of content) {
    if (!isObject(block)) continue;
    const bytes = blockBytes(block);
    // A block of text or thinking may be empty; any other is what a client waits for.
    if (bytes > 0 || (block.type !== 'text' && block.type !== 'thinking') || text(block.signature)) empty = false;
    textBytes += bytes;
  }
  return { empty, textBytes };
}

/** Bytes of generated text in a block: text, thinking, name and input of a call. */
function blockBytes({ type, text: shown, thinking, name, input }: JsonObject): number {
  const called =
    type === 'tool_use' || type === 'server_tool_use' ? Buffer.byteLength(`${text(name) ?? ''}${JSON.stringify(input ?? {})}`) : 0;
  return Buffer.byteLength(text(shown) ?? '') + Buffer.byteLength(text(thinking) ?? '') + called;
}

const RESPONSE_KEYS = ['id', 'type', 'role', 'model', 'content', 'stop_reason', 'stop_sequence', 'usage'];

/** Throws GatewayError `upstream_error` as `readAnswer` does, and on a stop reason that is not known. */
export function decodeResponse(body: Buffer): Response {
  return readAnswerBody(() => decode(parseAnswer(body, parseExact)));
}

function decode(fields: JsonObject): Response {
  refuseFailure(fields.type, fields.error, fields.content !== undefined);
  const parts = readAnswerParts(fields.content);
  const answered = parts.some((part) => part.type === 'tool_call' && part.name === JSON_ANSWER_TOOL);
  const finish = readFinish(fields.stop_reason, fields.stop_sequence);
  return {
    dialect: DIALECT,
    id: text(fields.id) ?? '',
    createdSeconds: undefined,
    model: text(fields.model),
    choices: [
      {
        index: 0,
        parts: parts.map((part) => (part.type === 'tool_call' && part.name === JSON_ANSWER_TOOL ? plainText(part.arguments) : part)),
        finish: answered && finish?.reason === 'tool_calls' ? { reason: 'stop', raw: finish.raw } : finish,
        logprobs: undefined,
        rest: {},
      },
    ],
    usage: readReport(fields.usage),
    serviceTier: servedTier(fields.usage),
    rest: rest(fields, RESPONSE_KEYS),
  };
}

/** The blocks of an answer; citations belong to their block, and tell where it stands in all of the text. */
function readAnswerParts(content: unknown): readonly Part[] {
  const parts: Part[] = [];
  let offset = 0;
  for (const block of Array.isArray(content) ? content : []) {
    for (const part of readAnswerBlock(block)) {
      if (part.type !== 'text') {
        parts.push(part);
        continue;
      }
      const supports = { start: offset, end: offset + part.text.length };
      offset = supports.end;
      const { citations } = block as { readonly citations?: unknown };
      const placed = Array.isArray(citations) ? citations.filter(isObject).map((citation) => readCitation(citation, supports)) : [];
      parts.push({ ...part, citations: placed });
    }
  }
  return parts;
}

/** What is wrong with a block of an answer is no fault of the client's. */
function readAnswerBlock(block: unknown): readonly Part[] {
  try {
    return readBlock(block, 'content');
  } catch (error) {
    throw new GatewayError('upstream_error', { source: 'upstream', message: "The provider's answer could not be read.", cause: error });
  }
}

/** Undefined where nothing was counted. */
export function readReport(raw: unknown): UsageReport | undefined {
  const usage = readUsage(raw);
  return usage === undefined || !isObject(raw) ? undefined : { usage, reasoningTokens: reasoningTokens(raw), raw };
}

export const MESSAGE_ID_PREFIX = 'msg_';

/** The client's body. This protocol has one answer in it: the first. */
export function encodeResponse(response: Response, terms: EncodeTerms): Encoded {
  const losses: Loss[] = [];
  const lose = (loss: Loss): void => {
    losses.push(loss);
  };
  const { usage, serviceTier } = response;
  const isOurs = response.dialect === DIALECT;
  const choice = response.choices[0];
  if (response.choices.length > 1) lose({ name: 'choices' });
  const content = (choice?.parts ?? []).flatMap((part, index) => writeAnswerPart(part, index, isOurs, terms, lose));
  const hasCalls = content.some((block) => block.type === 'tool_use');
  const hasRefusal = choice?.parts.some((part) => part.type === 'refusal') ?? false;
  const fields = JSON.stringify({
    id: answerId(MESSAGE_ID_PREFIX, terms.requestId),
    type: 'message',
    role: 'assistant',
    model: terms.model ?? response.model ?? terms.request.model,
    content,
    ...writeFinish(choice?.finish, { hasCalls, hasRefusal }),
    stop_details: null,
    container: null,
    ...(isOurs ? response.rest : {}),
  });
  const counts = writeUsage(usage?.usage ?? {}, usage?.reasoningTokens, serviceTier);
  return { body: [Buffer.from(`${fields.slice(0, -1)},"usage":${withLiteral(counts, 'cost_usd', terms.costUsdLiteral)}}`)], losses };
}

function writeAnswerPart(
  part: Part,
  index: number,
  isOurs: boolean,
  { request, requestId }: EncodeTerms,
  lose: (loss: Loss) => void,
): readonly JsonObject[] {
  const at = `content[${index}]`;
  switch (part.type) {
    case 'text':
      return part.text === '' ? [] : [writeText(part, at, lose)];
    case 'refusal':
      return [{ type: 'text', text: part.text, citations: null }];
    case 'reasoning':
      return writeThinking(part);
    case 'tool_call':
      return [
        {
          type: 'tool_use',
          id: clientCallId(part, index, requestId),
          name: originalToolName(part.name, request.tools),
          input: readArguments(part.arguments),
          caller: DIRECT_CALLER,
          ...(isOurs ? part.rest : {}),
        },
      ];
    case 'audio':
      lose({ name: part.transcript === undefined ? 'media_output' : 'audio', at });
      return part.transcript === undefined ? [] : [{ type: 'text', text: part.transcript, citations: null }];
    case 'image':
      lose({ name: 'media_output', at });
      return [];
    case 'foreign':
      if (part.dialect === DIALECT) return [part.value];
      lose({ name: 'unknown_part', at });
      return [];
    case 'video':
    case 'file':
    case 'tool_result':
      lose({ name: 'unknown_part', at });
      return [];
    default:
      return part satisfies never;
  }
}

function writeText(part: TextPart, at: string, lose: (loss: Loss) => void): JsonObject {
  const citations = part.citations.map(writeCitation);
  if (citations.includes(undefined)) lose({ name: 'citations', at });
  const kept = citations.filter((citation) => citation !== undefined);
  return { type: 'text', text: part.text, citations: kept.length === 0 ? null : kept };
}

/** An upstream that gives its calls no ids leaves it to us. `call` counts the calls of the answer. */
export function clientCallId(call: Pick<ToolCallPart, 'id' | 'carriers'>, index: number, requestId: string): string {
  return packCallId('toolu_', { id: call.id === '' ? answerId('toolu_', requestId, index) : call.id, carriers: call.carriers ?? [] });
}
