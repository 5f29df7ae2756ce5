/** A stream of answers, to and from the canonical language. */
import { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import type { StreamEvent } from '../../canonical/event.ts';
import type { Finish } from '../../canonical/finish.ts';
import { StreamLosses } from '../../canonical/loss.ts';
import type { Citation, ToolCallPart } from '../../canonical/message.ts';
import type { UsageReport } from '../../canonical/response.ts';
import { originalToolName } from '../../canonical/tool-name.ts';
import { AnswerLimitError } from '../answer-limit.ts';
import type { EncodeStreamTerms, StreamDecoder, StreamEncoder } from '../dialect.ts';
import { parseExact } from '../exact-json.ts';
import { isObject, type JsonObject, NO_REST, number, text, withLiteral } from '../json.ts';
import { type SseEvent, SseSplitter } from '../sse.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { mergeUsage } from '../usage-object.ts';
import { idMint } from './call-ids.ts';
import { readCitations, TextPlaces, writeGrounding } from './citations.ts';
import { streamError } from './error.ts';
import { hasFinished, readFinish } from './finish.ts';
import type { Framing } from './framing.ts';
import { HostedCalls } from './hosted-calls.ts';
import { JsonExtent } from './json-extent.ts';
import { readLogprobs, writeLogprobs } from './logprobs.ts';
import { type PartTerms, readPart, signatureOf, signaturesOf, signed, writeCall, writeModelParts } from './message.ts';
import { CallPieces } from './partial-calls.ts';
import { fieldsOf, listOf } from './proto-json.ts';
import { blockFinish, finishFields, readReport } from './response.ts';
import { DIALECT } from './schema.ts';
import { servedTier, writeUsage } from './usage.ts';

/** More calls in one choice are no answer any more. */
const MAX_CALLS_PER_CHOICE = 1_024;
/** More candidates than anybody can ask for. */
const MAX_CANDIDATES = 128;
/** Arguments are kept until they are whole, since this protocol sends them as an object. */
const MAX_KEPT_CHARACTERS = 16 * 1024 * 1024;

/** What is known of a candidate while it comes. */
interface Candidate {
  calls: number;
  finished: boolean;
  readonly places: TextPlaces;
  readonly pieces: CallPieces;
  /** What it is grounded in, and recites: of each member the last that was told. */
  sources: JsonObject;
}

const SOURCES = ['groundingMetadata', 'citationMetadata'] as const;

/** States: running, then ended by `#end` with `error` or `end`. */
export class GeminiStreamDecoder implements StreamDecoder {
  readonly #splitter = new SseSplitter();
  #events: StreamEvent[] = [];
  #started = false;
  #ended = false;
  #finishSeen = false;
  #serviceTier: ServiceTier | undefined;
  #usage: JsonObject | undefined;
  #modelVersion: unknown;
  readonly #candidates = new Map<number, Candidate>();
  readonly #calls = new HostedCalls();
  /** Since usage was reported last. */
  #calledSince = false;
  #generatedSince = false;
  #mint = idMint('');

  push(bytes: Buffer): StreamEvent[] {
    return this.#run(() => this.#splitter.push(bytes));
  }

  end(): StreamEvent[] {
    const events = this.#run(() => this.#splitter.end());
    if (this.#ended) return events;
    if (this.#finishSeen) this.#end({ type: 'end' });
    else {
      const error = new GatewayError('upstream_error', { source: 'upstream', message: 'The provider closed the stream before its end.' });
      this.#end({ type: 'error', error });
    }
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
    // Calls may be shown behind the last count of tokens.
    if (event.type === 'end' && this.#calledSince && !this.#generatedSince) this.#report();
    this.#events.push(event);
    this.#ended = true;
  }

  #read(event: SseEvent): void {
    const answer = readAnswerEvent(event);
    if (answer === undefined) return;
    if (isFailure(answer)) {
      this.#end({ type: 'error', error: errorFromAnswer(answer) });
      return;
    }
    this.#readEnvelope(answer);
    const before = this.#events.length;
    if (this.#calls.add(answer.candidates)) this.#calledSince = true;
    const candidates = listOf(answer.candidates).filter(isObject);
    for (const [place, candidate] of candidates.entries()) this.#readCandidate(candidate, number(candidate.index) ?? place);
    const blocked = candidates.length === 0 ? blockFinish(answer) : undefined;
    if (blocked !== undefined) {
      this.#finishSeen = true;
      this.#events.push({ type: 'finish', choice: 0, finish: blocked });
    }
    if (isObject(answer.usageMetadata)) this.#readUsage(answer.usageMetadata);
    else this.#generatedSince ||= this.#events.slice(before).some(({ type }) => type !== 'finish' && type !== 'citation');
  }

  #readEnvelope(answer: JsonObject): void {
    this.#modelVersion = answer.modelVersion ?? this.#modelVersion;
    if (this.#started) return;
    this.#started = true;
    const id = text(answer.responseId) ?? '';
    this.#mint = idMint(id);
    const created = Date.parse(text(answer.createTime) ?? '');
    this.#events.push({
      type: 'start',
      dialect: DIALECT,
      id,
      createdSeconds: Number.isNaN(created) ? undefined : Math.floor(created / 1000),
      model: text(answer.modelVersion),
      rest: NO_REST,
    });
  }

  #report(): void {
    const report = readReport({ usageMetadata: this.#usage, modelVersion: this.#modelVersion }, this.#calls);
    if (report !== undefined) this.#events.push({ type: 'usage', report });
  }

  #readUsage(usage: JsonObject): void {
    this.#usage = mergeUsage(this.#usage, usage);
    this.#calledSince = false;
    this.#generatedSince = false;
    this.#report();
    const serviceTier = servedTier(usage);
    if (serviceTier === undefined || serviceTier === this.#serviceTier) return;
    this.#serviceTier = serviceTier;
    this.#events.push({ type: 'service_tier', serviceTier });
  }

  #readCandidate(candidate: JsonObject, choice: number): void {
    const state = this.#candidate(choice);
    let logprobs: unknown = readLogprobs(candidate.logprobsResult);
    const finishes = hasFinished(candidate.finishReason);
    const parts = listOf(fieldsOf(candidate.content).parts).flatMap((value) => state.pieces.take(value));
    for (const value of finishes ? [...parts, ...state.pieces.end()] : parts) {
      this.#readPart(value, choice, state, logprobs);
      if (typeof fieldsOf(value).text === 'string') logprobs = undefined;
    }
    for (const name of SOURCES) {
      const told = candidate[name];
      if (isObject(told)) state.sources = { ...state.sources, [name]: { ...fieldsOf(state.sources[name]), ...told } };
    }
    if (state.finished || !hasFinished(candidate.finishReason)) return;
    // By now all of the text is here that they are places in.
    for (const citation of readCitations(state.sources, state.places)) this.#events.push({ type: 'citation', choice, citation });
    const finish = readFinish(candidate.finishReason, state.calls > 0, candidate.finishMessage);
    state.finished = true;
    this.#finishSeen = true;
    this.#events.push({ type: 'finish', choice, finish });
  }

  #candidate(choice: number): Candidate {
    const known = this.#candidates.get(choice);
    if (known !== undefined) return known;
    if (this.#candidates.size >= MAX_CANDIDATES) {
      throw new AnswerLimitError(`more than ${MAX_CANDIDATES} candidates`);
    }
    const begun: Candidate = { calls: 0, finished: false, places: new TextPlaces(), pieces: new CallPieces(), sources: NO_REST };
    this.#candidates.set(choice, begun);
    return begun;
  }

  #readPart(value: unknown, choice: number, state: Candidate, logprobs: unknown): void {
    const part = readPart(value, (call) => this.#mint(choice, state.calls, call));
    const events = this.#events;
    switch (part.type) {
      case 'text':
        if (part.text !== '') {
          state.places.add(part.text);
          events.push({ type: 'text', choice, text: part.text, logprobs });
        }
        break;
      case 'reasoning':
        if (part.text !== '') events.push({ type: 'reasoning', choice, text: part.text });
        break;
      case 'tool_call': {
        const call = state.calls++;
        if (call >= MAX_CALLS_PER_CHOICE) {
          throw new AnswerLimitError(`more than ${MAX_CALLS_PER_CHOICE} tool calls`);
        }
        const { id, name, kind, carriers = [] } = part;
        events.push({ type: 'tool_call_start', choice, call, id, name, kind, carriers, rest: part.rest });
        events.push({ type: 'tool_call_arguments', choice, call, text: part.arguments });
        return;
      }
      case 'image':
      case 'audio':
        events.push({ type: 'media', choice, part });
        break;
      case 'foreign':
        events.push({ type: 'foreign', choice, part });
        return;
      case 'video':
      case 'file':
        events.push({ type: 'foreign', choice, part: { type: 'foreign', dialect: DIALECT, value: fieldsOf(value) } });
        break;
      case 'refusal':
      case 'tool_result':
        break;
      default:
        part satisfies never;
    }
    for (const carrier of signaturesOf(value)) events.push({ type: 'reasoning_carrier', choice, carrier });
  }
}

/** The answer in an event; undefined for comments. Google tells of an error in a stream with bare JSON, too. */
export function readAnswerEvent({ data, raw }: SseEvent): JsonObject | undefined {
  const bare = data === undefined && (raw[0] === OPEN_BRACE || raw[0] === OPEN_BRACKET);
  if (!bare && (data === undefined || data.length === 0)) return undefined;
  try {
    const answer = parseExact((data ?? raw).toString('utf8'));
    const inner: unknown = Array.isArray(answer) ? answer[0] : answer;
    if (isObject(inner)) return inner;
    throw new TypeError('an event that is not an object');
  } catch (cause) {
    throw new GatewayError('upstream_error', { source: 'upstream', message: "The provider's stream could not be read.", cause });
  }
}

export function isFailure({ error }: JsonObject): boolean {
  return error !== undefined && error !== null;
}

const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;

/** A call whose arguments are still coming. */
interface KeptCall {
  readonly start: StreamEvent & { readonly type: 'tool_call_start' };
  arguments: string;
  readonly extent: JsonExtent;
  /** They were closed, and no object: nothing that follows makes them one. */
  isBroken: boolean;
}

/** What of a candidate is kept for later. */
interface Kept {
  /** The last piece of thinking, which a signature that follows belongs to. */
  thought: string;
  calls: KeptCall[];
  isBroken: boolean;
  finish: Finish | undefined;
  readonly citations: Citation[];
  readonly places: TextPlaces;
}

/** Writes an answer for each piece. Finish, sources and usage come with the last. */
export class GeminiStreamEncoder implements StreamEncoder {
  readonly #terms: EncodeStreamTerms;
  readonly #framing: Framing;
  #model: string | undefined;
  #usage: UsageReport | undefined;
  #serviceTier: ServiceTier | undefined;
  readonly #kept = new Map<number, Kept>();
  readonly #parts: Pick<PartTerms, 'toClient' | 'isOurs' | 'nameOf'>;
  readonly #losses = new StreamLosses();
  #keptCharacters = 0;
  #sent = false;

  constructor(terms: EncodeStreamTerms, framing: Framing) {
    this.#terms = terms;
    this.#framing = framing;
    this.#model = terms.model;
    this.#parts = { toClient: true, isOurs: false, nameOf: (name) => originalToolName(name, terms.request.tools) };
  }

  push(events: readonly StreamEvent[]): Buffer[] {
    const out: Buffer[] = [];
    for (const event of events) this.#write(event, out);
    return out;
  }

  end(costUsdLiteral: string | undefined): Buffer[] {
    const candidates = [...this.#kept].map(([index, kept]) => {
      const parts = [...thoughtParts(kept), ...this.#callParts(kept, true)];
      return {
        // Google's own SDK forgets an answer of which one content has no parts.
        content: { parts: parts.length === 0 ? [{ text: '' }] : parts, role: 'model' },
        ...(kept.finish === undefined ? {} : finishFields(kept.finish, kept.isBroken)),
        index,
        groundingMetadata: writeGrounding(kept.citations, kept.places),
      };
    });
    const head = this.#answer(candidates);
    const { usage, reasoningTokens } = this.#usage ?? {};
    const counts =
      usage === undefined
        ? ''
        : `,"usageMetadata":${withLiteral(
            { ...writeUsage(usage, reasoningTokens, this.#serviceTier), ...this.#losses.member('meridianLoss') },
            'costUsd',
            costUsdLiteral,
          )}`;
    const last = this.#frame(`${head.slice(0, -1)}${counts}}`);
    const end = this.#framing.end(false);
    return end === undefined ? [last] : [last, end];
  }

  failure(error: GatewayError): Buffer[] {
    return streamError(error, this.#terms.requestId, this.#framing, !this.#sent);
  }

  #write(event: StreamEvent, out: Buffer[]): void {
    switch (event.type) {
      case 'start':
        this.#model ??= event.model;
        break;
      case 'text': {
        const kept = this.#flush(event.choice, out);
        kept.places.add(event.text);
        this.#part(event.choice, { text: event.text }, out, event.logprobs);
        break;
      }
      case 'refusal':
        this.#flush(event.choice, out);
        this.#part(event.choice, { text: event.text }, out);
        break;
      case 'reasoning': {
        const kept = this.#flush(event.choice, out);
        kept.thought = event.text;
        break;
      }
      case 'reasoning_carrier':
        this.#carrier(event, out);
        break;
      case 'citation':
        this.#of(event.choice).citations.push(event.citation);
        break;
      case 'media':
      case 'foreign': {
        this.#flush(event.choice, out);
        const [part] = writeModelParts([event.part], {
          ...this.#parts,
          param: 'candidates',
          lost: (name, at) => this.#losses.add({ name, at }),
        });
        if (part !== undefined) this.#part(event.choice, part, out);
        break;
      }
      case 'tool_call_start': {
        const kept = this.#of(event.choice);
        this.#flushThought(event.choice, kept, out);
        kept.calls.push({ start: event, arguments: '', extent: new JsonExtent(), isBroken: false });
        break;
      }
      case 'tool_call_arguments': {
        const open = this.#of(event.choice).calls.find(({ start }) => start.call === event.call);
        if (open === undefined) break;
        this.#keptCharacters += event.text.length;
        if (this.#keptCharacters > MAX_KEPT_CHARACTERS) {
          throw new AnswerLimitError(`arguments of more than ${MAX_KEPT_CHARACTERS} characters`);
        }
        open.arguments += event.text;
        open.extent.push(event.text);
        break;
      }
      case 'finish':
        this.#of(event.choice).finish = event.finish;
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
        event satisfies never;
    }
  }

  /** A signature that ends a block of thinking stands on its last piece; a signature alone stands by itself. */
  #carrier({ choice, carrier }: StreamEvent & { readonly type: 'reasoning_carrier' }, out: Buffer[]): void {
    const kept = this.#of(choice);
    const signature = signatureOf([carrier], true);
    if (kept.thought !== '') {
      this.#part(choice, signed({ text: kept.thought, thought: true }, signature), out);
      kept.thought = '';
      return;
    }
    this.#flush(choice, out);
    if (signature === undefined) return;
    this.#part(choice, { ...(carrier.dialect === DIALECT ? { text: '' } : { thought: true }), thoughtSignature: signature }, out);
  }

  #of(choice: number): Kept {
    const known = this.#kept.get(choice);
    if (known !== undefined) return known;
    const begun: Kept = { thought: '', calls: [], isBroken: false, finish: undefined, citations: [], places: new TextPlaces() };
    this.#kept.set(choice, begun);
    return begun;
  }

  /** Hands on what was kept before content of another kind, so that all stays in its order. */
  #flush(choice: number, out: Buffer[]): Kept {
    const kept = this.#of(choice);
    this.#flushThought(choice, kept, out);
    if (kept.calls.length > 0) for (const part of this.#callParts(kept, false)) this.#part(choice, part, out);
    return kept;
  }

  #flushThought(choice: number, kept: Kept, out: Buffer[]): void {
    for (const part of thoughtParts(kept)) this.#part(choice, part, out);
  }

  /** The calls that are whole, or all. A call whose arguments will never be an object is not shown, and told of by the finish. */
  #callParts(kept: Kept, all: boolean): JsonObject[] {
    const parts: JsonObject[] = [];
    const waiting: KeptCall[] = [];
    for (const call of kept.calls) {
      const { id, name, kind, carriers = [] } = call.start;
      const whole: ToolCallPart = { type: 'tool_call', id, name, arguments: call.arguments, kind, carriers, rest: NO_REST };
      // Each is read at most once before the end, whatever comes between its pieces.
      const isRead = all || (waiting.length === 0 && mayBeWhole(call));
      const written = isRead ? writeCall(whole, this.#parts) : undefined;
      if (written !== undefined) {
        parts.push(written);
        this.#keptCharacters -= call.arguments.length;
      } else if (all) kept.isBroken = true;
      else {
        call.isBroken ||= isRead;
        waiting.push(call);
      }
    }
    kept.calls = waiting;
    return parts;
  }

  #part(choice: number, part: JsonObject, out: Buffer[], logprobs?: unknown): void {
    const candidate = { content: { parts: [part], role: 'model' }, index: choice, logprobsResult: writeLogprobs(logprobs) };
    out.push(this.#frame(this.#answer([candidate])));
  }

  #answer(candidates: readonly JsonObject[]): string {
    return JSON.stringify({ candidates, modelVersion: this.#model, responseId: this.#terms.requestId });
  }

  #frame(json: string): Buffer {
    const framed = this.#framing.frame(Buffer.from(json), !this.#sent);
    this.#sent = true;
    return framed;
  }
}

function mayBeWhole(call: KeptCall): boolean {
  // Free text has no end that shows.
  return call.arguments !== '' && !call.isBroken && (call.start.kind === 'custom' || call.extent.isClosed);
}

function thoughtParts(kept: Kept): JsonObject[] {
  const { thought } = kept;
  kept.thought = '';
  return thought === '' ? [] : [{ text: thought, thought: true }];
}
