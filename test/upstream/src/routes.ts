// Which provider and wire a path belongs to.

import { anthropicMessages } from './anthropic-messages/index.ts';
import { gemini } from './gemini/index.ts';
import { openAiChat } from './openai-chat/index.ts';
import { openAiResponses } from './openai-responses/index.ts';
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
  ['/anthropic/v1', 'anthropic', anthropicMessages],
  ['/gemini/v1beta', 'gemini', gemini],
  // The newer SDKs call the stable version.
  ['/gemini/v1', 'gemini', gemini],
  ['/v1beta', 'gemini', gemini],
  ['/v1', 'openai', openAiChat],
];

/** Under OpenAI's prefix, Anthropic's calls are known by their path, or by the header each of them carries. */
function isAnthropic(bare: string, headers: Call['headers']): boolean {
  return /^\/v1\/messages(\/|$)/.test(bare) || (/^\/v1\/models(\/|$)/.test(bare) && headers['anthropic-version'] !== undefined);
}

/** The route of a path. */
export function routeOf(path: string, headers: Call['headers']): Route {
  const bare = path.split('?', 1)[0] ?? '';
  if (isAnthropic(bare, headers)) {
    return { provider: 'anthropic', wire: anthropicMessages, operation: bare.slice('/v1'.length), known: true };
  }
  // A colon after the model is Google's way to name a method.
  if (/^\/v1\/models\/[^:]+:\w+$/.test(bare)) return { provider: 'gemini', wire: gemini, operation: bare.slice('/v1'.length), known: true };
  if (/^\/v1\/responses(\/|$)/.test(bare)) {
    return { provider: 'openai', wire: openAiResponses, operation: bare.slice('/v1'.length), known: true };
  }
  const found = PREFIXES.find(([prefix]) => bare.startsWith(`${prefix}/`));
  if (found === undefined) return { provider: 'openai', wire: openAiChat, operation: bare, known: false };
  const [prefix, provider, wire] = found;
  return { provider, wire, operation: bare.slice(prefix.length), known: true };
}
