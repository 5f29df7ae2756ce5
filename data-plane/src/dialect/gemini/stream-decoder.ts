/** An upstream's stream as canonical events. */
import { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import { AnswerLimitError } from '../answer-limit.ts';
import { EventStreamDecoder } from '../event-stream-decoder.ts';
import { parseExact } from '../exact-json.ts';
import { isObject, type JsonObject, NO_REST, number, text } from '../json.ts';
import type { SseEvent } from '../sse.ts';
import { errorFromAnswer } from '../upstream-error.ts';
import { mergeUsage } from '../usage-object.ts';
import { idMint } from './call-ids.ts';
import { readCitations, TextPlaces } from './citations.ts';
import { hasFinished, readFinish } from './finish.ts';
import { HostedCalls } from './hosted-calls.ts';
import { readLogprobs } from './logprobs.ts';
import { readPart, signaturesOf } from './message.ts';
import { CallPieces } from './partial-calls.ts';
import { fieldsOf, listOf } from './proto-json.ts';
import { blockFinish, readReport } from './response.ts';
import { DIALECT } from './schema.ts';
import { servedTier } from './usage.ts';

/** More calls in one choice are no answer any more. */
const MAX_CALLS_PER_CHOICE = 1_024;
/** More candidates than anybody can ask for. */
const MAX_CANDIDATES = 128;

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

export class GeminiStreamDecoder extends EventStreamDecoder {
  #started = false;
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

  protected override get isWhole(): boolean {
    return this.#finishSeen;
  }

  /** Calls may be shown behind the last count of tokens. */
  protected override settle(): void {
    if (this.#calledSince && !this.#generatedSince) this.#report();
  }

  protected override read(event: SseEvent): void {
    const answer = readAnswerEvent(event);
    if (answer === undefined) return;
    if (isFailure(answer)) {
      this.fail(errorFromAnswer(answer));
      return;
    }
    this.#readEnvelope(answer);
    const before = this.events.length;
    if (this.#calls.add(answer.candidates)) this.#calledSince = true;
    const candidates = listOf(answer.candidates).filter(isObject);
    for (const [place, candidate] of candidates.entries()) this.#readCandidate(candidate, number(candidate.index) ?? place);
    const blocked = candidates.length === 0 ? blockFinish(answer) : undefined;
    if (blocked !== undefined) {
      this.#finishSeen = true;
      this.events.push({ type: 'finish', choice: 0, finish: blocked });
    }
    if (isObject(answer.usageMetadata)) this.#readUsage(answer.usageMetadata);
    else this.#generatedSince ||= this.events.slice(before).some(({ type }) => type !== 'finish' && type !== 'citation');
  }

  #readEnvelope(answer: JsonObject): void {
    this.#modelVersion = answer.modelVersion ?? this.#modelVersion;
    if (this.#started) return;
    this.#started = true;
    const id = text(answer.responseId) ?? '';
    this.#mint = idMint(id);
    const created = Date.parse(text(answer.createTime) ?? '');
    this.events.push({
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
    if (report !== undefined) this.events.push({ type: 'usage', report });
  }

  #readUsage(usage: JsonObject): void {
    this.#usage = mergeUsage(this.#usage, usage);
    this.#calledSince = false;
    this.#generatedSince = false;
    this.#report();
    const serviceTier = servedTier(usage);
    if (serviceTier === undefined || serviceTier === this.#serviceTier) return;
    this.#serviceTier = serviceTier;
    this.events.push({ type: 'service_tier', serviceTier });
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
    for (const citation of readCitations(state.sources, state.places)) this.events.push({ type: 'citation', choice, citation });
    const finish = readFinish(candidate.finishReason, state.calls > 0, candidate.finishMessage);
    state.finished = true;
    this.#finishSeen = true;
    this.events.push({ type: 'finish', choice, finish });
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
    const events = this.events;
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
