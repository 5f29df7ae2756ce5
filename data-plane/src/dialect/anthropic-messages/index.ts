/** Anthropic's Messages, and everybody who speaks them. */
import type { Dialect } from '../dialect.ts';
import { readUpstreamError } from '../upstream-error.ts';
import { counting } from './count-tokens.ts';
import { REQUEST_ID_HEADER, renderError, renderStreamError } from './error.ts';
import { inputText } from './input-text.ts';
import { longestMessage } from './message-length.ts';
import { readPassThrough } from './pass-through-request.ts';
import { MessagesPassThroughStream } from './pass-through-stream.ts';
import { decodeRequest, encodeRequest } from './request.ts';
import { decodeResponse, encodeResponse, readAnswer } from './response.ts';
import { MessagesStreamDecoder } from './stream-decoder.ts';
import { MessagesStreamEncoder } from './stream-encoder.ts';

export const anthropicMessages: Dialect = {
  name: 'anthropic-messages',
  readPassThrough,
  inputText,
  longestMessage,
  readAnswer,
  passThroughStream: (terms) => new MessagesPassThroughStream(terms),
  decodeRequest,
  encodeRequest,
  decodeResponse,
  encodeResponse,
  decodeStream: () => new MessagesStreamDecoder(),
  encodeStream: (terms) => new MessagesStreamEncoder(terms),
  counting,
  readUpstreamError,
  renderError,
  renderStreamError,
  requestIdHeader: REQUEST_ID_HEADER,
  keepAlive: Buffer.from('event: ping\ndata: {"type": "ping"}\n\n'),
};
