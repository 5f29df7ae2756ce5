/** An upstream's stream of this protocol as canonical events. */
import { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import { AnswerLimitError } from '../answer-limit.ts';
import { parseEvent } from '../event-object.ts';
import { EventStreamDecoder } from '../event-stream-decoder.ts';
import { isObject, type JsonObject, number, rest, text } from '../json.ts';
import type { SseEvent } from '../sse.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { mergeUsage } from '../usage-object.ts';
import { hasFinished, readFinish } from './finish.ts';
import { readCitation, readProof } from './message.ts';
import { readReport } from './response.ts';
import { DIALECT } from './schema.ts';
import { callRest, JSON_ANSWER_TOOL } from './tools.ts';
import { servedTier } from './usage.ts';

/** More blocks in one answer are no answer any more. */
const MAX_BLOCKS = 4_096;
/** Of a block that is handed on as a whole: what a provider's own tool has found, for one. */
const MAX_WHOLE_BLOCK_BYTES = 8 * 1024 * 1024;

const MESSAGE_KEYS = ['id', 'type', 'role', 'model', 'content', 'stop_reason', 'stop_sequence', 'stop_details', 'container', 'usage'];

/** A block that has begun. */
type OpenBlock =
  | { readonly kind: 'text'; readonly start: number; readonly citations: JsonObject[] }
  | { readonly kind: 'thinking'; signature: string }
  | { readonly kind: 'call'; readonly call: number; readonly input: unknown; hasArguments: boolean }
  /** The call by which a model without structured output answers. */
  | { readonly kind: 'answer'; readonly input: unknown; hasText: boolean }
  | { readonly kind: 'foreign'; readonly block: JsonObject; input: string; content: string };

export class MessagesStreamDecoder extends EventStreamDecoder {
  #started = false;
  #finishSeen = false;
  #answered = false;
  #usage: JsonObject | undefined;
  #serviceTier: ServiceTier | undefined;
  readonly #blocks = new Map<number, OpenBlock>();
  #blocksSeen = 0;
  #calls = 0;
  #wholeBlockBytes = 0;
  /** Of all text so far: citations tell where their block stands in it. */
  #characters = 0;

  protected override get isWhole(): boolean {
    return this.#finishSeen;
  }

  protected override read(event: SseEvent): void {
    if (event.data === undefined || event.data.length === 0) return;
    const data = parseEvent(event.data);
    switch (data.type) {
      case 'message_start':
        this.#start(data.message);
        break;
      case 'content_block_start':
        this.#openBlock(number(data.index) ?? 0, data.content_block);
        break;
      case 'content_block_delta':
        if (isObject(data.delta)) this.#readDelta(number(data.index) ?? 0, data.delta);
        break;
      case 'content_block_stop':
        this.#closeBlock(number(data.index) ?? 0);
        break;
      case 'message_delta':
        this.#readMessageDelta(data);
        break;
      case 'message_stop':
        // An end without a reason is no end: nothing may pass for a plain stop.
        if (this.#finishSeen) this.finish();
        else throw new GatewayError('upstream_error', { source: 'upstream', cause: 'message_stop without a stop_reason' });
        break;
      case 'error':
        this.fail(errorFromAnswer(data));
        break;
      default:
        if (event.name === 'error' || isObject(data.error)) this.fail(errorFromAnswer(data));
    }
  }

  /** A second one is a fault of something on the way: the message goes on. */
  #start(message: unknown): void {
    if (this.#started || !isObject(message)) return;
    this.#started = true;
    this.events.push({
      type: 'start',
      dialect: DIALECT,
      id: text(message.id) ?? '',
      createdSeconds: undefined,
      model: text(message.model),
      rest: rest(message, MESSAGE_KEYS),
    });
    // Some providers put what they have at once into the message.
    if (Array.isArray(message.content)) {
      for (const [index, block] of message.content.entries()) {
        this.#openBlock(index, block);
        this.#closeBlock(index);
      }
    }
    if (isObject(message.usage)) this.#readUsage(message.usage);
    this.#readStopReason(message);
  }

  #openBlock(index: number, block: unknown): void {
    if (!isObject(block)) return;
    if (++this.#blocksSeen > MAX_BLOCKS) {
      throw new AnswerLimitError(`more than ${MAX_BLOCKS} blocks`);
    }
    // Without its stop a block ends where the next of its place begins.
    this.#closeBlock(index);
    this.#blocks.set(index, this.#begun(block));
  }

  #begun(block: JsonObject): OpenBlock {
    switch (block.type) {
      case 'text': {
        const citations = Array.isArray(block.citations) ? block.citations.filter(isObject) : [];
        const open: OpenBlock = { kind: 'text', start: this.#characters, citations };
        this.#pushText(text(block.text) ?? '');
        return open;
      }
      case 'thinking':
        this.#pushThinking(text(block.thinking) ?? '');
        return { kind: 'thinking', signature: text(block.signature) ?? '' };
      case 'redacted_thinking':
        for (const carrier of readProof({ type: 'redacted_thinking', data: block.data })) {
          this.events.push({ type: 'reasoning_carrier', choice: 0, carrier });
        }
        return { kind: 'thinking', signature: '' };
      case 'tool_use': {
        const name = text(block.name) ?? '';
        if (name === JSON_ANSWER_TOOL) return { kind: 'answer', input: block.input, hasText: false };
        const call = this.#calls++;
        this.events.push({
          type: 'tool_call_start',
          choice: 0,
          call,
          id: text(block.id) ?? '',
          name,
          kind: 'function',
          rest: callRest(block),
        });
        return { kind: 'call', call, input: block.input, hasArguments: false };
      }
      default:
        this.#addWhole(JSON.stringify(block));
        return { kind: 'foreign', block, input: '', content: '' };
    }
  }

  #readDelta(index: number, delta: JsonObject): void {
    const open = this.#blocks.get(index);
    if (open === undefined) return;
    switch (delta.type) {
      case 'text_delta':
        this.#pushText(text(delta.text) ?? '');
        break;
      case 'thinking_delta':
        this.#pushThinking(text(delta.thinking) ?? '');
        break;
      case 'signature_delta':
        if (open.kind === 'thinking') open.signature += text(delta.signature) ?? '';
        break;
      case 'citations_delta':
        if (open.kind === 'text' && isObject(delta.citation)) open.citations.push(delta.citation);
        break;
      case 'input_json_delta':
        this.#pushInput(open, text(delta.partial_json) ?? '');
        break;
      case 'compaction_delta':
        if (open.kind === 'foreign') open.content += this.#addWhole(text(delta.content) ?? '');
        break;
      default:
      // A kind of delta that is not known says nothing that another protocol could repeat.
    }
  }

  #pushInput(open: OpenBlock, piece: string): void {
    // The first one is often empty, and so is the only one of a call without arguments.
    if (piece === '') return;
    if (open.kind === 'call') {
      open.hasArguments = true;
      this.events.push({ type: 'tool_call_arguments', choice: 0, call: open.call, text: piece });
    } else if (open.kind === 'answer') {
      open.hasText = true;
      this.#pushText(piece);
    } else if (open.kind === 'foreign') open.input += this.#addWhole(piece);
  }

  #closeBlock(index: number): void {
    const open = this.#blocks.get(index);
    if (open === undefined) return;
    this.#blocks.delete(index);
    switch (open.kind) {
      case 'text':
        for (const citation of open.citations) {
          const supports = { start: open.start, end: this.#characters };
          this.events.push({ type: 'citation', choice: 0, citation: readCitation(citation, supports) });
        }
        break;
      case 'thinking':
        for (const carrier of readProof({ type: 'thinking', signature: open.signature })) {
          this.events.push({ type: 'reasoning_carrier', choice: 0, carrier });
        }
        break;
      case 'call':
        if (!open.hasArguments) {
          this.events.push({ type: 'tool_call_arguments', choice: 0, call: open.call, text: inputText(open.input) });
        }
        break;
      case 'answer':
        this.#answered = true;
        if (!open.hasText) this.#pushText(inputText(open.input));
        break;
      case 'foreign':
        this.events.push({ type: 'foreign', choice: 0, part: { type: 'foreign', dialect: DIALECT, value: whole(open) } });
        break;
      default:
        open satisfies never;
    }
  }

  #readMessageDelta(data: JsonObject): void {
    for (const index of [...this.#blocks.keys()]) this.#closeBlock(index);
    if (isObject(data.delta)) this.#readStopReason(data.delta);
    if (isObject(data.usage)) this.#readUsage(data.usage);
  }

  #readStopReason({ stop_reason: reason, stop_sequence: sequence }: JsonObject): void {
    if (this.#finishSeen || !hasFinished(reason)) return;
    const finish = readFinish(reason, sequence);
    if (finish === undefined) return;
    this.#finishSeen = true;
    const hasOnlyAnswered = this.#answered && finish.reason === 'tool_calls';
    this.events.push({ type: 'finish', choice: 0, finish: hasOnlyAnswered ? { reason: 'stop', raw: finish.raw } : finish });
  }

  #readUsage(usage: JsonObject): void {
    this.#usage = mergeUsage(this.#usage, usage);
    const serviceTier = servedTier(this.#usage);
    if (serviceTier !== undefined && serviceTier !== this.#serviceTier) {
      this.#serviceTier = serviceTier;
      this.events.push({ type: 'service_tier', serviceTier });
    }
    const report = readReport(this.#usage);
    if (report !== undefined) this.events.push({ type: 'usage', report });
  }

  #pushText(piece: string): void {
    if (piece === '') return;
    this.#characters += piece.length;
    this.events.push({ type: 'text', choice: 0, text: piece, logprobs: undefined });
  }

  #pushThinking(piece: string): void {
    if (piece !== '') this.events.push({ type: 'reasoning', choice: 0, text: piece });
  }

  /** Gives the piece back, when what is kept stays within its bound. */
  #addWhole(piece: string): string {
    this.#wholeBlockBytes += Buffer.byteLength(piece);
    if (this.#wholeBlockBytes > MAX_WHOLE_BLOCK_BYTES) {
      throw new AnswerLimitError(`blocks of more than ${MAX_WHOLE_BLOCK_BYTES} bytes`);
    }
    return piece;
  }
}

/** The arguments of a call that came at once. */
function inputText(input: unknown): string {
  return isObject(input) ? JSON.stringify(input) : '{}';
}

function whole({ block, input, content }: OpenBlock & { readonly kind: 'foreign' }): JsonObject {
  const told = content === '' ? block : { ...block, content };
  if (input === '') return told;
  try {
    return { ...told, input: JSON.parse(input) };
  } catch {
    return told;
  }
}
