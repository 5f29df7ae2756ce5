/** Every adapter, by the name that a provider's entity gives. */
import { anthropic } from './anthropic.ts';
import { gemini } from './gemini.ts';
import { openai } from './openai.ts';
import { openaiCompatible } from './openai-compatible.ts';
import { openrouter } from './openrouter.ts';
import type { ProviderAdapter } from './provider.ts';

const ADAPTERS: ReadonlyMap<string, ProviderAdapter> = new Map(
  [openai, anthropic, gemini, openrouter, openaiCompatible].map((adapter) => [adapter.name, adapter]),
);

/** Undefined for a name that this build does not know. */
export function providerFor(adapter: string): ProviderAdapter | undefined {
  return ADAPTERS.get(adapter);
}
