/** OpenAI's Chat Completions and Embeddings, and everybody who speaks them. */
import type { Dialect } from '../dialect.ts';
import { readUpstreamError } from '../upstream-error.ts';
import { embeddings } from './embeddings.ts';
import { renderError, renderStreamError } from './error.ts';
import { inputText } from './input-text.ts';
import { longestMessage } from './message-length.ts';
import { readPassThrough } from './pass-through-request.ts';
import { ChatPassThroughStream } from './pass-through-stream.ts';
import { decodeRequest, encodeRequest } from './request.ts';
import { decodeResponse, encodeResponse, readAnswer } from './response.ts';
import { ChatStreamDecoder } from './stream-decoder.ts';
import { ChatStreamEncoder } from './stream-encoder.ts';

export const openaiChat = {
  name: 'openai-chat',
  readPassThrough,
  inputText,
  longestMessage,
  readAnswer,
  passThroughStream: (terms) => new ChatPassThroughStream(terms),
  decodeRequest,
  encodeRequest,
  decodeResponse,
  encodeResponse,
  embeddings,
  decodeStream: () => new ChatStreamDecoder(),
  encodeStream: (terms) => new ChatStreamEncoder(terms),
  readUpstreamError,
  renderError,
  renderStreamError,
  // A comment with a single line end: some SDKs dispatch an event at every empty line once an id has been seen.
  keepAlive: Buffer.from(': keep-alive\n'),
} as const satisfies Dialect;
