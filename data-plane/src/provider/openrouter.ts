/** OpenRouter: its support and its generation API go by the generation id, which it answers with before the body. */
import { bearerAdapter, OPENAI_CHAT_PATHS } from './provider.ts';

export const openrouter = bearerAdapter({
  name: 'openrouter',
  paths: { 'openai-chat': OPENAI_CHAT_PATHS },
  requestIdHeader: 'x-request-id',
  upstreamRequestIdHeaders: ['x-generation-id', 'x-request-id', 'cf-ray'],
});
