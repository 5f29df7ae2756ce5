/** The pass-through lane of a stream of answers. */
import type { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import { MAX_HELD_BYTES } from '../answer-facts.ts';
import type { StreamTerms } from '../dialect.ts';
import { isObject, type JsonObject, withLiteral } from '../json.ts';
import { JsonCursor, MemberSearch, type Span, scanObject, splice, stringBytesAt, valueAt } from '../json-scanner.ts';
import { PassThroughStream, type Told } from '../pass-through-stream.ts';
import type { SseEvent } from '../sse.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { mergeUsage } from '../usage-object.ts';
import { streamError } from './error.ts';
import { hasFinished } from './finish.ts';
import type { Framing } from './framing.ts';
import { HostedCalls } from './hosted-calls.ts';
import { fieldsOf, listOf } from './proto-json.ts';
import { blockFinish, readContent } from './response.ts';
import { isFailure, readAnswerEvent } from './stream-decoder.ts';
import { readAnswerUsage, reasoningTokens, servedTier } from './usage.ts';

const ANSWER_KEYS: ReadonlySet<string> = new Set(['modelVersion', 'usageMetadata']);

/**
 * What is looked for in an event that is not parsed. The first ones make it be parsed: the end, an error, what is billed, and what may
 * hold members of any name (arguments of calls, results of tools), in which the others could be mistaken.
 */
const SEARCHED = [
  'finishReason',
  'error',
  'promptFeedback',
  'groundingMetadata',
  'toolCall',
  'functionCall',
  'args',
  'response',
  'partMetadata',
  'modelVersion',
  'usageMetadata',
  'text',
  'promptTokenCount',
  'candidatesTokenCount',
  'thoughtsTokenCount',
  'cachedContentTokenCount',
  'toolUsePromptTokenCount',
] as const;
const FIRST_COUNT = SEARCHED.indexOf('promptTokenCount');
const MODEL = SEARCHED.indexOf('modelVersion');
const USAGE = SEARCHED.indexOf('usageMetadata');
const TEXT = SEARCHED.indexOf('text');

/** One answer on its way out. */
interface Piece {
  /** As the client is to get it, framed: handed on as it came. */
  readonly raw: Buffer | undefined;
  /** Its JSON, where it is still to be framed. */
  readonly json: Buffer;
}

/**
 * Until the commit every event is parsed. After it an event is only searched for members by their quoted names: inside a string of JSON a
 * quote is always escaped, so text that speaks of them is never taken for one. Each answer carries the usage so far; it is kept unread
 * until the next one that counts as much, or until it is asked for. The last answers, from the first finish reason on, are kept for
 * `terminal`, which adds the cost to the last of them.
 */
export class GeminiPassThroughStream extends PassThroughStream {
  readonly #framing: Framing;
  #finishSeen = false;
  #out: Piece[] = [];
  #heldBytes = 0;
  /** The answers from a finish reason on. */
  #tail: Piece[] = [];
  #tailing = false;
  /** Nothing was taken yet. */
  #isFirst = true;
  #usage: JsonObject | undefined;
  /** Where the latest usage begins that is not read yet, and what it counts, a bit for each count. */
  #unread: Buffer | undefined;
  #unreadCounts = 0;
  readonly #calls = new HostedCalls();
  #upstreamModel: string | undefined;
  readonly #search = new MemberSearch(SEARCHED);
  /** The model's name as the upstream writes it, in quotes. */
  #modelFrom: Buffer | undefined;

  constructor(terms: StreamTerms, framing: Framing) {
    super(terms);
    this.#framing = framing;
  }

  protected override get told(): Told {
    this.#readKept();
    const usage = readAnswerUsage({ usageMetadata: this.#usage, modelVersion: this.#upstreamModel }, this.#calls);
    const serviceTier: ServiceTier | undefined = servedTier(this.#usage);
    return {
      usage,
      serviceTier,
      model: this.#upstreamModel,
      reasoningTokens: reasoningTokens(this.#usage),
    };
  }

  protected override get isWhole(): boolean {
    return this.#finishSeen;
  }

  override take(): Buffer[] {
    const taken = this.#out.map((piece) => this.#framed(piece));
    this.#out = [];
    this.#heldBytes = 0;
    return taken;
  }

  override terminal(costUsdLiteral: string): Buffer[] {
    this.#readKept();
    const last = this.#tail.at(-1);
    if (last !== undefined && this.#usage !== undefined) {
      this.#tail[this.#tail.length - 1] = { raw: undefined, json: withUsage(last.json, this.#usage, costUsdLiteral) };
    }
    const bytes = this.#tail.map((piece) => this.#framed(piece));
    this.#tail = [];
    const end = this.#framing.end(this.#isFirst);
    if (end !== undefined) bytes.push(end);
    return bytes;
  }

  failure(error: GatewayError): Buffer[] {
    return streamError(error, '', this.#framing, this.#isFirst);
  }

  #framed({ raw, json }: Piece): Buffer {
    const framed = raw ?? this.#framing.frame(json, this.#isFirst);
    this.#isFirst = false;
    return framed;
  }

  protected override read(event: SseEvent): void {
    const { data } = event;
    if (!this.isCommitted || data === undefined || event.cutShort || !event.singleLine || !isObjectText(data)) {
      this.#takeParsed(event);
      return;
    }
    this.#search.search(data);
    if (this.#mustParse(data)) this.#takeParsed(event);
    else this.#forward(event, data);
  }

  #mustParse(data: Buffer): boolean {
    const { values } = this.#search;
    for (let index = 0; index < MODEL; index++) if (values[index] !== -1) return true;
    const model = values[MODEL] ?? -1;
    return model !== -1 && (this.#modelFrom === undefined || !standsAt(data, model, this.#modelFrom));
  }

  /** An event that is not parsed: its usage, the client's name for the model, and the count. */
  #forward(event: SseEvent, data: Buffer): void {
    const { values } = this.#search;
    const text = values[TEXT] ?? -1;
    const bytes = text === -1 ? 0 : stringBytesAt(data, text);
    if (bytes > 0) {
      this.contentEvents++;
      this.textBytes += bytes;
      this.#untail();
    }
    const usage = values[USAGE] ?? -1;
    if (usage !== -1) this.#keepUsage(data.subarray(usage));
    const model = values[MODEL] ?? -1;
    const asked = this.terms.model;
    if (model === -1 || asked === undefined || asked === this.#upstreamModel) this.#hand(this.#unchanged(event, data));
    else this.#hand(renamed(data, { start: model, end: model + (this.#modelFrom?.length ?? 0) }, asked));
  }

  #takeParsed(event: SseEvent): void {
    const answer = readAnswerEvent(event);
    if (answer === undefined) return;
    if (isFailure(answer)) {
      this.fail(errorFromAnswer(answer));
      return;
    }
    const { modelVersion } = answer;
    if (typeof modelVersion === 'string' && modelVersion !== '' && modelVersion !== this.#upstreamModel) {
      this.#upstreamModel = modelVersion;
      this.#modelFrom = Buffer.from(JSON.stringify(modelVersion));
    }
    const data = event.data ?? event.raw;
    const asked = this.terms.model;
    const model = asked === undefined || asked === modelVersion ? undefined : scanObject(data, ANSWER_KEYS).get('modelVersion');
    // Before its content is counted: what cannot be handed on is not charged.
    const piece = model === undefined || asked === undefined ? this.#unchanged(event, data) : renamed(data, model, asked);
    this.#calls.add(answer.candidates);
    const { empty, textBytes } = readContent(answer.candidates);
    this.textBytes += textBytes;
    if (!empty) this.contentEvents++;
    if (this.#readEnds(answer)) {
      this.#finishSeen = true;
      this.#tailing = true;
    } else if (!empty) this.#untail();
    this.#readUsage(answer.usageMetadata);
    this.#hand(piece);
    if (!empty) this.isCommitted = true;
  }

  /** Whether a candidate has ended, or the prompt was refused. */
  #readEnds(answer: JsonObject): boolean {
    let ends = false;
    for (const candidate of listOf(answer.candidates).filter(isObject)) {
      if (hasFinished(candidate.finishReason)) ends = true;
    }
    return ends || blockFinish(answer) !== undefined;
  }

  /** A report on an event with content counts that content, too. */
  #readUsage(usage: unknown): void {
    if (!isObject(usage)) return;
    this.#readKept();
    this.#usage = mergeUsage(this.#usage, usage);
    this.reportedEvents = this.contentEvents;
  }

  #keepUsage(usage: Buffer): void {
    let counts = 0;
    for (let index = FIRST_COUNT; index < SEARCHED.length; index++) {
      if (this.#search.values[index] !== -1) counts |= 1 << (index - FIRST_COUNT);
    }
    // One that leaves out what the kept one counts does not stand for it.
    if ((this.#unreadCounts & ~counts) !== 0) this.#readKept();
    this.#unread = usage;
    this.#unreadCounts = counts;
    this.reportedEvents = this.contentEvents;
  }

  #readKept(): void {
    const kept = this.#unread;
    if (kept === undefined) return;
    this.#unread = undefined;
    this.#unreadCounts = 0;
    const usage = readUsageAt(kept);
    if (isObject(usage)) this.#usage = mergeUsage(this.#usage, usage);
  }

  /** With the bytes around its data, where these are in the client's framing. */
  #unchanged(event: SseEvent, data: Buffer): Piece {
    return { raw: this.#framing.isSse && event.data !== undefined && !event.cutShort ? event.raw : undefined, json: data };
  }

  /** Content after a finish: it was that of another candidate, so what was kept for the end goes out first. */
  #untail(): void {
    if (!this.#tailing) return;
    this.#tailing = false;
    this.#out.push(...this.#tail);
    this.#tail = [];
  }

  #hand(piece: Piece): void {
    if (this.#tailing) {
      this.#tail.push(piece);
      return;
    }
    this.#out.push(piece);
    if (this.isCommitted) return;
    this.#heldBytes += piece.json.length;
    if (this.#heldBytes > MAX_HELD_BYTES) this.isCommitted = true;
  }
}

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

function isObjectText(data: Buffer): boolean {
  return data[0] === OPEN_BRACE && data[data.length - 1] === CLOSE_BRACE;
}

function standsAt(data: Buffer, at: number, text: Buffer): boolean {
  let same = 0;
  while (same < text.length && data[at + same] === text[same]) same++;
  return same === text.length;
}

function renamed(data: Buffer, span: Span, model: string): Piece {
  return { raw: undefined, json: Buffer.concat(splice(data, [{ ...span, text: JSON.stringify(model) }])) };
}

/** Undefined where nothing can be read: the answer has been handed on by then. */
function readUsageAt(bytes: Buffer): unknown {
  try {
    return valueAt(bytes, new JsonCursor(bytes).skipValue());
  } catch {
    return undefined;
  }
}

/** The answer with all that was counted, and the cost. */
function withUsage(json: Buffer, usage: JsonObject, costUsdLiteral: string): Buffer {
  const text = withLiteral(usage, 'costUsd', costUsdLiteral);
  const span = usageSpan(json);
  if (span !== undefined) return Buffer.concat(splice(json, [{ ...span, text }]));
  const { usageMetadata: _, ...others } = fieldsOf(JSON.parse(json.toString('utf8')));
  const head = JSON.stringify(others).slice(0, -1);
  return Buffer.from(`${head}${head === '{' ? '' : ','}"usageMetadata":${text}}`);
}

/** Undefined where there is none, or not one alone: the answer has been paid for by now, so no way of writing may fail here. */
function usageSpan(json: Buffer): Span | undefined {
  try {
    return scanObject(json, ANSWER_KEYS).get('usageMetadata');
  } catch {
    return undefined;
  }
}
