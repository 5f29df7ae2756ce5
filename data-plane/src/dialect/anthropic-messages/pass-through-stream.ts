/** An upstream's stream handed on to a client of the same protocol: event by event, edited only where it must be. */
import { GatewayError } from '@meridian/domain/error';
import { costEdit } from '../answer-edits.ts';
import { MAX_HELD_BYTES } from '../answer-facts.ts';
import { parseEvent } from '../event-object.ts';
import { isObject, type JsonObject, text } from '../json.ts';
import { MemberSearch, type Span, scanObject, splice, stringBytesAt } from '../json-scanner.ts';
import { PassThroughStream, type Told } from '../pass-through-stream.ts';
import type { SseEvent } from '../sse.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { mergeUsage } from '../usage-object.ts';
import { hasFinished } from './finish.ts';
import { readUsage, reasoningTokens, servedTier } from './usage.ts';

const STOP_EVENT = Buffer.from('event: message_stop\ndata: {"type":"message_stop"}\n\n');

/** Members of an event that hold generated text. */
const TEXTS = ['text', 'thinking', 'partial_json'] as const;
const USAGE_KEY: ReadonlySet<string> = new Set(['usage']);
const MESSAGE_KEY: ReadonlySet<string> = new Set(['message']);
const MODEL_KEY: ReadonlySet<string> = new Set(['model']);

/** The events that hold nothing but content: they are not parsed once the stream is committed. */
const CONTENT_EVENTS: ReadonlySet<string | undefined> = new Set(['content_block_start', 'content_block_delta', 'content_block_stop']);

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * Until the commit every event is parsed; after it those of content are told by their name, and go out with the same bytes. The event with
 * the final usage and all that follow it are kept for the end.
 *
 * Output tokens of a stream that was abandoned are counted from the bytes of its text members, four to a token, and at least one an event:
 * the count that such a stream begins with is a seed and tells nothing.
 */
export class MessagesPassThroughStream extends PassThroughStream {
  readonly #search = new MemberSearch(TEXTS);
  #started = false;
  #finishSeen = false;
  #out: Buffer[] = [];
  #heldBytes = 0;
  /** The event with the final usage, and what came after it. */
  #tail: TailEvent[] = [];
  #usage: JsonObject | undefined;
  #model: string | undefined;

  protected override get told(): Told {
    const usage = readUsage(this.#usage);
    return {
      usage,
      serviceTier: servedTier(this.#usage),
      model: this.#model,
      reasoningTokens: reasoningTokens(this.#usage),
    };
  }

  protected override get isWhole(): boolean {
    return this.#finishSeen;
  }

  override take(): Buffer[] {
    const taken = this.#out;
    this.#out = [];
    this.#heldBytes = 0;
    return taken;
  }

  override terminal(costUsdLiteral: string): Buffer[] {
    const last = this.#tail.findLastIndex(({ usage }) => usage !== undefined);
    const bytes = this.#tail.map(({ event, usage }, index) =>
      index === last && usage !== undefined ? withCost(event, usage, costUsdLiteral) : event.raw,
    );
    this.#tail = [];
    bytes.push(STOP_EVENT);
    return bytes;
  }

  protected override read(event: SseEvent): void {
    const { data } = event;
    // Comments and pings are the upstream's own keep-alives; ours are sent by the server.
    if (data === undefined || data.length === 0 || event.name === 'ping') return;
    const isPlain = this.isCommitted && event.singleLine && !event.cutShort && CONTENT_EVENTS.has(event.name);
    if (!isPlain || data[0] !== OPEN_BRACE || data[data.length - 1] !== CLOSE_BRACE) {
      this.#takeParsed(event, parseEvent(data));
      return;
    }
    this.#search.search(event.raw);
    for (const value of this.#search.values) {
      const bytes = value === -1 ? 0 : stringBytesAt(event.raw, value);
      if (bytes > 0) this.#count(bytes);
    }
    this.#hand(event, undefined);
  }

  #takeParsed(event: SseEvent, data: JsonObject): void {
    if (data.type === 'error' || event.name === 'error' || isObject(data.error)) {
      this.fail(errorFromAnswer(data));
      return;
    }
    switch (data.type) {
      case 'ping':
        return;
      case 'message_start':
        this.#takeStart(event, data);
        return;
      case 'message_delta':
        this.#takeDelta(event, data);
        return;
      case 'message_stop':
        // An end without a reason is no end.
        if (this.#finishSeen) this.finish();
        else this.fail(new GatewayError('upstream_error', { source: 'upstream', cause: 'message_stop without a stop_reason' }));
        return;
      default: {
        const bytes = contentBytes(data);
        if (bytes !== undefined) this.#count(bytes);
        this.#hand(event, undefined);
        if (bytes !== undefined) this.isCommitted = true;
      }
    }
  }

  /** A second one is a fault of something on the way: clients would begin anew, or fail. */
  #takeStart(event: SseEvent, data: JsonObject): void {
    if (this.#started) return;
    this.#started = true;
    const message = isObject(data.message) ? data.message : {};
    this.#model = text(message.model);
    if (isObject(message.usage)) this.#usage = mergeUsage(this.#usage, message.usage);
    if (hasFinished(message.stop_reason)) this.#finishSeen = true;
    const asked = this.terms.model;
    const renames = asked !== undefined && this.#model !== undefined && this.#model !== asked;
    this.#hand(renames ? { ...event, raw: withModel(event, asked) } : event, undefined);
  }

  #takeDelta(event: SseEvent, data: JsonObject): void {
    if (isObject(data.delta) && hasFinished(data.delta.stop_reason)) this.#finishSeen = true;
    const usage = isObject(data.usage) ? data.usage : undefined;
    if (usage !== undefined) {
      this.#usage = mergeUsage(this.#usage, usage);
      this.reportedEvents = this.contentEvents;
    }
    const isCounted = usage !== undefined && Object.keys(usage).length > 0;
    // Found before the answer is paid for: no stream is finished that could not be written.
    this.#tail.push({ event, usage: isCounted ? scanObject(event.data ?? NO_DATA, USAGE_KEY).get('usage') : undefined });
  }

  #count(bytes: number): void {
    this.contentEvents++;
    this.textBytes += bytes;
    // Content after the usage: that was not the end, so what was kept for it goes out first.
    if (this.#tail.length === 0) return;
    const kept = this.#tail;
    this.#tail = [];
    for (const { event } of kept) this.#hand(event, undefined);
  }

  #hand(event: SseEvent, usage: Span | undefined): void {
    if (this.#tail.length > 0) {
      this.#tail.push({ event, usage });
      return;
    }
    this.#out.push(event.raw);
    if (this.isCommitted) return;
    this.#heldBytes += event.raw.length;
    if (this.#heldBytes > MAX_HELD_BYTES) this.isCommitted = true;
  }
}

interface TailEvent {
  readonly event: SseEvent;
  /** Where that of a message_delta stands in its data. */
  readonly usage: Span | undefined;
}

/** Bytes of generated text in an event of content; undefined for one that brings none. */
function contentBytes(data: JsonObject): number | undefined {
  if (data.type === 'content_block_delta' && isObject(data.delta)) {
    const { delta } = data;
    const shown = text(delta.text) ?? text(delta.thinking) ?? text(delta.partial_json) ?? '';
    if (shown !== '') return Buffer.byteLength(shown);
    return text(delta.signature) || isObject(delta.citation) ? 0 : undefined;
  }
  if (data.type !== 'content_block_start' || !isObject(data.content_block)) return undefined;
  const { content_block: block } = data;
  const shown = text(block.text) ?? text(block.thinking) ?? text(block.name) ?? '';
  if (shown !== '') return Buffer.byteLength(shown);
  return block.type === 'text' || block.type === 'thinking' ? undefined : 0;
}

function withModel(event: SseEvent, model: string): Buffer {
  const data = event.data ?? Buffer.alloc(0);
  const message = scanObject(data, MESSAGE_KEY).get('message');
  const span = message === undefined ? undefined : scanObject(data, MODEL_KEY, message).get('model');
  return span === undefined ? event.raw : dataEvent(event, splice(data, [{ ...span, text: JSON.stringify(model) }]));
}

function withCost(event: SseEvent, usage: Span, costUsdLiteral: string): Buffer {
  const data = event.data ?? NO_DATA;
  const edit = costEdit(data, usage, 'cost_usd', costUsdLiteral);
  return edit === undefined ? event.raw : dataEvent(event, splice(data, [edit]));
}

const NO_DATA = Buffer.alloc(0);

/** New data in the event's own framing, its name and line ends aside. */
function dataEvent(event: SseEvent, data: readonly Buffer[]): Buffer {
  const name = event.name === undefined ? '' : `event: ${event.name}\n`;
  return Buffer.concat([Buffer.from(`${name}data: `), ...data, BLANK_LINE]);
}

const BLANK_LINE = Buffer.from('\n\n');
