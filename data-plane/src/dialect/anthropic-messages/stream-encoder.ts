/** Canonical events as a stream of this protocol, for a client. */
import type { ServiceTier } from '@meridian/domain/price';
import { inputAsArguments } from '../../canonical/custom-tool.ts';
import type { StreamEvent } from '../../canonical/event.ts';
import type { Finish } from '../../canonical/finish.ts';
import { StreamLosses } from '../../canonical/loss.ts';
import type { AudioPart, ForeignPart, ImagePart, ReasoningCarrier } from '../../canonical/message.ts';
import type { UsageReport } from '../../canonical/response.ts';
import { originalToolName } from '../../canonical/tool-name.ts';
import { answerId } from '../answer-id.ts';
import { AnswerLimitError } from '../answer-limit.ts';
import type { EncodeStreamTerms, StreamEncoder } from '../dialect.ts';
import { type JsonObject, text, withLiteral } from '../json.ts';
import { writeFinish } from './finish.ts';
import { JsonEnd } from './json-end.ts';
import { signatureOf, writeCitation, writeThinking } from './message.ts';
import { clientCallId, MESSAGE_ID_PREFIX } from './response.ts';
import { DIALECT } from './schema.ts';
import { DIRECT_CALLER } from './tools.ts';
import { writeUsage } from './usage.ts';

/** Of events that wait for a call before them to end. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

type CallStart = StreamEvent & { readonly type: 'tool_call_start' };

type OpenBlock =
  /** What is cited belongs to a whole block: other text goes into another. */
  | { readonly kind: 'text'; isCited: boolean }
  | { readonly kind: 'thinking' }
  /** `custom` holds the free text of a call that has no place here but as an argument. */
  | { readonly kind: 'call'; readonly call: number; readonly json: JsonEnd; custom: string | undefined };

/**
 * One block is open at a time, in this protocol. Text and thinking end where something else begins. A call ends where its arguments are
 * a whole JSON value and something else begins, or with the answer: until then whatever else comes has to wait.
 */
export class MessagesStreamEncoder implements StreamEncoder {
  readonly #terms: EncodeStreamTerms;
  #out: Buffer[] = [];
  #started = false;
  #blocks = 0;
  #open: OpenBlock | undefined;
  #waiting: StreamEvent[] = [];
  #waitingBytes = 0;
  #finish: Finish | undefined;
  #usage: UsageReport | undefined;
  #serviceTier: ServiceTier | undefined;
  /** The upstream speaks this dialect, too. */
  #isOurs = false;
  #hasCalls = false;
  #hasRefusal = false;
  readonly #losses = new StreamLosses();

  constructor(terms: EncodeStreamTerms) {
    this.#terms = terms;
  }

  push(events: readonly StreamEvent[]): Buffer[] {
    for (const event of events) this.#take(event);
    return this.#taken();
  }

  end(costUsdLiteral: string | undefined): Buffer[] {
    this.#start(undefined);
    this.#drain(true);
    this.#closeBlock();
    const head = JSON.stringify({
      type: 'message_delta',
      delta: {
        ...writeFinish(this.#finish, { hasCalls: this.#hasCalls, hasRefusal: this.#hasRefusal }),
        stop_details: null,
        container: null,
      },
    }).slice(0, -1);
    const { usage = {}, reasoningTokens } = this.#usage ?? {};
    const counts = { ...writeUsage(usage, reasoningTokens, this.#serviceTier), ...this.#losses.member('meridian_loss') };
    this.#out.push(event('message_delta', `${head},"usage":${withLiteral(counts, 'cost_usd', costUsdLiteral)}}`));
    this.#out.push(event('message_stop', '{"type":"message_stop"}'));
    return this.#taken();
  }

  #taken(): Buffer[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }

  #take(event: StreamEvent): void {
    switch (event.type) {
      case 'start':
        this.#isOurs = event.dialect === DIALECT;
        this.#start(event.model);
        break;
      case 'finish':
        if (event.choice === 0) this.#finish = event.finish;
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
        // This protocol has one answer in it: the first.
        if (event.choice === 0) this.#content(event);
        else this.#losses.add({ name: 'choices' });
    }
  }

  #start(model: string | undefined): void {
    if (this.#started) return;
    this.#started = true;
    this.#write({
      type: 'message_start',
      message: {
        id: answerId(MESSAGE_ID_PREFIX, this.#terms.requestId),
        type: 'message',
        role: 'assistant',
        model: this.#terms.model ?? model ?? this.#terms.request.model,
        content: [],
        stop_reason: null,
        stop_sequence: null,
        stop_details: null,
        container: null,
        // Nothing is known yet; the last event has it all.
        usage: writeUsage({}, undefined, undefined),
      },
    });
  }

  #content(event: ContentEvent): void {
    if (this.#waiting.length > 0 || !this.#mayWrite(event)) this.#wait(event);
    else this.#writeContent(event);
    if (this.#waiting.length > 0) this.#drain(false);
  }

  /** What is open is the event's own, or may be closed for it. */
  #mayWrite(event: ContentEvent): boolean {
    const open = this.#open;
    if (open?.kind !== 'call') return true;
    if (event.type === 'tool_call_arguments' && event.call === open.call) return true;
    return open.json.isWhole;
  }

  #wait(event: ContentEvent): void {
    // Arguments of the open call come before what waits for them.
    if (event.type === 'tool_call_arguments' && this.#open?.kind === 'call' && this.#open.call === event.call) {
      this.#writeContent(event);
      return;
    }
    this.#waiting.push(event);
    this.#waitingBytes += 'text' in event ? Buffer.byteLength(event.text) : 1;
    if (this.#waitingBytes > MAX_WAITING_BYTES) {
      throw new AnswerLimitError(`more than ${MAX_WAITING_BYTES} bytes wait for a tool call`);
    }
  }

  /** Writes what waited, as far as it may; `all`: nothing more comes that it could wait for. */
  #drain(all: boolean): void {
    while (this.#waiting.length > 0) {
      const [next] = this.#waiting as [ContentEvent];
      if (!all && !this.#mayWrite(next)) return;
      const own = next.type === 'tool_call_start' ? this.#waiting.filter((event) => isOfCall(event, next.call)) : [next];
      this.#waiting = this.#waiting.filter((event) => !own.includes(event));
      for (const event of own) this.#writeContent(event as ContentEvent);
    }
    this.#waitingBytes = 0;
  }

  #writeContent(event: ContentEvent): void {
    switch (event.type) {
      case 'refusal':
        this.#hasRefusal = true;
        this.#writeText(event.text);
        break;
      case 'text':
        this.#writeText(event.text);
        break;
      case 'citation': {
        const citation = writeCitation(event.citation);
        if (citation === undefined) {
          this.#losses.add({ name: 'citations' });
          break;
        }
        this.#openText().isCited = true;
        this.#delta({ type: 'citations_delta', citation });
        break;
      }
      case 'reasoning':
        if (event.text === '') break;
        this.#openThinking();
        this.#delta({ type: 'thinking_delta', thinking: event.text });
        break;
      case 'reasoning_carrier':
        this.#writeCarrier(event.carrier);
        break;
      case 'tool_call_start':
        this.#openCall(event);
        break;
      case 'tool_call_arguments':
        this.#writeArguments(event.call, event.text);
        break;
      case 'media':
        this.#writeMedia(event.part);
        break;
      case 'foreign':
        this.#writeForeign(event.part);
        break;
      default:
        event satisfies never;
    }
  }

  #writeText(piece: string): void {
    if (piece === '') return;
    if (this.#openText().isCited) {
      this.#closeBlock();
      this.#openText();
    }
    this.#delta({ type: 'text_delta', text: piece });
  }

  #openText(): OpenBlock & { readonly kind: 'text' } {
    if (this.#open?.kind === 'text') return this.#open;
    const open: OpenBlock & { readonly kind: 'text' } = { kind: 'text', isCited: false };
    this.#openBlock(open, { type: 'text', text: '', citations: null });
    return open;
  }

  #openThinking(): void {
    if (this.#open?.kind === 'thinking') return;
    this.#openBlock({ kind: 'thinking' }, { type: 'thinking', thinking: '', signature: '' });
  }

  /** Ends the thinking that is shown, or is a block of its own. */
  #writeCarrier(carrier: ReasoningCarrier): void {
    const signature = signatureOf(carrier);
    if (this.#open?.kind === 'thinking' && signature !== undefined) {
      this.#delta({ type: 'signature_delta', signature });
      this.#open = undefined;
      this.#stop();
      return;
    }
    for (const block of writeThinking({ type: 'reasoning', text: '', carriers: [carrier] })) this.#writeWhole(block);
  }

  #openCall({ call, id, name, kind, carriers, rest: others }: CallStart): void {
    this.#hasCalls = true;
    this.#openBlock(
      { kind: 'call', call, json: new JsonEnd(), custom: kind === 'custom' ? '' : undefined },
      {
        type: 'tool_use',
        id: clientCallId({ id, ...(carriers === undefined ? {} : { carriers }) }, call, this.#terms.requestId),
        name: originalToolName(name, this.#terms.request.tools),
        input: {},
        caller: DIRECT_CALLER,
        ...(this.#isOurs ? others : {}),
      },
    );
  }

  #writeArguments(call: number, piece: string): void {
    const open = this.#open;
    // After a call has ended there is only white space left of it.
    if (open?.kind !== 'call' || open.call !== call || piece === '') return;
    if (open.custom !== undefined) {
      open.custom += piece;
      return;
    }
    open.json.push(piece);
    this.#delta({ type: 'input_json_delta', partial_json: piece });
  }

  #writeForeign(part: ForeignPart): void {
    if (part.dialect === DIALECT) this.#writeWhole(part.value);
    else this.#losses.add({ name: 'unknown_part', at: text(part.value.type) ?? 'unknown' });
  }

  /** Of sound, what was said. */
  #writeMedia(part: ImagePart | AudioPart): void {
    const transcript = part.type === 'audio' ? part.transcript : undefined;
    if (transcript !== undefined) this.#writeText(transcript);
    this.#losses.add(transcript === undefined ? { name: 'media_output', at: part.type } : { name: 'audio' });
  }

  #openBlock(open: OpenBlock, block: JsonObject): void {
    this.#closeBlock();
    this.#start(undefined);
    this.#write({ type: 'content_block_start', index: this.#blocks, content_block: block });
    this.#open = open;
  }

  #closeBlock(): void {
    const open = this.#open;
    if (open === undefined) return;
    // Thinking without a proof: clients want one all the same.
    if (open.kind === 'thinking') this.#delta({ type: 'signature_delta', signature: signatureOf(undefined) });
    if (open.kind === 'call' && open.custom !== undefined) {
      this.#delta({ type: 'input_json_delta', partial_json: inputAsArguments(open.custom) });
    }
    this.#open = undefined;
    this.#stop();
  }

  #writeWhole(block: JsonObject): void {
    this.#closeBlock();
    this.#start(undefined);
    this.#write({ type: 'content_block_start', index: this.#blocks, content_block: block });
    this.#stop();
  }

  #stop(): void {
    this.#write({ type: 'content_block_stop', index: this.#blocks });
    this.#blocks++;
  }

  #delta(delta: JsonObject): void {
    this.#write({ type: 'content_block_delta', index: this.#blocks, delta });
  }

  #write(data: JsonObject & { readonly type: string }): void {
    this.#out.push(event(data.type, JSON.stringify(data)));
  }
}

type ContentEvent = Exclude<StreamEvent, { readonly type: 'start' | 'finish' | 'usage' | 'service_tier' | 'error' | 'end' }>;

function isOfCall(event: StreamEvent, call: number): boolean {
  return (event.type === 'tool_call_start' || event.type === 'tool_call_arguments') && event.call === call;
}

function event(name: string, data: string): Buffer {
  return Buffer.from(`event: ${name}\ndata: ${data}\n\n`);
}
