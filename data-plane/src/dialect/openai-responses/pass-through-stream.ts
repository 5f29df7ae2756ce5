/** The pass-through lane of a stream. */
import type { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import type { Usage } from '@meridian/domain/usage';
import { MAX_HELD_BYTES } from '../answer-facts.ts';
import { parseEvent } from '../event-object.ts';
import { isObject, type JsonObject, withLiteral } from '../json.ts';
import { type Edit, MemberSearch, type Span, scanObject, splice, stringBytesAt, valueAt } from '../json-scanner.ts';
import { servedTier } from '../openai-tiers.ts';
import { PassThroughStream, type Told } from '../pass-through-stream.ts';
import type { SseEvent } from '../sse.ts';
import { withoutUpstreamCost } from '../upstream-cost.ts';
import { failureEvents } from './error.ts';
import { failureOf } from './finish.ts';
import { hasContent } from './response.ts';
import { readAnswerUsage, reasoningTokens } from './usage.ts';

const DONE = Buffer.from('[DONE]');
const RESPONSE_KEY: ReadonlySet<string> = new Set(['response']);
const EDITED_KEYS: ReadonlySet<string> = new Set(['model', 'usage']);

/** What is looked for in an event that is not parsed: names that make it be parsed, the number of the event, and generated text. */
const SEARCHED = ['response', 'error', 'sequence_number', 'delta'] as const;
const RESPONSE = SEARCHED.indexOf('response');
const ERROR = SEARCHED.indexOf('error');
const SEQUENCE = SEARCHED.indexOf('sequence_number');
const DELTA = SEARCHED.indexOf('delta');

/** Events that tell how the response stands, and repeat the request as they do. */
const BEGINNINGS: ReadonlySet<unknown> = new Set(['response.created', 'response.in_progress', 'response.queued']);
const ENDS: ReadonlySet<unknown> = new Set(['response.completed', 'response.incomplete']);

/**
 * States: the machine runs, uncommitted at first, until it is finished (by `response.completed` or `response.incomplete`, which are kept
 * for `terminal`) or broken; `#finish` and `#break` alone end it.
 *
 * Until the commit every event is parsed. After it an event is only searched for a quoted `response` or `error`: inside a string of JSON
 * a quote is always escaped, so text that speaks of them is never taken for them. What is found is parsed; every other event goes
 * out with the same bytes.
 *
 * The first two events repeat the request, instructions and tools included, so they do not count towards the bytes that may be held.
 *
 * Output tokens of a stream that was abandoned are counted from the bytes of its deltas, four to a token, and at least one an event.
 */
export class ResponsesPassThroughStream extends PassThroughStream {
  readonly #search = new MemberSearch(SEARCHED);
  #out: Buffer[] = [];
  #heldBytes = 0;
  #beginnings = 0;
  /** The response as the last event of its kind told it. */
  #response: JsonObject | undefined;
  /** The event that ends the stream. */
  #last: Editable | undefined;
  #usage: Usage | undefined;
  #reasoningTokens: number | undefined;
  #upstreamModel: string | undefined;
  #serviceTier: ServiceTier | undefined;
  /** The number that the next event has. */
  #sequence = 0;

  protected override get told(): Told {
    return {
      usage: this.#usage,
      serviceTier: this.#serviceTier,
      model: this.#upstreamModel,
      reasoningTokens: this.#reasoningTokens,
    };
  }

  protected override get isWhole(): boolean {
    return false;
  }

  override take(): Buffer[] {
    const taken = this.#out;
    this.#out = [];
    this.#heldBytes = 0;
    return taken;
  }

  override terminal(costUsdLiteral: string): Buffer[] {
    const last = this.#last;
    this.#last = undefined;
    return last === undefined ? [] : [this.#edit(last, costUsdLiteral)];
  }

  failure(error: GatewayError): Buffer[] | undefined {
    if (this.#response === undefined) return undefined;
    const model = this.terms.model === undefined ? {} : { model: this.terms.model };
    return failureEvents(error, this.#sequence, { ...this.#response, ...model });
  }

  protected override read(event: SseEvent): void {
    const { data } = event;
    // Comments and blocks without data are the upstream's own keep-alives; ours are sent by the server.
    if (data === undefined || data.length === 0 || data.equals(DONE)) return;
    if (!this.isCommitted || event.name === 'error' || event.cutShort || !event.singleLine) {
      this.#takeParsed(event, data);
      return;
    }
    this.#search.search(data);
    const { values } = this.#search;
    const isPlain = data[0] === OPEN_BRACE && data[data.length - 1] === CLOSE_BRACE;
    if (!isPlain || (values[RESPONSE] ?? -1) !== -1 || (values[ERROR] ?? -1) !== -1) this.#takeParsed(event, data);
    else {
      this.#count(data, values[SEQUENCE] ?? -1, values[DELTA] ?? -1);
      this.#hand(event.raw);
    }
  }

  /** Of an event that is not parsed: its number, and the text that it brings. */
  #count(data: Buffer, sequence: number, delta: number): void {
    if (sequence !== -1) this.#sequence = numberAt(data, sequence) + 1;
    const bytes = delta === -1 ? 0 : stringBytesAt(data, delta);
    if (bytes === 0) return;
    this.contentEvents++;
    this.textBytes += bytes;
  }

  #takeParsed(event: SseEvent, data: Buffer): void {
    const value = parseEvent(data);
    const { type, response } = value;
    const number = value.sequence_number;
    if (type === 'error' || event.name === 'error') {
      this.fail(failureOf(value));
      return;
    }
    if (isObject(response)) this.#readResponse(response);
    if (type === 'response.failed' || type === 'response.cancelled') {
      this.fail(failureOf(isObject(response) ? response : value));
      return;
    }
    if (typeof number === 'number' && Number.isSafeInteger(number)) this.#sequence = number + 1;
    if (ENDS.has(type)) {
      this.#last = editable(event, data);
      this.reportedEvents = this.contentEvents;
      if (isObject(response) && Array.isArray(response.output) && response.output.some((item) => isObject(item) && hasContent(item))) {
        this.contentEvents = Math.max(1, this.contentEvents);
        this.reportedEvents = this.contentEvents;
      }
      this.finish();
      return;
    }
    const isNews = this.#readContent(value);
    const isBeginning = BEGINNINGS.has(type);
    this.#hand(isBeginning ? this.#edit(editable(event, data), undefined) : event.raw, isBeginning);
    if (isNews) this.isCommitted = true;
  }

  /** Whether an event brings what a client waits for: generated text, or an item that is more than a beginning. */
  #readContent({ type, delta, item }: JsonObject): boolean {
    if (typeof delta === 'string' && delta !== '') {
      this.contentEvents++;
      this.textBytes += Buffer.byteLength(delta);
      return true;
    }
    if (type !== 'response.output_item.added' && type !== 'response.output_item.done') return false;
    if (!isObject(item)) return false;
    // A reasoning item begins with its encrypted state in some answers: the model has begun to think.
    const isNews = hasContent(item);
    if (isNews && !this.isCommitted) this.contentEvents++;
    return isNews;
  }

  #readResponse(response: JsonObject): void {
    this.#response = response;
    this.#serviceTier = servedTier(response.service_tier) ?? this.#serviceTier;
    if (typeof response.model === 'string' && response.model !== '') this.#upstreamModel = response.model;
    const usage = readAnswerUsage(response);
    if (usage === undefined) return;
    this.#usage = usage;
    this.#reasoningTokens = reasoningTokens(response.usage);
  }

  /** The event with the client's model name, and the cost in its usage; the same bytes where nothing changes. */
  #edit({ event, data, model, usage }: Editable, costUsdLiteral: string | undefined): Buffer {
    const edits: Edit[] = [];
    const asked = this.terms.model;
    if (model !== undefined && asked !== undefined && asked !== this.#upstreamModel) edits.push({ ...model, text: JSON.stringify(asked) });
    if (usage !== undefined && costUsdLiteral !== undefined && data[usage.start] === OPEN_BRACE) {
      const counts = valueAt(data, usage);
      if (isObject(counts)) edits.push({ ...usage, text: withLiteral(withoutUpstreamCost(counts), 'cost_usd', costUsdLiteral) });
    }
    return edits.length === 0 ? event.raw : dataEvent(event, Buffer.concat(splice(data, edits)));
  }

  #hand(bytes: Buffer, isBeginning = false): void {
    this.#out.push(bytes);
    if (this.isCommitted) return;
    if (isBeginning && ++this.#beginnings <= UNCOUNTED_BEGINNINGS) return;
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > MAX_HELD_BYTES) this.isCommitted = true;
  }
}

/** An event with a response, and where in its data stands what is edited. */
interface Editable {
  readonly event: SseEvent;
  readonly data: Buffer;
  readonly model: Span | undefined;
  readonly usage: Span | undefined;
}

/** Throws where a name that is edited stands twice: no answer is finished that could not be written. */
function editable(event: SseEvent, data: Buffer): Editable {
  const span = scanObject(data, RESPONSE_KEY).get('response');
  const isWhole = span !== undefined && data[span.start] === OPEN_BRACE;
  const members = isWhole ? scanObject(data, EDITED_KEYS, span) : undefined;
  return { event, data, model: members?.get('model'), usage: members?.get('usage') };
}

/** `response.created` and `response.in_progress`. */
const UNCOUNTED_BEGINNINGS = 2;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const ZERO = 0x30;
const NINE = 0x39;

/** The digits that stand at `at`. */
function numberAt(data: Buffer, at: number): number {
  let value = 0;
  for (let index = at; index < data.length; index++) {
    const byte = data[index] ?? 0;
    if (byte < ZERO || byte > NINE) break;
    value = Math.min(value * 10 + byte - ZERO, Number.MAX_SAFE_INTEGER);
  }
  return value;
}

/** New data in the event's own framing, its line ends aside. */
function dataEvent(event: SseEvent, data: Buffer): Buffer {
  const name = event.name === undefined ? '' : `event: ${event.name}\n`;
  return Buffer.concat([Buffer.from(`${name}data: `), data, BLANK_LINE]);
}

const BLANK_LINE = Buffer.from('\n\n');
