/** An upstream's chat stream as canonical events. */
import { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import type { StreamEvent } from '../../canonical/event.ts';
import type { Citation, Part } from '../../canonical/message.ts';
import { AnswerLimitError } from '../answer-limit.ts';
import { parseEvent } from '../event-object.ts';
import { EventStreamDecoder } from '../event-stream-decoder.ts';
import { isObject, type JsonObject, number, rest, text } from '../json.ts';
import { servedTier } from '../openai-tiers.ts';
import type { SseEvent } from '../sse.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { mergeUsage } from '../usage-object.ts';
import { readCitation, readSources, SOURCE_KEYS } from './citations.ts';
import { hasFinished, readFinish } from './finish.ts';
import { readAudio } from './media.ts';
import { readContent } from './parts.ts';
import { DetailsInPieces, ownCarriers, shownReasoning } from './reasoning.ts';
import { mintedCallId, readReport } from './response.ts';
import { type Piece, ThinkTags } from './think-tags.ts';
import { readCallHead } from './tools.ts';

const DIALECT = 'openai-chat';
const DONE = Buffer.from('[DONE]');
/** What stands in every chunk beside what is read; `obfuscation` is padding that differs from chunk to chunk. */
const CHUNK_KEYS = ['id', 'object', 'created', 'model', 'choices', 'usage', 'service_tier', 'obfuscation', 'x_groq', ...SOURCE_KEYS];
/** More calls in one choice are no answer any more. */
const MAX_CALLS_PER_CHOICE = 1_024;

/** A call that has begun: its place among the calls of its choice, and whether arguments have come. */
interface OpenCall {
  readonly choice: number;
  readonly call: number;
  readonly id: string;
  hasArguments: boolean;
}

/** What is put together of one choice. */
interface OpenChoice {
  readonly details: DetailsInPieces;
  readonly tags: ThinkTags;
  calls: number;
  hasFinished: boolean;
}

export class ChatStreamDecoder extends EventStreamDecoder {
  #started = false;
  #finishSeen = false;
  #id = '';
  #serviceTier: ServiceTier | undefined;
  #usage: JsonObject | undefined;
  /** The sources that the chunks list, which each repeats. */
  #sources: readonly Citation[] = [];
  readonly #choices = new Map<number, OpenChoice>();
  /** Open calls by choice and the upstream's index. */
  readonly #calls = new Map<string, OpenCall>();

  protected override get isWhole(): boolean {
    return this.#finishSeen;
  }

  protected override settle(): void {
    for (const choice of this.#choices.keys()) this.#closeChoice(choice);
  }

  protected override read(event: SseEvent): void {
    if (event.data === undefined || event.data.length === 0) return;
    const { data } = event;
    if (data.equals(DONE)) {
      if (this.#choices.size > 0) this.finish();
      else this.fail(new GatewayError('upstream_error', { source: 'upstream', message: 'The provider gave no answer.' }));
      return;
    }
    const chunk = parseEvent(data);
    if (event.name === 'error' || (chunk.error !== undefined && chunk.error !== null)) {
      this.fail(errorFromAnswer(chunk));
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
    // Azure's first chunk tells of the prompt, and has neither id nor model.
    const isAhead = text(chunk.id) === '' && Array.isArray(chunk.choices) && chunk.choices.length === 0;
    if (!this.#started && !isAhead) {
      this.#started = true;
      this.#id = text(chunk.id) ?? '';
      this.events.push({
        type: 'start',
        dialect: DIALECT,
        id: this.#id,
        createdSeconds: number(chunk.created),
        model: text(chunk.model),
        rest: rest(chunk, CHUNK_KEYS),
      });
    }
    if (chunk.citations !== undefined || chunk.search_results !== undefined) this.#sources = readSources(chunk);
    const serviceTier = servedTier(chunk.service_tier);
    if (serviceTier === undefined || serviceTier === this.#serviceTier) return;
    this.#serviceTier = serviceTier;
    this.events.push({ type: 'service_tier', serviceTier });
  }

  #readUsage(usage: JsonObject): void {
    this.#usage = mergeUsage(this.#usage, usage);
    const report = readReport(this.#usage);
    if (report !== undefined) this.events.push({ type: 'usage', report });
  }

  #choice(index: number): OpenChoice {
    let choice = this.#choices.get(index);
    if (choice === undefined) {
      choice = { details: new DetailsInPieces(), tags: new ThinkTags(), calls: 0, hasFinished: false };
      this.#choices.set(index, choice);
    }
    return choice;
  }

  #readChoice(choice: JsonObject): void {
    const index = number(choice.index) ?? 0;
    const delta = isObject(choice.delta) ? choice.delta : isObject(choice.message) ? choice.message : {};
    this.#readDelta(index, delta, choice.logprobs ?? undefined);
    if (!hasFinished(choice.finish_reason)) return;
    const open = this.#choice(index);
    const finish = readFinish(choice, open.calls > 0);
    // Some say it again with the usage.
    if (finish === undefined || open.hasFinished) return;
    open.hasFinished = true;
    this.#finishSeen = true;
    this.#closeChoice(index);
    for (const citation of this.#sources) this.events.push({ type: 'citation', choice: index, citation });
    this.events.push({ type: 'finish', choice: index, finish });
  }

  #readDelta(choice: number, delta: JsonObject, logprobs: unknown): void {
    const open = this.#choice(choice);
    const reasoning = shownReasoning(delta);
    if (reasoning !== '') {
      open.tags.ignore();
      this.events.push({ type: 'reasoning', choice, text: reasoning });
    }
    if (Array.isArray(delta.reasoning_details)) this.#readDetails(open, delta.reasoning_details);
    for (const part of readContent(delta.content)) this.#readPart(choice, part, logprobs);
    const refusal = text(delta.refusal) ?? '';
    if (refusal !== '') this.#content({ type: 'refusal', choice, text: refusal });
    if (isObject(delta.audio)) this.#content({ type: 'media', choice, part: readAudio(delta.audio) });
    for (const part of readContent(delta.images)) this.#readPart(choice, part, undefined);
    if (Array.isArray(delta.annotations)) {
      for (const annotation of delta.annotations.filter(isObject))
        this.events.push({ type: 'citation', choice, citation: readCitation(annotation) });
    }
    const calls = Array.isArray(delta.tool_calls)
      ? delta.tool_calls
      : isObject(delta.function_call)
        ? [{ index: 0, function: delta.function_call }]
        : [];
    for (const call of calls.filter(isObject)) this.#readCall(choice, call);
  }

  #readDetails(open: OpenChoice, details: readonly unknown[]): void {
    for (const detail of details) {
      if (!open.details.add(detail)) {
        throw new AnswerLimitError('reasoning details beyond all measure');
      }
    }
  }

  #readPart(choice: number, part: Part, logprobs: unknown): void {
    if (part.type === 'text') this.#pieces(choice, this.#choice(choice).tags.push(part.text), logprobs);
    else if (part.type === 'reasoning') {
      this.#choice(choice).tags.ignore();
      if (part.text !== '') this.events.push({ type: 'reasoning', choice, text: part.text });
    } else if (part.type === 'image') this.#content({ type: 'media', choice, part });
  }

  #pieces(choice: number, pieces: readonly Piece[], logprobs: unknown): void {
    for (const piece of pieces) {
      if (piece.type === 'reasoning') this.events.push({ type: 'reasoning', choice, text: piece.text });
      else this.#content({ type: 'text', choice, text: piece.text, logprobs });
    }
  }

  /** What is no reasoning ends the block of it. */
  #content(event: StreamEvent & { readonly choice: number }): void {
    this.#closeReasoning(event.choice);
    this.events.push(event);
  }

  /** The details of a block of reasoning, which come in pieces, are one carrier at its end. */
  #closeReasoning(choice: number): void {
    const { details } = this.#choice(choice);
    if (details.isEmpty) return;
    for (const carrier of ownCarriers(details.take())) this.events.push({ type: 'reasoning_carrier', choice, carrier });
  }

  #closeChoice(choice: number): void {
    this.#pieces(choice, this.#choice(choice).tags.end(), undefined);
    this.#closeReasoning(choice);
    this.#closeCalls(choice);
  }

  #readCall(choice: number, delta: JsonObject): void {
    const kind = isObject(delta.custom) ? 'custom' : 'function';
    const called = isObject(delta.custom) ? delta.custom : isObject(delta.function) ? delta.function : {};
    const open = this.#callOf(choice, delta, text(called.name) ?? '', kind);
    const piece =
      kind === 'custom' ? text(called.input) : isObject(called.arguments) ? JSON.stringify(called.arguments) : text(called.arguments);
    if (piece === undefined || piece === '') return;
    open.hasArguments = true;
    this.events.push({ type: 'tool_call_arguments', choice, call: open.call, text: piece });
  }

  /** The call a delta belongs to. Without an index each new id is a new call; with one, a new id at the same index is too. */
  #callOf(choice: number, delta: JsonObject, name: string, kind: 'function' | 'custom'): OpenCall {
    const id = text(delta.id) ?? '';
    const state = this.#choice(choice);
    const call = state.calls;
    const index = number(delta.index) ?? (id === '' && call > 0 ? call - 1 : call);
    const key = `${choice}:${index}`;
    const open = this.#calls.get(key);
    if (open !== undefined && (id === '' || id === open.id || name === '')) return open;
    if (call >= MAX_CALLS_PER_CHOICE) {
      throw new AnswerLimitError(`more than ${MAX_CALLS_PER_CHOICE} tool calls`);
    }
    const begun: OpenCall = { choice, call, id, hasArguments: kind === 'custom' };
    if (open !== undefined && !open.hasArguments) this.#closeCall(open);
    this.#calls.set(key, begun);
    state.calls++;
    const { carriers, others } = readCallHead(delta, false);
    this.#content({
      type: 'tool_call_start',
      choice,
      call,
      id: id === '' ? mintedCallId(this.#id, choice, call) : id,
      name,
      kind,
      ...(carriers.length === 0 ? {} : { carriers }),
      rest: others,
    });
    return begun;
  }

  /** A call without arguments has an empty object of them. */
  #closeCalls(choice: number): void {
    for (const open of this.#calls.values()) if (!open.hasArguments && open.choice === choice) this.#closeCall(open);
  }

  #closeCall(open: OpenCall): void {
    open.hasArguments = true;
    this.events.push({ type: 'tool_call_arguments', choice: open.choice, call: open.call, text: '{}' });
  }
}
