// What OpenAI and OpenRouter say of a missing or bad key.

import { ApiError } from '../api-error.ts';
import type { Call } from '../wire.ts';

const MISSING_KEY =
  "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys.";

/** Throws the 401 of a missing key, or of one that starts with `sk-bad`. */
export function checkOpenAiKey(call: Call): void {
  if (call.key === null || call.key === '') {
    throw new ApiError(401, call.provider === 'openrouter' ? 'Missing Authentication header' : MISSING_KEY);
  }
  if (!call.key.startsWith('sk-bad')) return;
  if (call.provider === 'openrouter') throw new ApiError(401, 'User not found.');
  const shown = `${call.key.slice(0, 6)}${'*'.repeat(Math.max(0, call.key.length - 10))}${call.key.slice(-4)}`;
  throw new ApiError(
    401,
    `Incorrect API key provided: ${shown}. You can find your API key at https://platform.openai.com/account/api-keys.`,
    { code: 'invalid_api_key' },
  );
}
