/** Google's Gemini API: generated content, embeddings. */
import type { Dialect } from '../dialect.ts';
import { readUpstreamError } from '../upstream-error.ts';
import { counting } from './count-tokens.ts';
import { embeddings } from './embeddings.ts';
import { renderError, streamError } from './error.ts';
import { ARRAY_FRAMING, type Framing, SSE_FRAMING } from './framing.ts';
import { inputText } from './input-text.ts';
import { mustInline } from './media.ts';
import { longestMessage } from './message-length.ts';
import { readPassThrough } from './pass-through-request.ts';
import { GeminiPassThroughStream } from './pass-through-stream.ts';
import { decodeRequest, encodeRequest } from './request.ts';
import { decodeResponse, encodeResponse, readAnswer } from './response.ts';
import { GeminiStreamDecoder } from './stream-decoder.ts';
import { GeminiStreamEncoder } from './stream-encoder.ts';

function framedBy(framing: Framing): Dialect {
  return {
    name: 'gemini',
    readPassThrough,
    inputText,
    longestMessage,
    readAnswer,
    passThroughStream: (terms) => new GeminiPassThroughStream(terms, framing),
    mustInline,
    decodeRequest,
    encodeRequest,
    decodeResponse,
    encodeResponse,
    decodeStream: () => new GeminiStreamDecoder(),
    encodeStream: (terms) => new GeminiStreamEncoder(terms, framing),
    counting,
    embeddings,
    readUpstreamError,
    renderError,
    renderStreamError: (error, requestId) => Buffer.concat(streamError(error, requestId, framing, true)),
    // A line break says nothing in either framing. Google's own SDK for Python takes a comment for an answer.
    keepAlive: Buffer.from('\r\n'),
  };
}

/** Streams are server-sent events (`alt=sse`). */
export const gemini: Dialect = framedBy(SSE_FRAMING);

/** Streams are one JSON array. */
export const geminiJsonArray: Dialect = {
  ...framedBy(ARRAY_FRAMING),
  streamContentType: 'application/json; charset=utf-8',
};
