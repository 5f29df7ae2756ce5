/** Any other origin that speaks OpenAI's chat wire: hosted models, self-hosted servers, simulators. */
import { bearerAdapter, OPENAI_CHAT_PATHS } from './provider.ts';

export const openaiCompatible = bearerAdapter({
  name: 'openai-compatible',
  paths: { 'openai-chat': OPENAI_CHAT_PATHS },
  requestIdHeader: 'x-request-id',
  upstreamRequestIdHeaders: ['x-request-id', 'request-id', 'apim-request-id', 'x-amzn-requestid', 'cf-ray'],
});
