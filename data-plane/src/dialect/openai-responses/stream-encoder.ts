/** Canonical events as a stream of this protocol, for a client. */
import { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import { argumentsAsInput } from '../../canonical/custom-tool.ts';
import type { StreamEvent } from '../../canonical/event.ts';
import type { Finish } from '../../canonical/finish.ts';
import { StreamLosses } from '../../canonical/loss.ts';
import type { Citation, ImagePart } from '../../canonical/message.ts';
import type { UsageReport } from '../../canonical/response.ts';
import { answerId } from '../answer-id.ts';
import { AnswerLimitError } from '../answer-limit.ts';
import type { EncodeStreamTerms, StreamEncoder } from '../dialect.ts';
import { type JsonObject, text } from '../json.ts';
import { failureEvents, RESPONSE_ID_PREFIX, sseEvent } from './error.ts';
import { writeFinish } from './finish.ts';
import { encryptedContent, type ItemStatus, imageItem, logprobsOf, messageItem, outputText, reasoningItem } from './item.ts';
import { writeAnnotation } from './message.ts';
import { shifted } from './response.ts';
import { type ResponseHead, responseObject, withUsage } from './response-object.ts';
import { MAX_OUTPUT_ITEMS } from './schema.ts';
import { type ClientCall, callItem, clientCall } from './tools.ts';

/** Of text, arguments and pictures of one answer, which the last events repeat. */
const MAX_ANSWER_CHARACTERS = 64 * 1024 * 1024;

interface OpenMessage {
  readonly kind: 'message';
  readonly index: number;
  readonly id: string;
  /** The parts that are complete. */
  readonly content: JsonObject[];
  part: 'output_text' | 'refusal' | undefined;
  text: string;
  annotations: JsonObject[];
  logprobs: JsonObject[];
  /** Characters of the answer's text before the open part. */
  base: number;
}

interface OpenReasoning {
  readonly kind: 'reasoning';
  readonly index: number;
  readonly id: string;
  text: string;
}

interface OpenCall {
  readonly kind: 'call';
  readonly index: number;
  readonly id: string;
  readonly call: ClientCall;
  text: string;
  isOpen: boolean;
}

/**
 * Writes the events of a response, each in its place: a message or reasoning is closed before the next item begins; calls stay open beside
 * each other until their arguments are whole, since an upstream may send those of several in turns.
 *
 * The beginning is written with the first content, so that what it repeats of the request is not held before.
 */
export class ResponsesStreamEncoder implements StreamEncoder {
  readonly #terms: EncodeStreamTerms;
  #head: ResponseHead;
  #sequence = 0;
  #hasBegun = false;
  #items = 0;
  /** Complete items by their place. */
  readonly #output: JsonObject[] = [];
  #open: OpenMessage | OpenReasoning | undefined;
  readonly #calls = new Map<number, OpenCall>();
  #characters = 0;
  /** Sources that came before their text. */
  readonly #early: Citation[] = [];
  #keptCharacters = 0;
  #usage: UsageReport | undefined;
  #serviceTier: ServiceTier | undefined;
  #finish: Finish | undefined;
  readonly #losses = new StreamLosses();
  #out: Buffer[] = [];

  constructor(terms: EncodeStreamTerms) {
    this.#terms = terms;
    this.#head = { id: answerId(RESPONSE_ID_PREFIX, terms.requestId), createdSeconds: terms.createdSeconds, model: terms.model };
  }

  push(events: readonly StreamEvent[]): Buffer[] {
    for (const event of events) this.#write(event);
    return this.#taken();
  }

  end(costUsdLiteral: string | undefined): Buffer[] {
    this.#begin();
    this.#closeAll();
    // Sources of a text that never came.
    if (this.#early.length > 0) this.#losses.add({ name: 'citations' });
    const state = writeFinish(this.#finish);
    const response = withUsage(this.#response(state), this.#usage, costUsdLiteral, this.#losses.member('meridian_loss'));
    const type = `response.${state.status}`;
    this.#out.push(
      Buffer.from(`event: ${type}\ndata: {"type":"${type}","sequence_number":${this.#sequence++},"response":${response}}\n\n`),
    );
    return this.#taken();
  }

  failure(error: GatewayError): Buffer[] | undefined {
    if (!this.#hasBegun) return undefined;
    const output = [...this.#output.filter((item) => item !== undefined)];
    return failureEvents(error, this.#sequence, { ...this.#response({ status: 'failed', incomplete_details: null }, output), usage: null });
  }

  #taken(): Buffer[] {
    const taken = this.#out;
    this.#out = [];
    return taken;
  }

  #emit(type: string, fields: JsonObject): void {
    this.#out.push(sseEvent({ type, sequence_number: this.#sequence++, ...fields }));
  }

  #response(
    state: { readonly status: string; readonly incomplete_details: JsonObject | null },
    output: readonly JsonObject[] = this.#output,
  ): JsonObject {
    return responseObject(this.#terms.request, this.#head, {
      ...state,
      output,
      serviceTier: this.#serviceTier,
      endedSeconds: this.#terms.nowSeconds?.(),
    });
  }

  #write(event: StreamEvent): void {
    switch (event.type) {
      case 'start':
        this.#head = {
          ...this.#head,
          createdSeconds: event.createdSeconds ?? this.#terms.createdSeconds,
          model: this.#terms.model ?? event.model,
        };
        break;
      case 'usage':
        this.#usage = event.report;
        break;
      case 'service_tier':
        this.#serviceTier = event.serviceTier;
        break;
      case 'error':
      case 'end':
        break;
      default:
        // This protocol has one choice.
        if (event.choice === 0) this.#writeContent(event);
        else this.#losses.add({ name: 'choices' });
    }
  }

  #writeContent(event: Exclude<StreamEvent, { readonly type: 'start' | 'usage' | 'service_tier' | 'error' | 'end' }>): void {
    switch (event.type) {
      case 'text':
        this.#text('output_text', event.text, event.logprobs);
        break;
      case 'refusal':
        this.#text('refusal', event.text, undefined);
        break;
      case 'citation':
        this.#citation(event.citation);
        break;
      case 'reasoning':
        this.#reasoning(event.text);
        break;
      case 'reasoning_carrier':
        // Asked for or not, it ends the block.
        this.#closeReasoning(this.#terms.request.reasoning?.wantsCarriers === true ? encryptedContent(event.carrier) : undefined);
        break;
      case 'tool_call_start':
        this.#startCall(event);
        break;
      case 'tool_call_arguments':
        this.#callArguments(event.call, event.text);
        break;
      case 'media':
        if (event.part.type === 'image') this.#image(event.part);
        else if (event.part.transcript === undefined) this.#losses.add({ name: 'media_output', at: 'audio' });
        else {
          this.#losses.add({ name: 'audio' });
          this.#spoken(event.part.transcript);
        }
        break;
      case 'foreign':
        if (event.part.dialect === 'openai-responses') this.#wholeItem(() => event.part.value);
        else this.#losses.add({ name: 'unknown_part', at: text(event.part.value.type) ?? 'unknown' });
        break;
      case 'finish':
        this.#finish = event.finish;
        this.#begin();
        this.#closeAll();
        break;
      default:
        event satisfies never;
    }
  }

  #begin(): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    const response = { ...this.#response({ status: 'in_progress', incomplete_details: null }, []), usage: null };
    this.#emit('response.created', { response });
    this.#emit('response.in_progress', { response });
  }

  /** The place and the id of a new item. */
  #newItem(prefix: string): { readonly index: number; readonly id: string } {
    this.#begin();
    if (this.#items >= MAX_OUTPUT_ITEMS) {
      throw new AnswerLimitError(`more than ${MAX_OUTPUT_ITEMS} items in an answer`);
    }
    const index = this.#items++;
    return { index, id: answerId(prefix, this.#terms.requestId, index) };
  }

  #added(index: number, item: JsonObject): void {
    this.#emit('response.output_item.added', { output_index: index, item });
  }

  #done(index: number, item: JsonObject): void {
    this.#output[index] = item;
    this.#emit('response.output_item.done', { output_index: index, item });
  }

  /** How an item that is closed now stands: the last one of a cut answer is not whole. */
  #status(): ItemStatus {
    return this.#finish !== undefined && writeFinish(this.#finish).status === 'incomplete' ? 'incomplete' : 'completed';
  }

  #keep(characters: number): void {
    this.#keptCharacters += characters;
    if (this.#keptCharacters > MAX_ANSWER_CHARACTERS) {
      throw new AnswerLimitError(`an answer of more than ${MAX_ANSWER_CHARACTERS} characters`);
    }
  }

  #text(part: 'output_text' | 'refusal', delta: string, logprobs: unknown): void {
    if (delta === '') return;
    this.#keep(delta.length);
    const message = this.#openMessage();
    if (message.part !== part) {
      this.#closePart(message);
      message.part = part;
      message.base = this.#characters;
      this.#emit('response.content_part.added', {
        ...this.#partPlace(message),
        part: part === 'refusal' ? { type: 'refusal', refusal: '' } : outputText('', [], []),
      });
    }
    message.text += delta;
    if (part === 'refusal') {
      this.#emit('response.refusal.delta', { ...this.#partPlace(message), delta });
      return;
    }
    this.#characters += delta.length;
    const told = this.#terms.request.logprobs === undefined ? [] : logprobsOf(logprobs);
    message.logprobs.push(...told);
    this.#emit('response.output_text.delta', { ...this.#partPlace(message), delta, logprobs: told });
    for (const citation of this.#early.splice(0)) this.#citation(citation);
  }

  /** What was said is a message of its own: places in the text do not count it. */
  #spoken(transcript: string): void {
    const before = this.#characters;
    this.#closeOpen();
    this.#text('output_text', transcript, undefined);
    this.#closeOpen();
    this.#characters = before;
  }

  #partPlace(message: OpenMessage): JsonObject {
    return { item_id: message.id, output_index: message.index, content_index: message.content.length };
  }

  #openMessage(): OpenMessage {
    if (this.#open?.kind === 'message') return this.#open;
    this.#closeOpen();
    this.#closeWholeCalls();
    const { index, id } = this.#newItem('msg_');
    this.#added(index, messageItem(id, 'in_progress', []));
    const message: OpenMessage = {
      kind: 'message',
      index,
      id,
      content: [],
      part: undefined,
      text: '',
      annotations: [],
      logprobs: [],
      base: this.#characters,
    };
    this.#open = message;
    return message;
  }

  #closePart(message: OpenMessage): void {
    if (message.part === undefined) return;
    const place = this.#partPlace(message);
    const { text: whole, annotations, logprobs } = message;
    const part: JsonObject = message.part === 'refusal' ? { type: 'refusal', refusal: whole } : outputText(whole, annotations, logprobs);
    if (message.part === 'refusal') this.#emit('response.refusal.done', { ...place, refusal: whole });
    else this.#emit('response.output_text.done', { ...place, text: whole, logprobs });
    this.#emit('response.content_part.done', { ...place, part });
    message.content.push(part);
    message.part = undefined;
    message.text = '';
    message.annotations = [];
    message.logprobs = [];
  }

  /** A source of the text that is open, or comes next; of a text that has ended nothing can be told any more. */
  #citation(citation: Citation): void {
    const message = this.#open;
    if (message?.kind !== 'message' || message.part !== 'output_text') {
      if (this.#early.length < MAX_OUTPUT_ITEMS) this.#early.push(citation);
      return;
    }
    const { start = message.base, end = message.base } = citation;
    if (start < message.base && end > 0 && end <= message.base) {
      this.#losses.add({ name: 'citations' });
      return;
    }
    const placed = shifted(citation, -message.base);
    const annotation = writeAnnotation(
      placed.start === undefined || placed.end === undefined
        ? placed
        : { ...placed, start: Math.max(0, placed.start), end: Math.max(0, placed.end) },
      message.text.length,
    );
    if (annotation === undefined) {
      this.#losses.add({ name: 'citations' });
      return;
    }
    this.#emit('response.output_text.annotation.added', {
      ...this.#partPlace(message),
      annotation_index: message.annotations.length,
      annotation,
    });
    message.annotations.push(annotation);
  }

  #reasoning(delta: string): void {
    if (delta === '') return;
    this.#keep(delta.length);
    let item = this.#open;
    if (item?.kind !== 'reasoning') {
      this.#closeOpen();
      this.#closeWholeCalls();
      const { index, id } = this.#newItem('rs_');
      item = { kind: 'reasoning', index, id, text: '' };
      this.#open = item;
      this.#added(index, reasoningItem(id, '', undefined));
      this.#emit('response.reasoning_summary_part.added', {
        item_id: id,
        output_index: index,
        summary_index: 0,
        part: { type: 'summary_text', text: '' },
      });
    }
    item.text += delta;
    this.#emit('response.reasoning_summary_text.delta', { item_id: item.id, output_index: item.index, summary_index: 0, delta });
  }

  /** Ends the block of reasoning that is open, with its state where there is one; state alone is an item of its own. */
  #closeReasoning(encrypted: string | undefined): void {
    const item = this.#open;
    if (item?.kind === 'reasoning') {
      this.#open = undefined;
      const place = { item_id: item.id, output_index: item.index, summary_index: 0 };
      this.#emit('response.reasoning_summary_text.done', { ...place, text: item.text });
      this.#emit('response.reasoning_summary_part.done', { ...place, part: { type: 'summary_text', text: item.text } });
      this.#done(item.index, reasoningItem(item.id, item.text, encrypted));
      return;
    }
    if (encrypted === undefined) return;
    this.#closeOpen();
    this.#closeWholeCalls();
    const { index, id } = this.#newItem('rs_');
    this.#keep(encrypted.length);
    this.#added(index, reasoningItem(id, '', undefined));
    this.#done(index, reasoningItem(id, '', encrypted));
  }

  #startCall(event: StreamEvent & { readonly type: 'tool_call_start' }): void {
    this.#closeOpen();
    this.#closeWholeCalls();
    const call = clientCall(event, this.#terms.request);
    const { index, id } = this.#newItem(call.isCustom ? 'ctc_' : 'fc_');
    this.#calls.set(event.call, { kind: 'call', index, id, call, text: '', isOpen: true });
    this.#added(index, callItem(id, 'in_progress', { ...call, isLowered: false }, ''));
  }

  #callArguments(number: number, delta: string): void {
    if (delta === '') return;
    this.#keep(delta.length);
    const item = this.#calls.get(number);
    if (item === undefined || !item.isOpen) {
      throw new GatewayError('upstream_error', { source: 'upstream', cause: 'arguments of a call that is not open' });
    }
    item.text += delta;
    const { call } = item;
    // The text of a custom tool stands inside a string of JSON, and can be told when that is whole.
    if (call.isLowered) return;
    const type = call.isCustom ? 'response.custom_tool_call_input.delta' : 'response.function_call_arguments.delta';
    this.#emit(type, { item_id: item.id, output_index: item.index, delta });
  }

  #closeCall(item: OpenCall, status: ItemStatus): void {
    item.isOpen = false;
    const { id, index, call } = item;
    const place = { item_id: id, output_index: index };
    if (call.isCustom) {
      const input = call.isLowered ? argumentsAsInput(item.text) : item.text;
      if (call.isLowered && input !== '') this.#emit('response.custom_tool_call_input.delta', { ...place, delta: input });
      this.#emit('response.custom_tool_call_input.done', { ...place, input });
      this.#done(index, callItem(id, status, { ...call, isLowered: false }, input));
      return;
    }
    const whole = item.text === '' ? '{}' : item.text;
    if (item.text === '') this.#emit('response.function_call_arguments.delta', { ...place, delta: whole });
    this.#emit('response.function_call_arguments.done', { ...place, name: call.name, arguments: whole });
    this.#done(index, callItem(id, status, call, whole));
  }

  /** Before another item begins: calls whose arguments are whole. Free text has no end that can be seen. */
  #closeWholeCalls(): void {
    for (const item of this.#calls.values()) {
      if (item.isOpen && isWholeJson(item.text)) this.#closeCall(item, 'completed');
    }
  }

  #closeOpen(status: ItemStatus = 'completed'): void {
    const item = this.#open;
    if (item === undefined) return;
    if (item.kind === 'reasoning') {
      this.#closeReasoning(undefined);
      return;
    }
    this.#open = undefined;
    this.#closePart(item);
    this.#done(item.index, messageItem(item.id, status, item.content));
  }

  #closeAll(): void {
    this.#closeOpen(this.#status());
    for (const item of this.#calls.values()) {
      if (item.isOpen) this.#closeCall(item, isWholeJson(item.text) ? 'completed' : this.#status());
    }
  }

  #image(part: ImagePart): void {
    this.#wholeItem((id) => {
      const item = imageItem(id, part);
      if (item === undefined) this.#losses.add({ name: 'media_output', at: 'image' });
      else this.#keep(String(item.result).length);
      return item;
    });
  }

  #wholeItem(make: (id: string) => JsonObject | undefined): void {
    this.#closeOpen();
    this.#closeWholeCalls();
    const item = make(answerId('ig_', this.#terms.requestId, this.#items));
    if (item === undefined) return;
    const { index } = this.#newItem('ig_');
    this.#added(index, item.type === 'image_generation_call' ? { ...item, status: 'in_progress', result: null } : item);
    this.#done(index, item);
  }
}

function isWholeJson(value: string): boolean {
  if (!value.endsWith('}')) return false;
  try {
    JSON.parse(value);
    return true;
  } catch {
    return false;
  }
}
