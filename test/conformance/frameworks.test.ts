/** LangChain, llama-index and Vercel's AI SDK as they come, each with models of several upstream dialects. */
import { afterAll, beforeAll, describe } from 'vitest';
import { until } from '../world/world.ts';
import { describeFramework } from './sdk/framework-cases.ts';
import { langChains } from './sdk/langchain.ts';
import { openaiChat } from './sdk/openai-chat.ts';
import { IMPORT_MS, missingPython, PythonProcess, pythonSdk } from './sdk/python.ts';
import { type Stage, startStage } from './sdk/stage.ts';
import { vercelAis } from './sdk/vercel-ai.ts';

/** A model of each dialect of an upstream. */
const MODELS = ['gpt-5.4-mini', 'gpt-5.3-codex', 'claude-sonnet-4-6', 'gemini-3.5-flash'];

/** llama-index takes only names that it knows from OpenAI: an operator gives this account other models under such names. */
const MAPPED: ReadonlyMap<string, string> = new Map([
  ['gpt-5.1', 'claude-sonnet-4-6'],
  ['gpt-5.2', 'gemini-3.5-flash'],
]);

let stage: Stage;
beforeAll(async () => {
  stage = await startStage('eu');
  const { world, region } = stage;
  for (const [name, model_id] of MAPPED) {
    await world.operator.post('/admin/v1/aliases', { name, model_id, account_id: world.accountId });
  }
  const asked = [...MAPPED.keys()];
  await until(async () => {
    const models = await openaiChat.connect(world.url(region), world.apiKey).models();
    return asked.every((name) => !models.includes(name));
  }, 'the names to be mapped');
});
afterAll(() => stage?.world.stop());

for (const sdk of [...langChains, ...vercelAis]) describeFramework(sdk, MODELS, () => stage);

const noLangChain = missingPython(['langchain_openai', 'langchain_anthropic', 'langchain_google_genai']);
if (noLangChain !== undefined) console.log(`${noLangChain}: LangChain in Python is skipped`);

describe.skipIf(noLangChain !== undefined)('LangChain in Python', () => {
  const python = new PythonProcess('langchain_sdks');
  beforeAll(() => python.ready(), IMPORT_MS);
  afterAll(() => python.stop());
  describeFramework(pythonSdk(python, 'openai', 'langchain openai', 'openai-chat'), MODELS, () => stage);
  describeFramework(pythonSdk(python, 'responses', 'langchain openai responses', 'openai-responses'), MODELS, () => stage);
  describeFramework(pythonSdk(python, 'anthropic', 'langchain anthropic', 'anthropic-messages'), MODELS, () => stage);
  describeFramework(pythonSdk(python, 'google', 'langchain google', 'gemini'), MODELS, () => stage);
});

const noLlamaIndex = missingPython(['llama_index.llms.openai', 'llama_index.llms.google_genai']);
if (noLlamaIndex !== undefined) console.log(`${noLlamaIndex}: llama-index is skipped`);

describe.skipIf(noLlamaIndex !== undefined)('llama-index', () => {
  const python = new PythonProcess('llama_index_sdks');
  beforeAll(() => python.ready(), IMPORT_MS);
  afterAll(() => python.stop());
  describeFramework(pythonSdk(python, 'openai', 'llama-index openai', 'openai-chat'), ['gpt-5.4-mini', ...MAPPED.keys()], () => stage);
  describeFramework(pythonSdk(python, 'google', 'llama-index google', 'gemini'), MODELS, () => stage);
});
