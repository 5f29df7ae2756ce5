// Which provider and wire a path belongs to.

import { openAiChat } from './openai-chat/index.ts';
import type { ProviderName } from './provider.ts';
import type { Call, Wire } from './wire.ts';

/** Where a call goes. */
export interface Route {
  provider: ProviderName;
  wire: Wire;
  /** The path after the provider's prefix, without its query. */
  operation: string;
  /** Whether the path is under a provider's prefix; any other serves recordings only. */
  known: boolean;
}

const PREFIXES: Array<[prefix: string, provider: ProviderName, wire: Wire]> = [
  ['/api/v1', 'openrouter', openAiChat],
  ['/v1', 'openai', openAiChat],
];

/** The route of a path. */
export function routeOf(path: string, _headers: Call['headers']): Route {
  const bare = path.split('?', 1)[0] ?? '';
  const found = PREFIXES.find(([prefix]) => bare.startsWith(`${prefix}/`));
  if (found === undefined) return { provider: 'openai', wire: openAiChat, operation: bare, known: false };
  const [prefix, provider, wire] = found;
  return { provider, wire, operation: bare.slice(prefix.length), known: true };
}
