/** A chat stream, to and from the canonical language. */
import { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import type { StreamEvent } from '../../canonical/event.ts';
import type { Part } from '../../canonical/message.ts';
import type { UsageReport } from '../../canonical/response.ts';
import type { EncodeStreamTerms, StreamDecoder, StreamEncoder } from '../dialect.ts';
import { isObject, type JsonObject, NO_REST, number, rest, text, withLiteral } from '../json.ts';
import { type SseEvent, SseSplitter } from '../sse.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { mergeUsage } from '../usage-object.ts';
import { hasFinished, readFinish, writeFinish } from './finish.ts';
import { readAudio, readCarrier, readCitation, readContent, writeAudio, writeCarrier, writeCitation, writeImage } from './message.ts';
import { readReport } from './response.ts';
import { servedTier, writeTier } from './schema.ts';
import { writeUsage } from './usage.ts';

/** What stands in every chunk beside what is read; `obfuscation` is padding that differs from chunk to chunk. */
const CHUNK_KEYS = ['id', 'object', 'created', 'model', 'choices', 'usage', 'service_tier', 'obfuscation', 'x_groq'];
/** More calls in one choice are no answer any more. */
const MAX_CALLS_PER_CHOICE = 1_024;

/** A call that has begun: its place among the calls of its choice, and whether arguments have come. */
interface OpenCall {
  readonly choice: number;
  readonly call: number;
  readonly id: string;
  hasArguments: boolean;
}

/** States: running, then ended by `#end` with `error` or `end`. */
export class ChatStreamDecoder implements StreamDecoder {
  readonly #splitter = new SseSplitter();
  #events: StreamEvent[] = [];
  #started = false;
  #ended = false;
  #finishSeen = false;
  #serviceTier: ServiceTier | undefined;
  #usage: JsonObject | undefined;
  /** Open calls by choice and the upstream's index. */
  readonly #calls = new Map<string, OpenCall>();
  readonly #callsOfChoice = new Map<number, number>();

  push(bytes: Buffer): StreamEvent[] {
    return this.#run(() => this.#splitter.push(bytes));
  }

  end(): StreamEvent[] {
    const events = this.#run(() => this.#splitter.end());
    if (this.#ended) return events;
    if (this.#finishSeen) this.#end({ type: 'end' });
    else
      this.#end({
        type: 'error',
        error: new GatewayError('upstream_error', { source: 'upstream', message: 'The provider closed the stream before its end.' }),
      });
    return [...events, ...this.#taken()];
  }

  #run(split: () => SseEvent[]): StreamEvent[] {
    if (this.#ended) return [];
    try {
      for (const event of split()) {
        this.#read(event);
        if (this.#ended) break;
      }
    } catch (error) {
      this.#end({ type: 'error', error: GatewayError.from(error) });
    }
    return this.#taken();
  }

  #taken(): StreamEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  #end(event: StreamEvent & { readonly type: 'error' | 'end' }): void {
    if (event.type === 'end') this.#closeCalls();
    this.#events.push(event);
    this.#ended = true;
  }

  #read(event: SseEvent): void {
    if (event.data === undefined || event.data.length === 0) return;
    const data = event.data.toString('utf8');
    if (data === '[DONE]') {
      this.#end({ type: 'end' });
      return;
    }
    const chunk = parseChunk(data);
    if (event.name === 'error' || (chunk.error !== undefined && chunk.error !== null)) {
      this.#end({ type: 'error', error: errorFromAnswer(chunk) });
      return;
    }
    this.#readEnvelope(chunk);
    const choices = Array.isArray(chunk.choices) ? chunk.choices.filter(isObject) : [];
    for (const choice of choices) this.#readChoice(choice);
    const nested = isObject(chunk.x_groq) ? chunk.x_groq.usage : undefined;
    const usage = isObject(chunk.usage) ? chunk.usage : nested;
    if (isObject(usage)) this.#readUsage(usage);
  }

  #readEnvelope(chunk: JsonObject): void {
    if (!this.#started) {
      this.#started = true;
      this.#events.push({
        type: 'start',
        id: text(chunk.id) ?? '',
        createdSeconds: number(chunk.created),
        model: text(chunk.model),
        rest: rest(chunk, CHUNK_KEYS),
      });
    }
    const serviceTier = servedTier(chunk.service_tier);
    if (serviceTier === undefined || serviceTier === this.#serviceTier) return;
    this.#serviceTier = serviceTier;
    this.#events.push({ type: 'service_tier', serviceTier });
  }

  #readUsage(usage: JsonObject): void {
    this.#usage = mergeUsage(this.#usage, usage);
    const report = readReport(this.#usage);
    if (report !== undefined) this.#events.push({ type: 'usage', report });
  }

  #readChoice(choice: JsonObject): void {
    const index = number(choice.index) ?? 0;
    const delta = isObject(choice.delta) ? choice.delta : isObject(choice.message) ? choice.message : {};
    this.#readDelta(index, delta, choice.logprobs ?? undefined);
    if (!hasFinished(choice.finish_reason)) return;
    const finish = readFinish(choice.finish_reason);
    if (finish === undefined) return;
    this.#finishSeen = true;
    this.#closeCalls(index);
    this.#events.push({ type: 'finish', choice: index, finish });
  }

  #readDelta(choice: number, delta: JsonObject, logprobs: unknown): void {
    const reasoning = text(delta.reasoning_content) ?? text(delta.reasoning) ?? '';
    if (reasoning !== '') this.#events.push({ type: 'reasoning', choice, text: reasoning });
    if (Array.isArray(delta.reasoning_details)) {
      for (const detail of delta.reasoning_details) this.#events.push({ type: 'reasoning_carrier', choice, carrier: readCarrier(detail) });
    }
    for (const part of readContent(delta.content)) this.#readPart(choice, part, logprobs);
    const refusal = text(delta.refusal) ?? '';
    if (refusal !== '') this.#events.push({ type: 'refusal', choice, text: refusal });
    if (isObject(delta.audio)) this.#events.push({ type: 'media', choice, part: readAudio(delta.audio) });
    for (const part of readContent(delta.images)) this.#readPart(choice, part, undefined);
    if (Array.isArray(delta.annotations)) {
      for (const annotation of delta.annotations.filter(isObject))
        this.#events.push({ type: 'citation', choice, citation: readCitation(annotation) });
    }
    const calls = Array.isArray(delta.tool_calls)
      ? delta.tool_calls
      : isObject(delta.function_call)
        ? [{ index: 0, function: delta.function_call }]
        : [];
    for (const call of calls.filter(isObject)) this.#readCall(choice, call);
  }

  #readPart(choice: number, part: Part, logprobs: unknown): void {
    if (part.type === 'text') {
      if (part.text !== '') this.#events.push({ type: 'text', choice, text: part.text, logprobs });
    } else if (part.type === 'reasoning') {
      if (part.text !== '') this.#events.push({ type: 'reasoning', choice, text: part.text });
    } else if (part.type === 'image') this.#events.push({ type: 'media', choice, part });
  }

  #readCall(choice: number, delta: JsonObject): void {
    const kind = isObject(delta.custom) ? 'custom' : 'function';
    const called = isObject(delta.custom) ? delta.custom : isObject(delta.function) ? delta.function : {};
    const open = this.#callOf(choice, delta, text(called.name) ?? '', kind);
    const piece =
      kind === 'custom' ? text(called.input) : isObject(called.arguments) ? JSON.stringify(called.arguments) : text(called.arguments);
    if (piece === undefined || piece === '') return;
    open.hasArguments = true;
    this.#events.push({ type: 'tool_call_arguments', choice, call: open.call, text: piece });
  }

  /** The call a delta belongs to. Without an index each new id is a new call; with one, a new id at the same index is too. */
  #callOf(choice: number, delta: JsonObject, name: string, kind: 'function' | 'custom'): OpenCall {
    const id = text(delta.id) ?? '';
    const count = this.#callsOfChoice.get(choice) ?? 0;
    const index = number(delta.index) ?? (id === '' && count > 0 ? count - 1 : count);
    const key = `${choice}:${index}`;
    const open = this.#calls.get(key);
    if (open !== undefined && (id === '' || id === open.id || name === '')) return open;
    if (count >= MAX_CALLS_PER_CHOICE) {
      throw new GatewayError('upstream_error', { source: 'upstream', cause: `more than ${MAX_CALLS_PER_CHOICE} tool calls` });
    }
    const begun: OpenCall = { choice, call: count, id, hasArguments: kind === 'custom' };
    if (open !== undefined && !open.hasArguments) this.#closeCall(open);
    this.#calls.set(key, begun);
    this.#callsOfChoice.set(choice, count + 1);
    this.#events.push({
      type: 'tool_call_start',
      choice,
      call: count,
      id,
      name,
      kind,
      rest: rest(delta, ['id', 'index', 'type', 'function', 'custom']),
    });
    return begun;
  }

  /** A call without arguments has an empty object of them. */
  #closeCalls(choice?: number): void {
    for (const open of this.#calls.values())
      if (!open.hasArguments && (choice === undefined || open.choice === choice)) this.#closeCall(open);
  }

  #closeCall(open: OpenCall): void {
    open.hasArguments = true;
    this.#events.push({ type: 'tool_call_arguments', choice: open.choice, call: open.call, text: '{}' });
  }
}

function parseChunk(data: string): JsonObject {
  let chunk: unknown;
  try {
    chunk = JSON.parse(data);
  } catch (error) {
    throw new GatewayError('upstream_error', { source: 'upstream', message: "The provider's stream could not be read.", cause: error });
  }
  if (!isObject(chunk))
    throw new GatewayError('upstream_error', {
      source: 'upstream',
      message: "The provider's stream could not be read.",
      cause: 'an event that is not an object',
    });
  return chunk;
}

/** Writes chunks; the first of each choice has its role. */
export class ChatStreamEncoder implements StreamEncoder {
  readonly #terms: EncodeStreamTerms;
  #envelope: JsonObject = NO_REST;
  #usage: UsageReport | undefined;
  readonly #begun = new Set<number>();
  /** Calls of custom tools, whose argument has another name. */
  readonly #customCalls = new Set<string>();

  constructor(terms: EncodeStreamTerms) {
    this.#terms = terms;
  }

  push(events: readonly StreamEvent[]): Buffer[] {
    const out: Buffer[] = [];
    for (const event of events) {
      const bytes = this.#write(event);
      if (bytes !== undefined) out.push(bytes);
    }
    return out;
  }

  end(costUsdLiteral: string | undefined): Buffer[] {
    const out: Buffer[] = [];
    if (this.#terms.wantsStreamUsage && this.#usage !== undefined) {
      const { usage, reasoningTokens } = this.#usage;
      const head = JSON.stringify({ ...this.#envelope, choices: [] }).slice(0, -1);
      out.push(Buffer.from(`data: ${head},"usage":${withLiteral(writeUsage(usage, reasoningTokens), 'cost_usd', costUsdLiteral)}}\n\n`));
    }
    out.push(Buffer.from('data: [DONE]\n\n'));
    return out;
  }

  #write(event: StreamEvent): Buffer | undefined {
    switch (event.type) {
      case 'start':
        this.#envelope = {
          ...event.rest,
          id: event.id,
          object: 'chat.completion.chunk',
          created: event.createdSeconds ?? this.#terms.createdSeconds,
          model: this.#terms.model ?? event.model,
        };
        return this.#delta(0, {});
      case 'text':
        return this.#delta(event.choice, { content: event.text }, event.logprobs);
      case 'reasoning':
        return this.#delta(event.choice, { reasoning_content: event.text });
      case 'reasoning_carrier':
        return this.#delta(event.choice, { reasoning_details: [writeCarrier(event.carrier, '')] });
      case 'refusal':
        return this.#delta(event.choice, { refusal: event.text });
      case 'citation':
        return this.#delta(event.choice, { annotations: [writeCitation(event.citation)] });
      case 'media':
        return this.#delta(
          event.choice,
          event.part.type === 'image' ? { images: [writeImage(event.part)] } : { audio: writeAudio(event.part) },
        );
      case 'tool_call_start': {
        const { call, id, name, kind } = event;
        if (kind === 'custom') this.#customCalls.add(`${event.choice}:${call}`);
        const called = kind === 'custom' ? { custom: { name, input: '' } } : { function: { name, arguments: '' } };
        return this.#delta(event.choice, { tool_calls: [{ ...event.rest, index: call, id, type: kind, ...called }] });
      }
      case 'tool_call_arguments': {
        const isCustom = this.#customCalls.has(`${event.choice}:${event.call}`);
        const called = isCustom ? { custom: { input: event.text } } : { function: { arguments: event.text } };
        return this.#delta(event.choice, { tool_calls: [{ index: event.call, ...called }] });
      }
      case 'finish':
        return this.#chunk({ index: event.choice, delta: {}, logprobs: null, finish_reason: writeFinish(event.finish) });
      case 'service_tier':
        this.#envelope = { ...this.#envelope, service_tier: writeTier(event.serviceTier) };
        return undefined;
      case 'usage':
        this.#usage = event.report;
        return undefined;
      case 'foreign':
      case 'error':
      case 'end':
        return undefined;
      default:
        return event satisfies never;
    }
  }

  #delta(choice: number, delta: JsonObject, logprobs?: unknown): Buffer {
    const role = this.#begun.has(choice) ? {} : { role: 'assistant' };
    this.#begun.add(choice);
    return this.#chunk({ index: choice, delta: { ...role, ...delta }, logprobs: logprobs ?? null, finish_reason: null });
  }

  #chunk(choice: JsonObject): Buffer {
    return Buffer.from(`data: ${JSON.stringify({ ...this.#envelope, choices: [choice] })}\n\n`);
  }
}
