/**
 * A dialect: one protocol, spoken on both sides, to clients and to upstreams.
 *
 * Where client and upstream speak the same one, the pass-through lane forwards bytes and edits only what must change;
 * everywhere else requests and answers travel through the canonical language.
 */
import type { DialectName, Operation } from '@meridian/domain/dialect';
import type { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import type { Quirk } from '@meridian/domain/quirk';
import type { Meter, Usage } from '@meridian/domain/usage';
import type { EmbeddingRequest, EmbeddingResponse } from '../canonical/embedding.ts';
import type { StreamEvent } from '../canonical/event.ts';
import type { Loss } from '../canonical/loss.ts';
import type { Request } from '../canonical/request.ts';
import type { Response } from '../canonical/response.ts';

/** What an HTTP request says outside its body. */
export interface RequestPlace {
  /** Where the dialect names the model in the path. */
  readonly model?: string;
  /** Where the path says whether the answer is a stream. */
  readonly stream?: boolean;
  /** One of several forms of an operation: Gemini's `embedContent` and `batchEmbedContents`. */
  readonly form?: string;
  /** Headers (flat, lower case) that go on to an upstream of the same dialect: `anthropic-beta`. */
  readonly passOn?: readonly string[];
}

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
  /** Where the answer depends on the form of the request; else as `Dialect.readAnswer`. */
  readAnswer?(body: Buffer): Answer;
}

export interface RequestEdits {
  /** The upstream's name for the model. */
  readonly model: string;
  /** Written only when the client gave no limit of its own; undefined adds none. */
  readonly maxOutputTokens: number | undefined;
  /** Of the model, as the catalogue has them: `tools`, `json_schema`, `reasoning` … Absent: none are known. */
  readonly capabilities?: readonly string[];
  /** Ways of the provider's own. Absent: none. */
  readonly quirks?: readonly Quirk[];
}

/** For whom a request is encoded. */
export interface EncodeRequestTerms extends RequestEdits {
  /** The most that the model puts out, where it is known, for dialects whose requests must have a limit. */
  readonly modelMaxOutputTokens: number | undefined;
  /** Of the model, as the catalogue has them: `tools`, `json_schema`, `reasoning` … */
  readonly capabilities: readonly string[];
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
  /** Counted from the answer's text for when `usage` is absent or interim: about one token in four bytes. Any other time it may be 0. */
  readonly countedOutputTokens: number;
  /** Reasoning tokens, a part of `usage`'s output; undefined where they were not told. */
  readonly reasoningTokens?: number | undefined;
}

/** A whole JSON answer on its way to the client. */
export interface Answer {
  readonly facts: AnswerFacts;
  /**
   * As the client is to get it, with `model` replaced (when given) and the cost added to the usage. By now the answer is paid for, so
   * nothing may fail here.
   */
  rewrite(edits: AnswerEdits): Encoded;
}

export interface AnswerEdits {
  /** Replaces the answer's model name; undefined leaves it. */
  readonly model: string | undefined;
  readonly costUsdLiteral: string;
  /** Told as usage, beside the output that was counted, where the provider tells none; absent: no usage is made. */
  readonly estimatedInputTokens?: number;
}

export interface StreamTerms {
  readonly wantsStreamUsage: boolean;
  /** Replaces the answer's model name in every event; undefined leaves it. */
  readonly model: string | undefined;
  /** As for whole answers. */
  readonly estimatedInputTokens?: number;
}

/** How a stream of events stands. */
export type StreamEnd =
  | { readonly state: 'running' }
  /** The dialect's own end was seen (`[DONE]`), or the upstream closed after a finish reason. */
  | { readonly state: 'finished' }
  /** An error event, an unreadable event, or an end without a terminal event. */
  | { readonly state: 'broken'; readonly error: GatewayError };

/**
 * A stream on its way to the client: a synchronous, bounded machine. The upstream's bytes go in; the client's events come out, cut at
 * their boundaries, and classified. Events that carry usage, and all that follow them, are held back for `terminal`.
 */
export interface AnswerStream {
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
  /**
   * The bytes that tell of an error to a client that has seen what was taken so far, and end its stream, in dialects where they depend on
   * it (Responses counts its events). Absent, or undefined, where `renderStreamError` has all that is needed.
   */
  failure?(error: GatewayError): Buffer[] | undefined;
}

/** A request as the upstream is to get it, or an answer as the client is to, and what of it could not be carried. */
export interface Encoded {
  readonly body: readonly Buffer[];
  readonly losses: readonly Loss[];
}

/** How an answer is written for the client. */
export interface EncodeTerms {
  /** Ours; ids that the client's dialect must have are made of it. */
  readonly requestId: string;
  /** Replaces the answer's model name; undefined leaves it. */
  readonly model: string | undefined;
  /** The time to write where the upstream told none, in seconds since 1970. */
  readonly createdSeconds: number;
  /** In seconds since 1970, for dialects that tell when an answer was whole. Absent: as `createdSeconds`. */
  readonly nowSeconds?: () => number;
  /** Added to the usage; undefined adds none. */
  readonly costUsdLiteral: string | undefined;
  /** What the client asked, for dialects whose answers repeat it. */
  readonly request: Request;
}

export interface EncodeStreamTerms {
  readonly requestId: string;
  readonly wantsStreamUsage: boolean;
  readonly model: string | undefined;
  readonly createdSeconds: number;
  /** As for whole answers. */
  readonly nowSeconds?: () => number;
  readonly request: Request;
}

/** An upstream's stream as canonical events: a synchronous, bounded machine. After `error` or `end` it gives no more. */
export interface StreamDecoder {
  push(bytes: Buffer): StreamEvent[];
  /** The upstream closed. */
  end(): StreamEvent[];
}

/**
 * Canonical events as a client's stream: a synchronous machine. What ends the stream for the client (usage, finish where usage comes with
 * it) is kept for `end`.
 */
export interface StreamEncoder {
  /** Never given an `error` event. */
  push(events: readonly StreamEvent[]): Buffer[];
  /**
   * The last bytes of a whole stream: the usage event with its cost where it was asked for, and the end mark. Beside the cost stands what
   * the events before could not carry, by the names of losses: the headers are gone by then.
   */
  end(costUsdLiteral: string | undefined): Buffer[];
  /** As `AnswerStream.failure`. */
  failure?(error: GatewayError): Buffer[] | undefined;
}

export interface RenderedError {
  readonly status: number;
  /** Flat name, value …, content-type and retry-after included. */
  readonly headers: readonly string[];
  readonly body: Buffer;
}

/** Embeddings, in the dialects that have them. */
export interface EmbeddingsCodec {
  /** Throws GatewayError 400 `invalid_request_error` with `param`. */
  decodeRequest(body: Buffer, place: RequestPlace): EmbeddingRequest;
  /** Throws GatewayError 400 for what the upstream's dialect cannot be asked (token ids where it takes texts only). */
  encodeRequest(request: EmbeddingRequest, terms: EncodeRequestTerms): Encoded;
  /** `request` is what was asked. Throws GatewayError `upstream_error` on an answer that cannot be read. */
  decodeResponse(body: Buffer, request: EmbeddingRequest): EmbeddingResponse;
  /** `model` replaces the answer's; undefined leaves it. */
  encodeResponse(
    response: EmbeddingResponse,
    terms: { readonly model: string | undefined; readonly costUsdLiteral: string | undefined; readonly request: EmbeddingRequest },
  ): Encoded;
}

/** Counting a request's tokens before it is sent, in the dialects that have it. */
export interface Counting {
  /** Of a chat request that may lack what only generation needs. Throws as `readPassThrough`. */
  read(body: Buffer, place: RequestPlace): PassThroughRequest;
  /** The request that the body of `read` holds, where it is a part of it; undefined for all of it. Absent: always all. */
  requestIn?(body: Buffer): Buffer | undefined;
  /** The JSON answer. */
  answer(tokens: number): unknown;
}

export interface Dialect {
  readonly name: DialectName;
  /** Throws GatewayError (400 `invalid_request_error` with `param`, 413) on a body that cannot be read. */
  readPassThrough(operation: Operation, body: Buffer, place: RequestPlace): PassThroughRequest;
  /** Of a body that `readPassThrough` has read, with the bound that it has found. */
  inputText(operation: Operation, body: Buffer, inputTokensBound: number): InputText;
  /** The message with the longest text of a chat request that `readPassThrough` has read, in UTF-16 units; `param` where it is not `messages[index]`. */
  longestMessage?(body: Buffer): { readonly index: number; readonly characters: number; readonly param?: string };
  readAnswer(operation: Operation, body: Buffer): Answer;
  passThroughStream(terms: StreamTerms): AnswerStream;
  /** Whether an upstream of this dialect cannot fetch what stands at an address, so that it has to be sent along; absent: it fetches all. */
  mustInline?(url: string): boolean;
  /**
   * A chat request. Throws GatewayError (400 `invalid_request_error` with `param`). `read`: what `readPassThrough` has found in this body,
   * which is checked here where nobody has done so.
   */
  decodeRequest(body: Buffer, place: RequestPlace, read?: RequestFacts): Request;
  /** Throws GatewayError 400 where the request asks for something that only another provider can do. */
  encodeRequest(request: Request, terms: EncodeRequestTerms): Encoded;
  /** Throws GatewayError `upstream_error` on an answer that cannot be read. */
  decodeResponse(body: Buffer): Response;
  encodeResponse(response: Response, terms: EncodeTerms): Encoded;
  decodeStream(): StreamDecoder;
  encodeStream(terms: EncodeStreamTerms): StreamEncoder;
  /** Absent where the protocol has no such call. */
  readonly counting?: Counting;
  /** Absent where the protocol has no embeddings. */
  readonly embeddings?: EmbeddingsCodec;
  /** An upstream's error answer as our error: a client's own mistake (400, 404, 413, 422) keeps status and text; 401, 403, 402 are ours. */
  readUpstreamError(status: number, headers: Readonly<Record<string, string>>, body: Buffer): GatewayError;
  renderError(error: GatewayError, requestId: string): RenderedError;
  /** The bytes that tell of an error inside a stream that has begun and of which only keep-alives were sent; the stream is closed after them. */
  renderStreamError(error: GatewayError, requestId: string): Buffer;
  /** Bytes that keep an open stream alive, in the dialect's own form; to be written at event boundaries only. */
  readonly keepAlive: Buffer;
  /** Those for a stream of which nothing else was sent yet, where clients expect a certain event first. */
  readonly keepAliveBeforeEvents?: Buffer;
  /** Under which name, beside `x-request-id`, its SDKs look for the id of an answer. Errors bring it with them. */
  readonly requestIdHeader?: string;
  /** Of a stream's head; `text/event-stream; charset=utf-8` when absent. */
  readonly streamContentType?: string;
}
