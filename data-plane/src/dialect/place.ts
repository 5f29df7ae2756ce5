/** Where each dialect is spoken: its paths, and what they and the headers say of a request. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Operation } from '@meridian/domain/dialect';
import type { RequestPlace } from './dialect.ts';
import { type MethodCall, methodCall } from './gemini/place.ts';
import type { Spoken } from './registry.ts';

/** Paths that say all there is to say. */
export const MODEL_PATHS: readonly { readonly path: string; readonly operation: Operation }[] = [
  { path: '/v1/chat/completions', operation: 'chat' },
  { path: '/v1/embeddings', operation: 'embeddings' },
  { path: '/v1/messages', operation: 'chat' },
  { path: '/v1/responses', operation: 'chat' },
];

/** Counts the tokens of a request without sending it, in the dialect that has a path for it. */
export const COUNT_PATH = '/v1/messages/count_tokens';

/**
 * Paths that end in a model and a method: `…/models/gemini-2.5-pro:generateContent`. The first under the prefix that our documents give;
 * Google's newer clients ask for `v1` unless they are told otherwise.
 */
export const METHOD_PATHS: readonly string[] = ['/genai/v1beta/models/*', '/v1beta/models/*', '/genai/v1/models/*', '/v1/models/*'];

/** Under which each dialect that lists models has its `/models`. */
export const LIST_PREFIXES: readonly string[] = ['/v1', '/genai/v1beta', '/v1beta', '/genai/v1'];

export { type MethodCall, methodCall };

/** Under `/v1`, which is not this dialect's alone, by the methods: a model's name may have a colon. */
const METHOD_PATH =
  /^(\/genai|\/v1beta)(\/|$)|^\/v1\/models\/.*:(generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents)$/;

/** `url` is the path with its query. */
export function spokenAt(url: string, headers: IncomingHttpHeaders): Spoken {
  const queryAt = url.indexOf('?');
  const path = queryAt === -1 ? url : url.slice(0, queryAt);
  if (path === '/v1/chat/completions') return 'openai-chat';
  if (path === '/v1/messages' || path.startsWith('/v1/messages/')) return 'anthropic-messages';
  if (path === '/v1/responses' || path.startsWith('/v1/responses/')) return 'openai-responses';
  if (METHOD_PATH.test(path)) return isJsonArray(path, queryAt === -1 ? '' : url.slice(queryAt + 1)) ? 'gemini-json-array' : 'gemini';
  // Three dialects list their models under one path.
  if (headers['anthropic-version'] !== undefined) return 'anthropic-messages';
  return headers['x-goog-api-key'] === undefined ? 'openai-chat' : 'gemini';
}

/** Google's API streams one JSON array unless it is asked for events. */
function isJsonArray(path: string, query: string): boolean {
  return path.endsWith(':streamGenerateContent') && new URLSearchParams(query).get('alt') !== 'sse';
}

/** Request headers that are the dialect's own: an upstream that speaks it gets them as they came. */
const PASSED_ON: Readonly<Partial<Record<Spoken, readonly string[]>>> = {
  'anthropic-messages': ['anthropic-version', 'anthropic-beta'],
};
export const NOTHING_SAID: RequestPlace = Object.freeze({});

/** What the headers say; the path of one of MODEL_PATHS says no more. */
export function placeOf(spoken: Spoken, headers: IncomingHttpHeaders): RequestPlace {
  const names = PASSED_ON[spoken];
  if (names === undefined) return NOTHING_SAID;
  const passOn: string[] = [];
  for (const name of names) {
    const value = headers[name];
    if (typeof value === 'string') passOn.push(name, value);
  }
  return { passOn };
}
