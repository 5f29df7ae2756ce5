/** The pass-through lane of a chat stream. */
import { chargedUsage } from '@meridian/domain/estimated-usage';
import type { ServiceTier } from '@meridian/domain/price';
import { MAX_HELD_BYTES } from '../answer-facts.ts';
import { parseEvent } from '../event-object.ts';
import { isObject, type JsonObject, withLiteral } from '../json.ts';
import { MemberSearch, scanObject, splice, stringBytesAt } from '../json-scanner.ts';
import { servedTier } from '../openai-tiers.ts';
import { PassThroughStream, type Told } from '../pass-through-stream.ts';
import type { SseEvent } from '../sse.ts';
import { withoutUpstreamCost } from '../upstream-cost.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { mergeUsage } from '../usage-object.ts';
import { hasFinished } from './finish.ts';
import { contentBytes, hasContent } from './response.ts';
import { readUsage, reasoningTokens, writeUsage } from './usage.ts';

const DONE = Buffer.from('[DONE]');
const DONE_EVENT = Buffer.from('data: [DONE]\n\n');
const NOTHING = Buffer.alloc(0);
const MODEL_KEY: ReadonlySet<string> = new Set(['model']);
const USAGE_NULL = Buffer.from(',"usage":null');

/** What is looked for in an event that is not parsed: three names that make it be parsed, then those of generated text. */
const SEARCHED = [
  'usage',
  'error',
  'finish_reason',
  'model',
  'content',
  'reasoning_content',
  'reasoning',
  'arguments',
  'refusal',
  'text',
] as const;
const USAGE = SEARCHED.indexOf('usage');
const MODEL = SEARCHED.indexOf('model');
const FIRST_TEXT = SEARCHED.indexOf('content');

/**
 * Until the commit every event is parsed. After it an event is only searched for a quoted `usage`, `error` or finish
 * reason: inside a string of JSON a quote is always escaped, so text that speaks of usage is never taken for it. What
 * is found is parsed, and so is an event that does not begin and end as an object; every other event goes out with the same bytes but for the model's name.
 *
 * Output tokens of a stream that was abandoned are counted from the bytes of its text members (the first of each event;
 * escapes as they are written), four to a token, and at least one an event. Over the recorded streams of text that is
 * within a factor of two and a half of what providers report. Tool calls come out up to five times too low (the markup around them
 * is not seen), hidden reasoning does not count at all: a miscount is in the client's favour.
 */
export class ChatPassThroughStream extends PassThroughStream {
  #finishSeen = false;
  #out: Buffer[] = [];
  #heldBytes = 0;
  /** A finish event that carried usage, and what came after it. */
  #tail: Buffer[] = [];
  #tailing = false;
  #usage: JsonObject | undefined;
  /** The last chunk that carried usage, from which the final usage chunk takes id, created and model. */
  #usageChunk: JsonObject | undefined;
  /** Stands in for it where none did. */
  #firstChunk: JsonObject | undefined;
  #upstreamModel: string | undefined;
  #serviceTier: ServiceTier | undefined;
  readonly #search = new MemberSearch(SEARCHED);
  /** The model's name as the upstream writes it, in quotes, and as the client is to read it. */
  #modelFrom: Buffer | undefined;
  #modelTo = NOTHING;

  protected override get told(): Told {
    const usage = readUsage(this.#usage);
    return {
      usage,
      serviceTier: this.#serviceTier,
      model: this.#upstreamModel,
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
    const bytes = this.#tail;
    this.#tail = [];
    const usage = this.#toldUsage();
    if (this.terms.wantsStreamUsage && usage !== undefined) bytes.push(this.#usageEvent(usage, costUsdLiteral));
    bytes.push(DONE_EVENT);
    return bytes;
  }

  protected override read(event: SseEvent): void {
    const { data } = event;
    // Comments and blocks without data are the upstream's own keep-alives; ours are sent by the server.
    if (data === undefined || data.length === 0) return;
    if (data.equals(DONE)) {
      this.finish();
      return;
    }
    if (!this.isCommitted || event.name === 'error' || event.cutShort || !event.singleLine) {
      this.#takeParsed(event, data);
      return;
    }
    this.#search.search(event.raw);
    if (data[0] !== OPEN_BRACE || data[data.length - 1] !== CLOSE_BRACE || this.#mustParse(event.raw)) this.#takeParsed(event, data);
    else this.#forward(event.raw);
  }

  /** It has usage, an error or a finish reason that is not null, another model than before, or a null usage that is not written the usual way. */
  #mustParse(raw: Buffer): boolean {
    const from = this.#modelFrom;
    const model = this.#search.values[MODEL] ?? -1;
    if (from !== undefined && model !== -1 && !standsAt(raw, model, from)) return true;
    const usage = this.#search.values[USAGE] ?? -1;
    if (usage !== -1 && !this.terms.wantsStreamUsage && !isPlainNullUsage(raw, usage)) return true;
    for (let index = 0; index < MODEL; index++) {
      const value = this.#search.values[index] ?? -1;
      if (value !== -1 && raw[value] !== LETTER_N) return true;
    }
    return false;
  }

  /** An event that is not parsed: the cheap edits, and the count. */
  #forward(raw: Buffer): void {
    this.#countText(raw);
    let edited = raw;
    const { values } = this.#search;
    // From the back, so that the places found stay where they are.
    const model = values[MODEL] ?? -1;
    const usage = this.terms.wantsStreamUsage ? -1 : (values[USAGE] ?? -1);
    if (usage > model) edited = withoutUsage(edited, usage);
    if (model !== -1 && this.#modelFrom !== undefined) edited = replaced(edited, model, model + this.#modelFrom.length, this.#modelTo);
    if (usage !== -1 && usage < model) edited = withoutUsage(edited, usage);
    this.#untail();
    this.#hand(edited);
  }

  #countText(raw: Buffer): void {
    for (let index = FIRST_TEXT; index < SEARCHED.length; index++) {
      const value = this.#search.values[index] ?? -1;
      const bytes = value === -1 ? 0 : stringBytesAt(raw, value);
      if (bytes === 0) continue;
      this.contentEvents++;
      this.textBytes += bytes;
      return;
    }
  }

  #takeParsed(event: SseEvent, data: Buffer): void {
    const chunk = parseEvent(data);
    const failure = chunk.error;
    this.#firstChunk ??= chunk;
    this.#readFacts(chunk);
    const usage = usageOf(chunk);
    if (usage !== undefined) this.#keepUsage(chunk, usage);
    if (event.name === 'error' || (failure !== undefined && failure !== null)) {
      this.fail(errorFromAnswer(chunk));
      return;
    }
    const carriesUsage = usage !== undefined;
    const choices = Array.isArray(chunk.choices) ? chunk.choices.filter(isObject) : [];
    // Before its content is counted: what cannot be handed on is not charged.
    const edited = carriesUsage && choices.length === 0 ? undefined : this.#edit(event, data, chunk, carriesUsage);
    const finishes = choices.some((choice) => hasFinished(choice.finish_reason));
    if (finishes) this.#finishSeen = true;
    const hasNews = this.#readChoices(choices);
    // A report on an event with content counts that content, too.
    if (carriesUsage) this.reportedEvents = this.contentEvents;
    if (edited === undefined) return;
    if (finishes && carriesUsage) this.#tailing = true;
    else if (hasNews) this.#untail();
    this.#hand(edited);
    if (hasNews) this.isCommitted = true;
  }

  /** Counts what the choices bring; whether it is content. */
  #readChoices(choices: readonly JsonObject[]): boolean {
    let hasNews = false;
    for (const choice of choices) {
      const delta: unknown = choice.delta ?? choice.message;
      if (!isObject(delta) || !hasContent(delta)) continue;
      hasNews = true;
      this.textBytes += contentBytes(delta);
    }
    if (hasNews) this.contentEvents++;
    return hasNews;
  }

  #readFacts(chunk: JsonObject): void {
    this.#serviceTier = servedTier(chunk.service_tier) ?? this.#serviceTier;
    const { model } = chunk;
    if (typeof model !== 'string' || model === '' || model === this.#upstreamModel) return;
    this.#upstreamModel = model;
    const asked = this.terms.model;
    if (asked === undefined || asked === model) {
      this.#modelFrom = undefined;
      return;
    }
    this.#modelFrom = Buffer.from(JSON.stringify(model));
    this.#modelTo = Buffer.from(JSON.stringify(asked));
  }

  #keepUsage(chunk: JsonObject, usage: JsonObject): void {
    this.#usage = mergeUsage(this.#usage, usage);
    this.#serviceTier ??= servedTier(usage.service_tier);
    this.#usageChunk = chunk;
  }

  /** The event without its usage and with the client's model name; the same bytes where nothing changes. */
  #edit(event: SseEvent, data: Buffer, chunk: JsonObject, carriesUsage: boolean): Buffer {
    const asked = this.terms.model;
    const renames = asked !== undefined && typeof chunk.model === 'string' && chunk.model !== asked;
    const strips = carriesUsage || (!this.terms.wantsStreamUsage && chunk.usage === null);
    if (!renames && !strips) return event.raw;
    if (strips) {
      const rest: Record<string, unknown> = { ...chunk };
      delete rest.usage;
      const ofGroq = rest.x_groq;
      if (isObject(ofGroq) && isObject(ofGroq.usage)) {
        const { usage: _, ...others } = ofGroq;
        rest.x_groq = others;
      }
      if (renames) rest.model = asked;
      return dataEvent(event, Buffer.from(JSON.stringify(rest)));
    }
    const span = scanObject(data, MODEL_KEY).get('model');
    return span === undefined ? event.raw : dataEvent(event, Buffer.concat(splice(data, [{ ...span, text: JSON.stringify(asked) }])));
  }

  /** Content after a finish with usage: it was not the end, so what was kept for the end goes out first. */
  #untail(): void {
    if (!this.#tailing) return;
    this.#tailing = false;
    this.#out.push(...this.#tail);
    this.#tail = [];
  }

  #hand(bytes: Buffer): void {
    if (this.#tailing) {
      this.#tail.push(bytes);
      return;
    }
    this.#out.push(bytes);
    if (this.isCommitted) return;
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > MAX_HELD_BYTES) this.isCommitted = true;
  }

  /** The upstream's own, or what is charged where it has sent none, or none since the last content. */
  #toldUsage(): JsonObject | undefined {
    const { usage, usageIsInterim, countedOutputTokens, reasoningTokens } = this.facts;
    const { estimatedInputTokens } = this.terms;
    if (estimatedInputTokens === undefined || (usage !== undefined && !usageIsInterim)) return this.#usage;
    const charged = chargedUsage(usage, estimatedInputTokens, countedOutputTokens);
    return { ...this.#usage, ...writeUsage(charged, reasoningTokens) };
  }

  /** The one usage chunk, whichever way the upstream sent its usage. */
  #usageEvent(usage: JsonObject, costUsdLiteral: string): Buffer {
    const chunk = this.#usageChunk ?? this.#firstChunk ?? {};
    const rest: Record<string, unknown> = { ...chunk };
    for (const key of ['usage', 'choices', 'x_groq']) delete rest[key];
    if (this.terms.model !== undefined && typeof rest.model === 'string') rest.model = this.terms.model;
    const head = JSON.stringify({ ...rest, choices: [] }).slice(0, -1);
    return Buffer.from(`data: ${head},"usage":${withLiteral(withoutUpstreamCost(usage), 'cost_usd', costUsdLiteral)}}\n\n`);
  }
}

function usageOf({ usage, x_groq: ofGroq }: JsonObject): JsonObject | undefined {
  if (isObject(usage)) return usage;
  return isObject(ofGroq) && isObject(ofGroq.usage) ? ofGroq.usage : undefined;
}

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** New data in the event's own framing, its name and line ends aside. */
function dataEvent(event: SseEvent, data: Buffer): Buffer {
  const name = event.name === undefined ? '' : `event: ${event.name}\n`;
  return Buffer.concat([Buffer.from(`${name}data: `), data, BLANK_LINE]);
}

const BLANK_LINE = Buffer.from('\n\n');

const LETTER_N = 0x6e;

/** `,"usage":null` stands around the value at `value`. */
function isPlainNullUsage(raw: Buffer, value: number): boolean {
  return standsAt(raw, value + 4 - USAGE_NULL.length, USAGE_NULL);
}

/** The event without the plain null usage whose value begins at `value`. */
function withoutUsage(raw: Buffer, value: number): Buffer {
  return replaced(raw, value + 4 - USAGE_NULL.length, value + 4, NOTHING);
}

function standsAt(raw: Buffer, at: number, text: Buffer): boolean {
  let same = 0;
  while (same < text.length && raw[at + same] === text[same]) same++;
  return same === text.length;
}

function replaced(raw: Buffer, start: number, end: number, by: Buffer): Buffer {
  const edited = Buffer.allocUnsafe(raw.length - (end - start) + by.length);
  raw.copy(edited, 0, 0, start);
  by.copy(edited, start);
  raw.copy(edited, start + by.length, end);
  return edited;
}
