/** Which dialect a client speaks: told by the path, and where dialects share one by the headers. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Spoken } from '../dialect/registry.ts';

/** Under which Gemini's own paths stand, too. */
export const GEMINI_PREFIXES = ['/v1beta', '/genai/v1beta'] as const;

const GEMINI = /^(\/genai)?\/v1beta(\/|$)/;

/** `url` is the path as `plainPath` makes it, with its query. */
export function spokenAt(url: string, headers: IncomingHttpHeaders): Spoken {
  const queryAt = url.indexOf('?');
  const path = queryAt === -1 ? url : url.slice(0, queryAt);
  if (path === '/v1/chat/completions') return 'openai-chat';
  if (path === '/v1/messages' || path.startsWith('/v1/messages/')) return 'anthropic-messages';
  if (path === '/v1/responses' || path.startsWith('/v1/responses/')) return 'openai-responses';
  if (GEMINI.test(path)) return isJsonArray(path, queryAt === -1 ? '' : url.slice(queryAt + 1)) ? 'gemini-json-array' : 'gemini';
  // Anthropic's and OpenAI's models have one path.
  return headers['anthropic-version'] === undefined ? 'openai-chat' : 'anthropic-messages';
}

/** Gemini streams one JSON array unless it is asked for events. */
function isJsonArray(path: string, query: string): boolean {
  return path.endsWith(':streamGenerateContent') && new URLSearchParams(query).get('alt') !== 'sse';
}
