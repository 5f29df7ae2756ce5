/**
 * A dialect: one protocol, spoken on both sides, to clients and to upstreams.
 *
 * Where client and upstream speak the same one, the pass-through lane forwards bytes and edits only what must change;
 * everywhere else requests and answers travel through the canonical language.
 */
import type { DialectName, Operation } from '@meridian/domain/dialect';
import type { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import type { Meter, Usage } from '@meridian/domain/usage';
import type { StreamEvent } from '../canonical/event.ts';
import type { Loss } from '../canonical/loss.ts';
import type { Request } from '../canonical/request.ts';
import type { Response } from '../canonical/response.ts';

/** What planning and admission read of a request, whatever its dialect. */
export interface RequestFacts {
  readonly operation: Operation;
  /** As the client wrote it. */
  readonly model: string;
  readonly stream: boolean;
  /** The client asked for a usage event in the stream. */
  readonly wantsStreamUsage: boolean;
  /** The least of the output limits given; undefined when none was. */
  readonly maxOutputTokens: number | undefined;
  /** Answers asked for (`n`), at least 1. */
  readonly choices: number;
  /** `standard` for auto, default and absent. */
  readonly serviceTier: ServiceTier;
  /** An upper bound in tokens for what the body holds: UTF-8 bytes of text + overhead a message and tool + maximum a medium. */
  readonly inputTokensBound: number;
  /** An upper bound for the characters of each message's text: bytes as they stand in the body. Absent where there are no messages. */
  readonly longestMessageBytes?: number;
  /** The model may read more than the body holds (documents, things it names, what a tool of the provider fetches): only its context is a bound. */
  readonly readsBeyondBody: boolean;
  /** The parameter whose cost the body does not bound, where there is one; the client has to give an output limit with it. */
  readonly unbounded: string | undefined;
  /** An output limit may be added to the request. */
  readonly takesOutputLimit: boolean;
  /** Images asked for. */
  readonly images: number;
  /** What is counted beside plain text, as far as the request shows it. */
  readonly beyondText?: readonly ShownMeter[];
  /** What the request needs of a model: `tools`, `vision`, `audio_input`, `json_schema`, `reasoning` … */
  readonly needs: readonly string[];
}

/** Something with a price of its own that a request asks for. */
export interface ShownMeter {
  readonly meter: Meter;
  /** The parameter that asks for it. */
  readonly param: string;
  /** So many pieces at most; undefined for tokens, which are in the bounds of input and output. */
  readonly atMost: number | undefined;
}

/** A request that stays in its dialect: its bytes, its facts, and where the fields stand that are spliced. */
export interface PassThroughRequest {
  readonly facts: RequestFacts;
  /** The upstream's body: the client's bytes with the model replaced, the usage event asked for in streams, and an output limit where one must be added. */
  rewrite(edits: RequestEdits): Buffer[];
}

export interface RequestEdits {
  readonly model: string;
  /** Written only when the client gave no limit of its own; undefined adds none. */
  readonly maxOutputTokens: number | undefined;
}

/** The text of a request's input, for when it is counted and not bounded. */
export interface InputText {
  /** Each stands in the prompt by itself. */
  readonly texts: readonly string[];
  /** Upper bound in tokens of all the rest of the body, without any instruction of a vendor's before it. */
  readonly otherTokensBound: number;
}

/** What metering reads of an answer. */
export interface AnswerFacts {
  /** Absent when the answer had none: it is counted then, as `estimated`. */
  readonly usage: Usage | undefined;
  /** More was generated after the last report of a stream: `usage` holds a part of the output. */
  readonly usageIsInterim: boolean;
  /** The tier the upstream says it served; undefined when it does not say. */
  readonly serviceTier: ServiceTier | undefined;
  /** The model name the upstream answered with. */
  readonly model: string | undefined;
  /** No text, no tool call, no refusal, no media, and no output tokens. */
  readonly empty: boolean;
  /** Counted from the answer's text for when `usage` is absent or interim: about one token in four bytes. */
  readonly countedOutputTokens: number;
  /** Reasoning tokens, a part of `usage`'s output; undefined where they were not told. */
  readonly reasoningTokens?: number | undefined;
}

/** A whole JSON answer in the pass-through lane. */
export interface PassThroughAnswer {
  readonly facts: AnswerFacts;
  /** The answer's bytes with `model` replaced (when given) and `usage.cost_usd` added (where there is a usage object). */
  rewrite(edits: { readonly model: string | undefined; readonly costUsdLiteral: string }): Buffer[];
}

export interface StreamTerms {
  readonly wantsStreamUsage: boolean;
  /** Replaces the answer's model name in every event; undefined leaves it. */
  readonly model: string | undefined;
}

/** How a stream of events stands. */
export type StreamEnd =
  | { readonly state: 'running' }
  /** The dialect's own end was seen (`[DONE]`), or the upstream closed after a finish reason. */
  | { readonly state: 'finished' }
  /** An error event, an unreadable event, or an end without a terminal event. */
  | { readonly state: 'broken'; readonly error: GatewayError };

/**
 * The pass-through lane of a stream: a synchronous, bounded machine. Bytes go in; events come out cut at their
 * boundaries, edited, and classified. Events that carry usage, and all that follow them, are held back for `terminal`.
 */
export interface PassThroughStream {
  /** Feeds bytes. */
  push(bytes: Buffer): void;
  /** The upstream closed. */
  close(): void;
  /** The first text, reasoning, tool, refusal or media event has been seen. */
  readonly committed: boolean;
  readonly end: StreamEnd;
  /** Takes what may be handed on now: whole events, never terminal ones. Before `committed`, these are the held preamble. */
  take(): Buffer[];
  readonly facts: AnswerFacts;
  /** The last bytes of a finished stream: held events, the usage event with its cost where it was asked for, and the end mark. */
  terminal(costUsdLiteral: string): Buffer[];
}

/** A request as the upstream is to get it, and what of it could not be carried. */
export interface EncodedRequest {
  readonly body: readonly Buffer[];
  readonly losses: readonly Loss[];
}

/** How an answer is written for the client. */
export interface EncodeTerms {
  /** Replaces the answer's model name; undefined leaves it. */
  readonly model: string | undefined;
  /** The time to write where the upstream told none, in seconds since 1970. */
  readonly createdSeconds: number;
  /** Added to the usage; undefined adds none. */
  readonly costUsdLiteral: string | undefined;
}

export interface EncodeStreamTerms {
  readonly wantsStreamUsage: boolean;
  readonly model: string | undefined;
  readonly createdSeconds: number;
}

/** An upstream's stream as canonical events: a synchronous, bounded machine. After `error` or `end` it gives no more. */
export interface StreamDecoder {
  push(bytes: Buffer): StreamEvent[];
  /** The upstream closed. */
  end(): StreamEvent[];
}

/** Canonical events as a client's stream. Usage is kept for `end`. */
export interface StreamEncoder {
  push(events: readonly StreamEvent[]): Buffer[];
  /** The last bytes of a whole stream: the usage event with its cost where it was asked for, and the end mark. */
  end(costUsdLiteral: string | undefined): Buffer[];
}

export interface RenderedError {
  readonly status: number;
  /** Flat name, value …, content-type and retry-after included. */
  readonly headers: readonly string[];
  readonly body: Buffer;
}

export interface Dialect {
  readonly name: DialectName;
  /** Throws GatewayError (400 `invalid_request_error` with `param`, 413) on a body that cannot be read. */
  readPassThrough(operation: Operation, body: Buffer): PassThroughRequest;
  /** Of a body that `readPassThrough` has read, with the bound that it has found. */
  inputText(operation: Operation, body: Buffer, inputTokensBound: number): InputText;
  /** The message with the longest text of a chat request that `readPassThrough` has read, in UTF-16 units. */
  longestMessage?(body: Buffer): { readonly index: number; readonly characters: number };
  readAnswer(operation: Operation, body: Buffer): PassThroughAnswer;
  passThroughStream(terms: StreamTerms): PassThroughStream;
  /** Throws GatewayError (400 `invalid_request_error` with `param`). */
  decodeRequest(body: Buffer): Request;
  /** Throws GatewayError 400 where the request asks for something that only another provider can do. */
  encodeRequest(request: Request, edits: RequestEdits): EncodedRequest;
  /** Throws GatewayError `upstream_error` on an answer that cannot be read. */
  decodeResponse(body: Buffer): Response;
  encodeResponse(response: Response, terms: EncodeTerms): Buffer;
  decodeStream(): StreamDecoder;
  encodeStream(terms: EncodeStreamTerms): StreamEncoder;
  /** An upstream's error answer as our error: a client's own mistake (400, 404, 413, 422) keeps status and text; 401, 403, 402 are ours. */
  readUpstreamError(status: number, headers: Readonly<Record<string, string>>, body: Buffer): GatewayError;
  renderError(error: GatewayError, requestId: string): RenderedError;
  /** The bytes that tell of an error inside a stream that has begun; the stream is closed after them. */
  renderStreamError(error: GatewayError, requestId: string): Buffer;
  /** Bytes that keep an open stream alive, in the dialect's own form; to be written at event boundaries only. */
  readonly keepAlive: Buffer;
}
