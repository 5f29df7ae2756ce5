/** OpenAI: takes a client's own id in `x-client-request-id` (≤ 512 ASCII characters) and answers with `x-request-id`. */
import { bearerAdapter, OPENAI_CHAT_PATHS } from './provider.ts';

export const openai = bearerAdapter({
  name: 'openai',
  paths: { 'openai-chat': OPENAI_CHAT_PATHS },
  requestIdHeader: 'x-client-request-id',
  upstreamRequestIdHeaders: ['x-request-id'],
});
