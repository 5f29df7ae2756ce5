import { expect, it } from 'vitest';
import { spokenAt } from './place.ts';

it.each([
  ['/v1/chat/completions', {}, 'openai-chat'],
  ['/v1/messages', {}, 'anthropic-messages'],
  ['/v1/messages/count_tokens?beta=true', {}, 'anthropic-messages'],
  ['/v1/responses', {}, 'openai-responses'],
  ['/v1/models', {}, 'openai-chat'],
  ['/v1/models', { 'anthropic-version': '2023-06-01' }, 'anthropic-messages'],
  ['/v1/models', { 'x-goog-api-key': 'k' }, 'gemini'],
  ['/v1beta/models', {}, 'gemini'],
  ['/genai/v1/models/gemini-2.5-pro', {}, 'gemini'],
  // Of a path that there is not, too.
  ['/genai/nope', {}, 'gemini'],
  ['/genai', {}, 'gemini'],
  ['/genais', {}, 'openai-chat'],
  ['/genai/v1beta/models/acme/m-1:generateContent', {}, 'gemini'],
  ['/v1beta/models/m-1:streamGenerateContent?alt=sse', {}, 'gemini'],
  ['/v1beta/models/m-1:streamGenerateContent', {}, 'gemini-json-array'],
  // Google's newer clients, with the key in the address.
  ['/v1/models/m-1:generateContent?key=k', {}, 'gemini'],
  ['/v1/models/m-1:streamGenerateContent?alt=json', {}, 'gemini-json-array'],
  ['/genai/v1/models/m-1:streamGenerateContent?alt=sse', {}, 'gemini'],
  // A model's name may have a colon.
  ['/v1/models/acme/m-1:free', {}, 'openai-chat'],
] as const)('%s with %j is spoken in %s', (url, headers, spoken) => {
  expect(spokenAt(url, headers)).toBe(spoken);
});
