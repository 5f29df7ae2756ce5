/**
 * The attempt loop: one candidate after another until one answers or the delivery is committed.
 *
 * It ends in exactly one of: a whole answer, a finished stream, one that was cut by a limit of ours, a failure, or an abandonment (the client left and what
 * was still to come is not waited for). Every call to a provider leaves a trace, whether it answered or not.
 */
import { GatewayError } from '@meridian/domain/error';
import type { ErrorCode } from '@meridian/domain/error-code';
import type { Loss } from '../canonical/loss.ts';
import { AnswerLimitError } from '../dialect/answer-limit.ts';
import type { Answer, AnswerFacts, AnswerStream, RequestFacts, StreamTerms } from '../dialect/dialect.ts';
import type { Lane } from '../dialect/lane.ts';
import type { ProviderAdapter } from '../provider/provider.ts';
import type { Upstream, UpstreamCall, UpstreamFailure, UpstreamHandler, UpstreamTimeouts } from '../upstream/call.ts';
import type { Delivery } from './commit.ts';
import type { Candidate } from './plan.ts';

/** The largest JSON answer that is held in memory. */
export const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** What an upstream sends after the end of its stream is thrown away so far; beyond that the call is cut. */
const MAX_REST_BYTES = 64 * 1024;
const EVENT_STREAM = /^text\/event-stream\b/i;
/** An error body is read no further than this. */
const MAX_ERROR_BODY_BYTES = 64 * 1024;

export interface AttemptRooms {
  readonly upstream: Upstream;
  readonly providerFor: (adapter: string) => ProviderAdapter | undefined;
  readonly timeouts: (candidate: Candidate, facts: RequestFacts) => UpstreamTimeouts;
  readonly nowMs: () => number;
}

export interface AttemptJob {
  readonly requestId: string;
  readonly facts: RequestFacts;
  /** The way to a candidate and back. Throws GatewayError 400 where the request cannot be said in its dialect. */
  readonly laneTo: (candidate: Candidate) => Lane;
  readonly candidates: readonly [Candidate, ...Candidate[]];
  /** Written into a request whose client gave no output limit; undefined adds none. */
  readonly maxOutputTokens: number | undefined;
  /** The model's name as the client is to read it; undefined leaves the upstream's. */
  readonly model: string | undefined;
  /** Edits of the answer's stream; absent for a JSON answer. */
  readonly streamTerms: StreamTerms | undefined;
  readonly delivery: Delivery | undefined;
}

/** One call to a provider and how it went. */
export interface Trace {
  readonly candidate: Candidate;
  readonly startedMs: number;
  status: number;
  endedMs: number;
  errorCode: ErrorCode | undefined;
  upstreamRequestId: string | undefined;
  /** What was read of the answer; undefined when none came. */
  facts: AnswerFacts | undefined;
  /** When the first piece of the answer's body came. */
  firstByteMs: number | undefined;
  /** What of the request could not be said in the upstream's dialect. */
  losses: readonly Loss[];
}

export type AttemptEnd =
  | { readonly kind: 'answer'; readonly answer: Answer; readonly served: Trace }
  | { readonly kind: 'stream'; readonly stream: AnswerStream; readonly served: Trace }
  /** A limit of ours has ended a stream of which the client was sent something, or would have been. */
  | { readonly kind: 'cut'; readonly error: GatewayError; readonly served: Trace }
  | { readonly kind: 'failed'; readonly error: GatewayError }
  | { readonly kind: 'abandoned'; readonly served: Trace | undefined };

export interface RunningAttempt {
  readonly done: Promise<AttemptEnd>;
  readonly traces: readonly Trace[];
  /** The client left: the present call goes on, and no other candidate is asked on behalf of nobody. Idempotent. */
  clientGone(): void;
  /** The client left, and what is still to come is not waited for. Idempotent. */
  abandon(): void;
  /** The node stops: ends as a failure with this error. Idempotent. */
  interrupt(error: GatewayError): void;
}

/** Starts the loop. `done` never rejects. */
export function attempt(rooms: AttemptRooms, job: AttemptJob): RunningAttempt {
  const loop = new AttemptLoop(rooms, job);
  loop.start();
  return loop;
}

class AttemptLoop implements RunningAttempt {
  readonly traces: Trace[] = [];
  readonly done: Promise<AttemptEnd>;
  readonly #rooms: AttemptRooms;
  readonly #job: AttemptJob;
  #resolve: (end: AttemptEnd) => void = () => {};
  #next = 0;
  #call: UpstreamCall | undefined;
  #reader: AnswerReader | undefined;
  #ended = false;
  #clientGone = false;

  constructor(rooms: AttemptRooms, job: AttemptJob) {
    this.#rooms = rooms;
    this.#job = job;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  start(): void {
    this.#tryNext();
  }

  clientGone(): void {
    this.#clientGone = true;
  }

  abandon(): void {
    if (this.#ended) return;
    this.#finish({ kind: 'abandoned', served: this.#cut() });
  }

  interrupt(error: GatewayError): void {
    if (this.#ended) return;
    const trace = this.#cut();
    if (trace !== undefined) trace.errorCode = error.code;
    this.#finish({ kind: 'failed', error });
  }

  /** Ends the present call; its trace keeps what was read of the answer. */
  #cut(): Trace | undefined {
    this.#call?.cancel();
    this.#reader?.stop();
    const trace = this.traces.at(-1);
    if (trace !== undefined) {
      trace.endedMs = this.#rooms.nowMs();
      trace.facts = this.#reader?.facts;
    }
    return trace;
  }

  #finish(end: AttemptEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#resolve(end);
  }

  #tryNext(): void {
    const { candidates, facts } = this.#job;
    const candidate = candidates[this.#next++];
    if (candidate === undefined) throw new Error('the loop ran past its last candidate');
    const startedMs = this.#rooms.nowMs();
    const trace: Trace = {
      candidate,
      startedMs,
      status: 0,
      endedMs: startedMs,
      errorCode: undefined,
      upstreamRequestId: undefined,
      facts: undefined,
      firstByteMs: undefined,
      losses: [],
    };
    this.traces.push(trace);
    const adapter = this.#rooms.providerFor(candidate.provider.adapter);
    if (adapter === undefined) {
      this.#failed(trace, new GatewayError('upstream_error', { cause: `unknown adapter ${candidate.provider.adapter}` }));
      return;
    }
    try {
      const lane = this.#job.laneTo(candidate);
      const { body, losses } = lane.request({
        model: candidate.endpoint.upstreamModel,
        maxOutputTokens: this.#job.maxOutputTokens,
        modelMaxOutputTokens: candidate.model.maxOutputTokens,
        capabilities: candidate.model.capabilities,
        quirks: adapter.quirks(candidate.provider),
      });
      trace.losses = losses;
      const reader = new AnswerReader(this.#rooms, this.#job, lane, trace, adapter, {
        answered: (end) => this.#finish(end),
        failed: (error) => this.#failed(trace, error),
      });
      this.#reader = reader;
      const target = adapter.target({
        provider: candidate.provider,
        endpoint: candidate.endpoint,
        secret: candidate.secret,
        operation: facts.operation,
        stream: facts.stream,
        passOn: lane.passOn,
        requestId: this.#job.requestId,
      });
      this.#call = this.#rooms.upstream.dispatch(
        {
          origin: target.origin,
          path: target.path,
          method: 'POST',
          headers: target.headers,
          body,
          timeouts: this.#rooms.timeouts(candidate, facts),
        },
        reader,
      );
      reader.call = this.#call;
    } catch (thrown) {
      this.#failed(trace, GatewayError.from(thrown));
    }
  }

  #failed(trace: Trace, error: GatewayError): void {
    trace.endedMs = this.#rooms.nowMs();
    trace.errorCode = error.code;
    const mayTryAnother = error.source === 'upstream' && error.retryable && !this.#clientGone && this.#job.delivery?.state !== 'committed';
    if (mayTryAnother && this.#next < this.#job.candidates.length && !this.#ended) this.#tryNext();
    else this.#finish({ kind: 'failed', error });
  }
}

interface ReaderEnd {
  answered(end: AttemptEnd): void;
  failed(error: GatewayError): void;
}

/** Reads one upstream answer: an error body, a whole JSON answer, or a stream that is handed on as it comes. */
class AnswerReader implements UpstreamHandler {
  call: UpstreamCall | undefined;
  readonly #rooms: AttemptRooms;
  readonly #job: AttemptJob;
  readonly #lane: Lane;
  readonly #trace: Trace;
  readonly #adapter: ProviderAdapter;
  readonly #end: ReaderEnd;
  #headers: Readonly<Record<string, string>> = {};
  #stream: AnswerStream | undefined;
  #chunks: Buffer[] = [];
  #heldBytes = 0;
  #over = false;
  /** Something was pushed into the stream that is not handed on yet. */
  #progressDue = false;

  constructor(rooms: AttemptRooms, job: AttemptJob, lane: Lane, trace: Trace, adapter: ProviderAdapter, end: ReaderEnd) {
    this.#rooms = rooms;
    this.#job = job;
    this.#lane = lane;
    this.#trace = trace;
    this.#adapter = adapter;
    this.#end = end;
  }

  /** Nothing is handed on any more. */
  stop(): void {
    this.#over = true;
  }

  /** What was read of the answer so far; undefined before a stream has begun. */
  get facts(): AnswerFacts | undefined {
    return this.#stream?.facts;
  }

  onHead(status: number, headers: Readonly<Record<string, string>>): void {
    this.#headers = headers;
    this.#trace.status = status;
    this.#trace.upstreamRequestId = this.#adapter.upstreamRequestId(headers)?.slice(0, 128);
    const encoding = headers['content-encoding'] ?? '';
    if (encoding !== '' && encoding.toLowerCase() !== 'identity') {
      // Asked for as it is, and sent packed all the same: what cannot be read can be neither billed nor checked.
      this.#cut(this.#isSuccess ? unreadable(`content-encoding: ${encoding.slice(0, 64)}`) : this.#upstreamError());
      return;
    }
    const terms = this.#job.streamTerms;
    if (terms !== undefined && this.#isSuccess && EVENT_STREAM.test(headers['content-type'] ?? '')) {
      this.#stream = this.#lane.stream(terms);
      this.#job.delivery?.answeredBy({
        providerId: this.#trace.candidate.provider.id,
        attempts: this.#job.candidates.indexOf(this.#trace.candidate) + 1,
        actualModel: this.#trace.candidate.model.id,
        costUsdLiteral: undefined,
        losses: this.#trace.losses,
      });
    }
  }

  onData(chunk: Buffer): void {
    if (this.#over) {
      this.#dropRest(chunk);
      return;
    }
    this.#trace.firstByteMs ??= this.#rooms.nowMs();
    if (this.#stream !== undefined) {
      this.#stream.push(chunk);
      if (this.#stream.end.state !== 'running') this.#progress(this.#stream);
      else if (!this.#progressDue) {
        // A read brings many of an upstream's pieces at once: they are handed on together, when all of them have been pushed.
        this.#progressDue = true;
        queueMicrotask(() => this.#progressNow());
      }
      return;
    }
    const limitBytes = this.#isSuccess ? MAX_ANSWER_BYTES : MAX_ERROR_BODY_BYTES;
    this.#heldBytes += chunk.length;
    if (this.#heldBytes <= limitBytes) {
      this.#chunks.push(chunk);
    } else if (limitBytes === MAX_ANSWER_BYTES) {
      this.#cut(new GatewayError('upstream_error', { source: 'upstream', message: 'The provider sent an answer that is too large.' }));
    } else {
      this.#cut(this.#upstreamError());
    }
  }

  onEnd(): void {
    if (this.#over) return;
    this.#over = true;
    this.#trace.endedMs = this.#rooms.nowMs();
    if (this.#stream !== undefined) {
      this.#stream.close();
      this.#progress(this.#stream);
      return;
    }
    try {
      const answer = this.#wholeAnswer();
      this.#trace.facts = answer.facts;
      this.#end.answered({ kind: 'answer', answer, served: this.#trace });
    } catch (thrown) {
      this.#end.failed(GatewayError.from(thrown));
    }
  }

  onFailure(failure: UpstreamFailure): void {
    if (this.#progressDue) this.#progressNow();
    if (this.#over) return;
    this.#over = true;
    if (this.#stream !== undefined) this.#trace.facts = this.#stream.facts;
    this.#end.failed(failureError(failure));
  }

  #progressNow(): void {
    if (!this.#progressDue || this.#over || this.#stream === undefined) return;
    try {
      this.#progress(this.#stream);
    } catch (thrown) {
      this.#cut(GatewayError.from(thrown));
    }
  }

  #progress(stream: AnswerStream): void {
    this.#progressDue = false;
    const { call } = this;
    if (call !== undefined) this.#job.delivery?.progress(stream, call);
    const { end } = stream;
    if (end.state === 'running') return;
    this.#over = true;
    this.#trace.facts = stream.facts;
    this.#trace.endedMs = this.#rooms.nowMs();
    if (end.state === 'finished') {
      // The end has been read; a call that waits for a slow client would keep its connection until that has read, too.
      call?.resume();
      this.#end.answered({ kind: 'stream', stream, served: this.#trace });
    } else {
      call?.cancel();
      if (end.error instanceof AnswerLimitError && stream.committed) {
        this.#trace.errorCode = end.error.code;
        this.#end.answered({ kind: 'cut', error: end.error, served: this.#trace });
      } else this.#end.failed(end.error);
    }
  }

  #dropRest(chunk: Buffer): void {
    this.#heldBytes += chunk.length;
    if (this.#heldBytes > MAX_REST_BYTES) this.call?.cancel();
  }

  get #isSuccess(): boolean {
    return this.#trace.status >= 200 && this.#trace.status < 300;
  }

  /** Throws GatewayError for an error answer, also one in a success's clothes. */
  #wholeAnswer(): Answer {
    if (!this.#isSuccess) throw this.#upstreamError();
    const answer = this.#lane.answer(this.#body(), this.#job);
    if (this.#job.streamTerms === undefined) return answer;
    throw new GatewayError('upstream_error', {
      source: 'upstream',
      message: 'The provider answered a streaming request without a stream.',
    });
  }

  #cut(error: GatewayError): void {
    this.#over = true;
    this.call?.cancel();
    this.#end.failed(error);
  }

  #upstreamError(): GatewayError {
    return this.#lane.upstreamError(this.#trace.status, this.#headers, this.#body());
  }

  #body(): Buffer {
    const [only] = this.#chunks;
    return this.#chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.#chunks);
  }
}

function unreadable(cause: string): GatewayError {
  return new GatewayError('upstream_error', { source: 'upstream', message: "The provider's answer could not be read.", cause });
}

function failureError(failure: UpstreamFailure): GatewayError {
  switch (failure.kind) {
    case 'connect_timeout':
    case 'first_byte_timeout':
    case 'idle_timeout':
    case 'total_timeout':
      return new GatewayError('upstream_timeout', { source: 'upstream', cause: failure });
    case 'connect_failed':
    case 'reset':
    case 'protocol_error':
    case 'cancelled':
      return new GatewayError('upstream_error', { source: 'upstream', message: 'The connection to the provider failed.', cause: failure });
    default:
      return failure.kind satisfies never;
  }
}
