/** The official JavaScript SDKs, unchanged, with models of every upstream dialect; and the books of what they called. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { compareBooks } from '../scenario/books.ts';
import { anthropic } from './sdk/anthropic.ts';
import { describeSdk } from './sdk/cases.ts';
import { google } from './sdk/google.ts';
import { openaiChat } from './sdk/openai-chat.ts';
import { openaiResponses } from './sdk/openai-responses.ts';
import { type Stage, startStage } from './sdk/stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await startStage('us');
});
afterAll(() => stage?.world.stop());

const NAMES = { 400: 'BadRequestError', 401: 'AuthenticationError', 402: 'APIError', 404: 'NotFoundError' } as const;
const ANTHROPIC_NAMES = { ...NAMES, 402: 'PaymentRequiredError' } as const;
const GOOGLE_NAMES = { 400: 'ApiError', 401: 'ApiError', 402: 'ApiError', 404: 'ApiError' } as const;

describeSdk(openaiChat, () => stage, NAMES);
describeSdk(openaiResponses, () => stage, NAMES);
describeSdk(anthropic, () => stage, ANTHROPIC_NAMES);
describeSdk(google, () => stage, GOOGLE_NAMES);

it('charges each request what its provider served, to the nano-dollar', async () => {
  await stage.world.upstreamIdle();
  await stage.world.reported();
  const books = await compareBooks(stage.world);
  expect(books.differences).toEqual([]);
  expect(books.exact).toBeGreaterThan(100);
  expect(books.chargedNano).toBe(books.expectedNano);
});
