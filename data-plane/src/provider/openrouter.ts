/** OpenRouter: its support and its generation API go by the generation id, which it answers with before the body. */
import { adapterOf, messagesPath, OPENAI_PATHS } from './provider.ts';

export const openrouter = adapterOf({
  name: 'openrouter',
  // It has a path for each of the three protocols beside its first.
  paths: { ...OPENAI_PATHS, 'anthropic-messages': messagesPath },
  quirks: ['top_k', 'cache_control', 'reasoning_object', 'image_config', 'file_urls', 'no_custom_tools'],
  requestIdHeader: 'x-request-id',
  upstreamRequestIdHeaders: ['x-generation-id', 'x-request-id', 'cf-ray'],
});
