/**
 * The answer to one turn, on the way to its client: each event of the dialect's stream is one text message that holds the event's data.
 * Errors are error messages.
 */
import { GatewayError } from '@meridian/domain/error';
import { lossHeader } from '../../canonical/loss.ts';
import type { Dialect } from '../../dialect/dialect.ts';
import { JsonCursor, scanObject, valueAt } from '../../dialect/json-scanner.ts';
import { SseSplitter } from '../../dialect/sse.ts';
import type { Reply } from '../../exchange.ts';
import type { AnswerMeta } from '../../routing/commit.ts';
import { withoutState } from './reasoning-state.ts';
import { errorMessage } from './refusal.ts';

/** The client's side of a connection, as its turns see it. */
export interface Outlet {
  /** The connection is closed, or closing. */
  readonly gone: boolean;
  /** One text message. */
  send(text: Buffer): void;
  /** False when the client is slow: nothing more until `onDrain` calls. */
  readonly ready: boolean;
  onDrain(resume: () => void): void;
  ping(): void;
}

export interface TurnTerms {
  readonly requestId: string;
  readonly dialect: Dialect;
  readonly streamId: string | undefined;
  /** The client has not asked for the state of the model's reasoning; known when its request is. */
  readonly hidesReasoningState: () => boolean;
  readonly outlet: Outlet;
  readonly onError: (error: GatewayError) => void;
  readonly onStatus: (status: number) => void;
}

/** What later turns can follow. */
export interface AnsweredTurn {
  readonly responseId: string;
  /** Joined by commas; part of a larger buffer. */
  readonly outputItems: Buffer;
}

/** Ends of a response that may be followed; `response.failed` may not. */
const FOLLOWABLE: ReadonlySet<string> = new Set(['response.completed', 'response.incomplete']);
const EVENT_FIELDS: ReadonlySet<string> = new Set(['type', 'response']);
const RESPONSE_FIELDS: ReadonlySet<string> = new Set(['id', 'output']);
const NUMBER_FIELD: ReadonlySet<string> = new Set(['sequence_number']);
const END_MARK = '[DONE]';
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

export class TurnReply implements Reply {
  readonly #terms: TurnTerms;
  readonly #splitter = new SseSplitter();
  readonly #laneField: Buffer | undefined;
  #onGone: (() => void) | undefined;
  #opened = false;
  #ended = false;
  #answered: AnsweredTurn | undefined;

  constructor(terms: TurnTerms) {
    this.#terms = terms;
    this.#laneField = terms.streamId === undefined ? undefined : Buffer.from(`{"stream_id":${JSON.stringify(terms.streamId)},`);
  }

  /** Once it has ended well. */
  get answered(): AnsweredTurn | undefined {
    return this.#answered;
  }

  get gone(): boolean {
    return this.#terms.outlet.gone;
  }

  onGone(run: () => void): void {
    this.#onGone = run;
    if (this.gone) run();
  }

  /** The connection has closed. */
  connectionGone(): void {
    this.#onGone?.();
  }

  open(meta: AnswerMeta | undefined): void {
    if (this.#opened) return;
    this.#opened = true;
    this.#terms.onStatus(200);
    const loss = lossHeader(meta?.losses ?? []);
    if (loss === undefined) return;
    // A turn has no headers of its own; clients pass over events of a type that they do not know.
    this.#send(Buffer.from(JSON.stringify({ type: 'meridian:loss', loss, request_id: this.#terms.requestId })));
  }

  write(events: readonly Buffer[]): boolean {
    for (const event of events) {
      for (const data of this.#dataOf(event)) this.#send(data);
    }
    return this.#terms.outlet.ready;
  }

  onDrain(resume: () => void): void {
    this.#terms.outlet.onDrain(resume);
  }

  /** Clients that time their wait for the next event are not put at ease by a ping, so this is a message where the dialect has one. */
  keepAlive(): void {
    const [data] = new SseSplitter().push(this.#terms.dialect.keepAlive).map((event) => event.data);
    if (data === undefined) this.#terms.outlet.ping();
    else this.#send(data);
  }

  finish(events: readonly Buffer[]): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const event of events) {
      for (const data of this.#dataOf(event)) {
        this.#answered = answeredBy(data) ?? this.#answered;
        this.#send(data);
      }
    }
  }

  /** One error message, and nothing after it: over HTTP a response that fails after an error says so, too, but here the next turn begins. */
  breakOff(error: GatewayError, bytes: readonly Buffer[] = []): void {
    this.#terms.onError(error);
    const [first] = bytes.flatMap((event) => this.#dataOf(event));
    this.#sendError(error, first === undefined ? undefined : sequenceNumberOf(first));
  }

  fail(error: GatewayError): void {
    this.#terms.onError(error);
    if (!this.#opened) this.#terms.onStatus(error.status);
    this.#opened = true;
    this.#sendError(error);
  }

  /** Turns are streams. */
  answer(): void {
    this.fail(new GatewayError('internal_error', { cause: 'a turn of a WebSocket was answered as a whole' }));
  }

  #sendError(error: GatewayError, sequenceNumber?: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#terms.outlet.send(errorMessage(error, this.#terms.dialect, { ...this.#terms, sequenceNumber }));
  }

  #dataOf(event: Buffer): Buffer[] {
    const found: Buffer[] = [];
    for (const { data } of this.#splitter.push(event)) {
      if (data !== undefined && data.length > 0 && data.toString('latin1', 0, END_MARK.length + 1) !== END_MARK) found.push(data);
    }
    return found;
  }

  #send(event: Buffer): void {
    const data = this.#terms.hidesReasoningState() ? withoutState(event) : event;
    const lane = this.#laneField;
    const takesLane = lane !== undefined && data[0] === OPEN_BRACE && data[1] !== CLOSE_BRACE;
    this.#terms.outlet.send(takesLane ? Buffer.concat([lane, data.subarray(1)]) : data);
  }
}

/** Of an event, among those of its response. */
function sequenceNumberOf(data: Buffer): number | undefined {
  const span = scanObject(data, NUMBER_FIELD).get('sequence_number');
  return span === undefined ? undefined : Number(valueAt(data, span));
}

/** Reads the last event of a response; undefined for any other. */
function answeredBy(data: Buffer): AnsweredTurn | undefined {
  try {
    const event = scanObject(data, EVENT_FIELDS);
    const type = event.get('type');
    const response = event.get('response');
    if (type === undefined || response === undefined || !FOLLOWABLE.has(String(valueAt(data, type)))) return undefined;
    const fields = scanObject(data, RESPONSE_FIELDS, response);
    const id = fields.get('id');
    const output = fields.get('output');
    if (id === undefined || output === undefined) return undefined;
    const responseId = valueAt(data, id);
    if (typeof responseId !== 'string') return undefined;
    const cursor = new JsonCursor(data, output);
    cursor.openArray();
    const outputItems = cursor.nextElement(true) ? data.subarray(cursor.position, output.end - 1) : Buffer.alloc(0);
    return { responseId, outputItems };
  } catch {
    // It goes to the client as it is. What cannot be read cannot be followed, and the next turn that tries is told so.
    return undefined;
  }
}
