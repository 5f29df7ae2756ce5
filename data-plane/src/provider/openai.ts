/** OpenAI: takes a client's own id in `x-client-request-id` (≤ 512 ASCII characters) and answers with `x-request-id`. */
import { adapterOf, OPENAI_PATHS } from './provider.ts';

export const openai = adapterOf({
  name: 'openai',
  paths: OPENAI_PATHS,
  // It shows no thinking here, and knows of none.
  quirks: ['no_reasoning_input'],
  requestIdHeader: 'x-client-request-id',
  upstreamRequestIdHeaders: ['x-request-id'],
});
