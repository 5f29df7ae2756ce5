/** The official OpenAI SDKs over a WebSocket, against a model of each upstream dialect: several turns, with tools. */
import { execFile, execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import OpenAI from 'openai';
import type { Response, ResponsesClientEvent } from 'openai/resources/responses/responses';
import { ResponsesWS } from 'openai/resources/responses/ws';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stage, startStage } from './sdk/stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await startStage('us');
});
afterAll(() => stage?.world.stop());

const WEATHER = {
  type: 'function',
  name: 'get_weather',
  description: 'The weather in a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false },
  strict: true,
} as const;

describe.each(['gpt-5.4-mini', 'gpt-5.3-codex', 'claude-sonnet-4-6', 'gemini-3.5-flash'])(
  'a WebSocket of the openai SDK with %s',
  (model) => {
    it('is made ready, calls a tool, and goes on from its result', async () => {
      const client = new OpenAI({ baseURL: `${stage.world.url('us')}/v1`, apiKey: stage.world.apiKey });
      const socket = new ResponsesWS(client);
      const events = socket.stream();
      const turn = async (fields: Partial<ResponsesClientEvent.ResponseCreate>): Promise<{ response: Response; types: string[] }> => {
        socket.send({ type: 'response.create', model, store: false, stream_id: 'main', ...fields });
        const types: string[] = [];
        for (;;) {
          const { value: event, done } = await events.next();
          if (done === true) throw new Error('closed');
          if (event.type === 'error') throw event.error;
          if (event.type !== 'message') continue;
          const { message } = event;
          expect(message).toMatchObject({ stream_id: 'main' });
          types.push(message.type);
          if (message.type === 'response.completed') return { response: message.response, types };
        }
      };
      const ready = await turn({
        input: [{ role: 'user', content: 'You will be asked about cities.' }],
        tools: [WEATHER],
        generate: false,
      });
      expect(ready.response.output).toEqual([]);
      const asked = await turn({ input: 'What is the weather in Lisbon?', tools: [WEATHER], previous_response_id: ready.response.id });
      const call = asked.response.output.find((item) => item.type === 'function_call');
      expect(call).toMatchObject({ name: 'get_weather', arguments: expect.stringContaining('Lisbon') });
      const told = await turn({
        input: [{ type: 'function_call_output', call_id: call?.call_id ?? '', output: '{"sky":"clear"}' }],
        tools: [WEATHER],
        previous_response_id: asked.response.id,
      });
      expect(told.types).toContain('response.output_text.delta');
      const text = told.response.output.find((item) => item.type === 'message');
      expect(JSON.stringify(text)).toContain('clear');
      const usage = told.response.usage as unknown as { cost_usd: number; input_tokens: number };
      expect(usage.cost_usd).toBeGreaterThan(0);
      const last = await turn({ input: 'Thank you.', tools: [WEATHER], previous_response_id: told.response.id });
      expect(JSON.stringify(last.response.output)).toContain('Thank you.');
      // All that came before was sent again.
      expect(last.response.usage?.input_tokens).toBeGreaterThan(usage.input_tokens);
      socket.close();
    });
  },
);

function missingPython(): string | undefined {
  try {
    execFileSync('python3', ['-c', 'import openai, websockets'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'python3 with the packages openai and websockets is not here: skipped';
  }
}

const missing = missingPython();
describe.skipIf(missing !== undefined)(`a WebSocket of the Python SDK${missing === undefined ? '' : ` (${missing})`}`, () => {
  it.each(['gpt-5.3-codex', 'claude-sonnet-4-6'])('holds a conversation with %s', async (model) => {
    const script = fileURLToPath(new URL('responses_websocket.py', import.meta.url));
    const { stdout } = await promisify(execFile)('python3', [script, `${stage.world.url('us')}/v1`, stage.world.apiKey, model]);
    expect(JSON.parse(stdout)).toEqual({
      first: 'You said: Tell me about Lisbon.',
      second: 'You said: And about Porto.',
      grows: true,
      lost: [400, 'previous_response_not_found'],
    });
  });
});
