/** An upstream's stream as canonical events. */
import { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import { unpackCallId } from '../../canonical/call-id.ts';
import type { StreamEvent } from '../../canonical/event.ts';
import type { Citation } from '../../canonical/message.ts';
import { AnswerLimitError } from '../answer-limit.ts';
import { parseEvent } from '../event-object.ts';
import { EventStreamDecoder } from '../event-stream-decoder.ts';
import { isObject, type JsonObject, NO_REST, number, text } from '../json.ts';
import { servedTier } from '../openai-tiers.ts';
import type { SseEvent } from '../sse.ts';
import { failureOf, isCall, readFinish } from './finish.ts';
import { readCarriers, readCitation, readOutputItem } from './message.ts';
import { readReport, shifted } from './response.ts';
import { MAX_OUTPUT_ITEMS } from './schema.ts';
import { readArguments } from './tools.ts';

const DONE = Buffer.from('[DONE]');

/** What has been told of an item of the upstream's output. */
interface ReadItem {
  /** Its place among the calls; undefined for an item that is none. */
  call: number | undefined;
  /** Some of its text or arguments has come. */
  hasContent: boolean;
  /** Thinking comes as a summary or as it is; of both only the first is taken. */
  reasoning: 'summary' | 'content' | undefined;
  summaries: number;
  citations: number;
  /** Characters of the answer's text before this item. */
  base: number;
  isDone: boolean;
}

export class ResponsesStreamDecoder extends EventStreamDecoder {
  #started = false;
  #serviceTier: ServiceTier | undefined;
  /** By `output_index`. */
  readonly #items = new Map<number, ReadItem>();
  #calls = 0;
  /** Characters of text so far. */
  #characters = 0;
  #hasContent = false;

  protected override get isWhole(): boolean {
    return false;
  }

  protected override read(event: SseEvent): void {
    if (event.data === undefined || event.data.length === 0) return;
    const { data } = event;
    // One vendor ends its streams like the older protocol; the response has ended before.
    if (data.equals(DONE)) return;
    const value = parseEvent(data);
    const type = text(value.type) ?? event.name ?? '';
    if (type === 'error' || event.name === 'error') {
      this.fail(failureOf(value));
      return;
    }
    const response = isObject(value.response) ? value.response : undefined;
    switch (type) {
      case 'response.created':
      case 'response.in_progress':
      case 'response.queued':
        this.#start(response ?? {});
        break;
      case 'response.completed':
      case 'response.incomplete':
        this.#complete(response ?? {});
        break;
      case 'response.failed':
      case 'response.cancelled':
        this.fail(failureOf(response ?? value));
        break;
      default:
        this.#readOutput(type, value);
    }
  }

  #start(response: JsonObject): void {
    if (!this.#started) {
      this.#started = true;
      this.events.push({
        type: 'start',
        dialect: 'openai-responses',
        id: text(response.id) ?? '',
        createdSeconds: number(response.created_at),
        model: text(response.model),
        rest: NO_REST,
      });
    }
    const serviceTier = servedTier(response.service_tier);
    if (serviceTier === undefined || serviceTier === this.#serviceTier) return;
    this.#serviceTier = serviceTier;
    this.events.push({ type: 'service_tier', serviceTier });
  }

  #complete(response: JsonObject): void {
    this.#start(response);
    const output = Array.isArray(response.output) ? response.output.filter(isObject) : [];
    // A short answer may come as a whole.
    if (!this.#hasContent) for (const [index, item] of output.entries()) this.#finishItem(index, item);
    this.#closeCalls();
    const report = readReport(response);
    this.events.push({ type: 'finish', choice: 0, finish: readFinish(response, this.#calls > 0) });
    if (report !== undefined) this.events.push({ type: 'usage', report });
    this.finish();
  }

  /** A call of which no arguments have come has an empty object of them. */
  #closeCalls(): void {
    for (const item of this.#items.values()) {
      if (item.call === undefined || item.hasContent) continue;
      item.hasContent = true;
      this.events.push({ type: 'tool_call_arguments', choice: 0, call: item.call, text: '{}' });
    }
  }

  #readOutput(type: string, value: JsonObject): void {
    const index = number(value.output_index);
    if (index === undefined) return;
    const delta = text(value.delta) ?? '';
    switch (type) {
      case 'response.output_item.added':
        if (isObject(value.item)) this.#beginItem(index, value.item);
        break;
      case 'response.output_item.done':
        if (isObject(value.item)) this.#finishItem(index, value.item);
        break;
      case 'response.output_text.delta':
        this.#text(this.#item(index), delta, value.logprobs);
        break;
      case 'response.refusal.delta':
        this.#content(this.#item(index), delta, { type: 'refusal', choice: 0, text: delta });
        break;
      case 'response.output_text.annotation.added': {
        const item = this.#item(index);
        if (isObject(value.annotation)) this.#cite(item, value.annotation);
        break;
      }
      case 'response.reasoning_summary_part.added':
        this.#beginSummary(this.#item(index));
        break;
      case 'response.reasoning_summary_text.delta':
      case 'response.reasoning_summary.delta':
        this.#reasoning(this.#item(index), 'summary', delta);
        break;
      case 'response.reasoning_text.delta':
      case 'response.reasoning.delta':
        this.#reasoning(this.#item(index), 'content', delta);
        break;
      case 'response.function_call_arguments.delta':
      case 'response.custom_tool_call_input.delta':
        this.#arguments(this.#item(index), delta);
        break;
      default:
      // The ends of parts repeat what has come; what is new beside them is for others.
    }
  }

  #item(index: number): ReadItem {
    const known = this.#items.get(index);
    if (known !== undefined) return known;
    if (this.#items.size >= MAX_OUTPUT_ITEMS) {
      throw new AnswerLimitError(`more than ${MAX_OUTPUT_ITEMS} items in an answer`);
    }
    const item: ReadItem = {
      call: undefined,
      hasContent: false,
      reasoning: undefined,
      summaries: 0,
      citations: 0,
      base: this.#characters,
      isDone: false,
    };
    this.#items.set(index, item);
    return item;
  }

  #beginItem(index: number, item: JsonObject): ReadItem {
    this.#start({});
    const known = this.#item(index);
    if (!isCall(item) || known.call !== undefined) return known;
    known.call = this.#calls++;
    const isCustom = item.type === 'custom_tool_call';
    const { id, carriers } = unpackCallId(text(item.call_id) ?? text(item.id) ?? '');
    this.#hasContent = true;
    this.events.push({
      type: 'tool_call_start',
      choice: 0,
      call: known.call,
      id,
      name: text(item.name) ?? '',
      kind: isCustom ? 'custom' : 'function',
      ...(carriers.length === 0 ? {} : { carriers }),
      rest: NO_REST,
    });
    return known;
  }

  /** A whole item: what of it has not come piece by piece. */
  #finishItem(index: number, item: JsonObject): void {
    const known = this.#beginItem(index, item);
    if (known.isDone) return;
    known.isDone = true;
    if (isCall(item)) {
      if (!known.hasContent)
        this.#arguments(known, item.type === 'custom_tool_call' ? (text(item.input) ?? '') : readArguments(item.arguments));
      // Free text may be empty, and is no object then.
      known.hasContent = true;
      return;
    }
    if (item.type === 'reasoning') {
      const [part] = readOutputItem(item);
      if (part?.type === 'reasoning' && known.reasoning === undefined) this.#reasoning(known, 'content', part.text);
      for (const carrier of readCarriers(item)) {
        this.#hasContent = true;
        this.events.push({ type: 'reasoning_carrier', choice: 0, carrier });
      }
      return;
    }
    for (const part of readOutputItem(item)) {
      if (part.type === 'text') {
        const { citations } = part;
        if (!known.hasContent) this.#text(known, part.text, undefined);
        for (const citation of citations.slice(known.citations)) this.#citation(known, citation);
      } else if (part.type === 'refusal') {
        if (!known.hasContent) this.#content(known, part.text, { type: 'refusal', choice: 0, text: part.text });
      } else if (part.type === 'image') this.#content(known, 'image', { type: 'media', choice: 0, part });
      else if (part.type === 'foreign') this.#content(known, 'item', { type: 'foreign', choice: 0, part });
    }
  }

  #text(item: ReadItem, delta: string, logprobs: unknown): void {
    const told = Array.isArray(logprobs) && logprobs.length > 0 ? { content: logprobs, refusal: null } : undefined;
    this.#content(item, delta, { type: 'text', choice: 0, text: delta, logprobs: told });
    this.#characters += delta.length;
  }

  #beginSummary(item: ReadItem): void {
    // Summaries are paragraphs of their own.
    if (item.summaries++ > 0 && item.reasoning === 'summary') this.events.push({ type: 'reasoning', choice: 0, text: '\n\n' });
  }

  #reasoning(item: ReadItem, kind: 'summary' | 'content', delta: string): void {
    item.reasoning ??= kind;
    if (item.reasoning === kind) this.#content(item, delta, { type: 'reasoning', choice: 0, text: delta });
  }

  #arguments(item: ReadItem, delta: string): void {
    if (item.call === undefined) throw new GatewayError('upstream_error', { source: 'upstream', cause: 'arguments of no call' });
    this.#content(item, delta, { type: 'tool_call_arguments', choice: 0, call: item.call, text: delta });
  }

  #cite(item: ReadItem, annotation: JsonObject): void {
    this.#citation(item, readCitation(annotation));
  }

  /** Offsets count from the beginning of a message here. */
  #citation(item: ReadItem, citation: Citation): void {
    item.citations++;
    this.events.push({ type: 'citation', choice: 0, citation: shifted(citation, item.base) });
  }

  #content(item: ReadItem, piece: string, event: StreamEvent): void {
    if (piece === '') return;
    this.#start({});
    item.hasContent = true;
    this.#hasContent = true;
    this.events.push(event);
  }
}
