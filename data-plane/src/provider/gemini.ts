/** Google's Gemini API: its key in a header of its own; ids of answers are in their bodies only. */
import { adapterOf, geminiPath } from './provider.ts';

export const gemini = adapterOf({
  name: 'gemini',
  paths: { gemini: geminiPath },
  auth: { header: 'x-goog-api-key', prefix: '' },
  upstreamRequestIdHeaders: ['x-request-id'],
});
