/** Google's Gemini API: its key in a header of its own; ids of answers are in their bodies only. */
import { adapterOf, geminiPath } from './provider.ts';

export const gemini = adapterOf({
  name: 'gemini',
  paths: { gemini: geminiPath },
  headers: (secret) => ['x-goog-api-key', secret],
  upstreamRequestIdHeaders: ['x-request-id'],
});
