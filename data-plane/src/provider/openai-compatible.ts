/** Any other origin that speaks one of OpenAI's wires: hosted models, self-hosted servers, simulators. */
import { adapterOf, OPENAI_PATHS } from './provider.ts';

export const openaiCompatible = adapterOf({
  name: 'openai-compatible',
  paths: OPENAI_PATHS,
  // The roles and tools that all of them have; what else one of them does in its own way is data of the provider.
  quirks: ['system_role', 'no_custom_tools'],
  requestIdHeader: 'x-request-id',
  upstreamRequestIdHeaders: ['x-request-id', 'request-id', 'apim-request-id', 'x-amzn-requestid', 'cf-ray'],
});
