/** OpenAI's Responses, and everybody who speaks them. */
import type { Dialect } from '../dialect.ts';
import { readUpstreamError } from '../upstream-error.ts';
import { renderError, renderStreamError } from './error.ts';
import { inputText } from './input-text.ts';
import { longestMessage } from './message-length.ts';
import { readPassThrough } from './pass-through-request.ts';
import { ResponsesPassThroughStream } from './pass-through-stream.ts';
import { decodeRequest, encodeRequest } from './request.ts';
import { decodeResponse, encodeResponse, readAnswer } from './response.ts';
import { ResponsesStreamDecoder } from './stream-decoder.ts';
import { ResponsesStreamEncoder } from './stream-encoder.ts';

export const openaiResponses: Dialect = {
  name: 'openai-responses',
  readPassThrough,
  inputText,
  longestMessage,
  readAnswer,
  passThroughStream: (terms) => new ResponsesPassThroughStream(terms),
  decodeRequest,
  encodeRequest,
  decodeResponse,
  encodeResponse,
  decodeStream: () => new ResponsesStreamDecoder(),
  encodeStream: (terms) => new ResponsesStreamEncoder(terms),
  readUpstreamError,
  renderError,
  renderStreamError,
  // Agents count the silence between events with data, and hear no comments. The SDKs know this event, and pass over it, but not before
  // `response.created`.
  keepAlive: Buffer.from('event: keepalive\ndata: {"type":"keepalive"}\n\n'),
  keepAliveBeforeEvents: Buffer.from(': keep-alive\n'),
};
