/** OpenAI's Chat Completions and Embeddings, and everybody who speaks them. */
import type { Dialect } from '../dialect.ts';
import { readUpstreamError, renderError, renderStreamError } from './error.ts';
import { readPassThrough } from './request.ts';
import { readAnswer } from './response.ts';
import { ChatPassThroughStream } from './stream.ts';

export const openaiChat: Dialect = {
  name: 'openai-chat',
  readPassThrough,
  readAnswer,
  passThroughStream: (terms) => new ChatPassThroughStream(terms),
  readUpstreamError,
  renderError,
  renderStreamError,
  // A comment with a single line end: some SDKs dispatch an event at every empty line once an id has been seen.
  keepAlive: Buffer.from(': keep-alive\n'),
};
