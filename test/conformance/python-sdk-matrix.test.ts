/** The official Python SDKs, where python3 and the packages are there, with models of every upstream dialect; and the books of it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareBooks } from '../scenario/books.ts';
import { describeSdk } from './sdk/cases.ts';
import { IMPORT_MS, missingPython, PythonProcess, pythonSdk } from './sdk/python.ts';
import { type Stage, startStage } from './sdk/stage.ts';

const missing = missingPython(['openai', 'anthropic', 'google.genai']);
if (missing !== undefined) console.log(`${missing}: the suites of the Python SDKs are skipped`);

const NAMES = { 400: 'BadRequestError', 401: 'AuthenticationError', 402: 'APIStatusError', 404: 'NotFoundError' } as const;
const ANTHROPIC_NAMES = { ...NAMES, 402: 'PaymentRequiredError' } as const;
const GOOGLE_NAMES = { 400: 'ClientError', 401: 'ClientError', 402: 'ClientError', 404: 'ClientError' } as const;

describe.skipIf(missing !== undefined)('Python', () => {
  const openai = new PythonProcess('openai_sdk');
  const anthropic = new PythonProcess('anthropic_sdk');
  const google = new PythonProcess('google_sdk');
  let stage: Stage;
  beforeAll(async () => {
    [stage] = await Promise.all([startStage('eu'), openai.ready(), anthropic.ready(), google.ready()]);
  }, IMPORT_MS);
  afterAll(async () => {
    await Promise.all([openai, anthropic, google].map((python) => python.stop()));
    await stage?.world.stop();
  });

  describeSdk(pythonSdk(openai, 'chat', 'openai chat', 'openai-chat'), () => stage, NAMES);
  describeSdk(pythonSdk(openai, 'responses', 'openai responses', 'openai-responses'), () => stage, NAMES);
  describeSdk(pythonSdk(anthropic, 'messages', 'anthropic', 'anthropic-messages'), () => stage, ANTHROPIC_NAMES);
  describeSdk(pythonSdk(google, 'gemini', 'google-genai', 'gemini'), () => stage, GOOGLE_NAMES);

  it('charges each request what its provider served, to the nano-dollar', async () => {
    await stage.world.upstreamIdle();
    await stage.world.reported();
    const books = await compareBooks(stage.world);
    expect(books.differences).toEqual([]);
    expect(books.exact).toBeGreaterThan(100);
    expect(books.chargedNano).toBe(books.expectedNano);
  });
});
