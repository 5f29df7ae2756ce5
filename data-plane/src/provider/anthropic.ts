/** Anthropic: its key in a header of its own, and the version of its API with every call. */
import { adapterOf, messagesPath } from './provider.ts';

const API_VERSION = '2023-06-01';

export const anthropic = adapterOf({
  name: 'anthropic',
  paths: { 'anthropic-messages': messagesPath },
  auth: { header: 'x-api-key', prefix: '' },
  headers: ['anthropic-version', API_VERSION],
  upstreamRequestIdHeaders: ['request-id', 'x-request-id'],
});
