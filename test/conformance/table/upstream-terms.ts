/** For which model of an upstream a request is written. */
import type { EncodeRequestTerms } from '@meridian/data-plane/dialect/dialect';
import type { DialectName } from '@meridian/domain/dialect';

/** Models without ways of their own. */
const PLAIN: Readonly<Record<DialectName, string>> = {
  'openai-chat': 'gpt-4.1',
  'openai-responses': 'gpt-4.1',
  'anthropic-messages': 'claude-sonnet-4-5',
  gemini: 'gemini-3.1-pro-preview',
};

const CAPABILITIES = ['tools', 'vision', 'audio_input', 'file_input', 'json_schema', 'reasoning'];

export function upstreamTerms(
  upstream: DialectName,
  model: string | undefined,
  capabilities: readonly string[] = CAPABILITIES,
): EncodeRequestTerms {
  return {
    model: model ?? PLAIN[upstream],
    maxOutputTokens: undefined,
    modelMaxOutputTokens: 32_000,
    capabilities,
  };
}
