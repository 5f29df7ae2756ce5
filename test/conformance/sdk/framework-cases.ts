/** One round of what frameworks do most, with the model of their own vendor and with others'. */
import { describe, expect, it } from 'vitest';
import type { Sdk } from './sdk.ts';
import type { Stage } from './stage.ts';

const TOOLS = [
  { name: 'get_weather', description: 'The weather in a city', parameters: ['city'] },
  { name: 'get_time', description: 'The time of day in a zone', parameters: ['zone'] },
];

export function describeFramework(sdk: Sdk, models: readonly string[], stage: () => Stage): void {
  describe.each(models)(`${sdk.name} with %s`, (model) => {
    it.each([false, true])('talks over two turns (stream: %s)', async (stream) => {
      const conversation = sdk.connect(stage().world.url(stage().region), stage().world.apiKey).converse({ model, stream });
      expect(await conversation.say([{ text: 'Tell me about Lisbon.' }])).toMatchObject({
        text: 'You said: Tell me about Lisbon.',
        calls: [],
      });
      expect(await conversation.say([{ text: 'Grüße aus Zürich 🚲' }])).toMatchObject({ text: 'You said: Grüße aus Zürich 🚲', calls: [] });
    });

    it.each([false, true])('calls tools, and goes on with their results (stream: %s)', async (stream) => {
      const client = sdk.connect(stage().world.url(stage().region), stage().world.apiKey);
      const conversation = client.converse({ model, stream, tools: TOOLS });
      const first = await conversation.say([{ text: 'The weather and the time in Oslo?' }]);
      expect(first.calls).toEqual([
        { name: 'get_weather', arguments: { city: 'Oslo' } },
        { name: 'get_time', arguments: { zone: 'Oslo' } },
      ]);
      const third = await conversation.answerCalls(['Snow', '14:05']);
      // Some wrap a result into an object of theirs.
      expect(third.text).toMatch(/^get_weather returned: .*\bSnow\b.*\. get_time returned: .*\b14:05\b.*\.$/);
      expect(third.calls).toEqual([]);
      const second = await conversation.say([{ text: 'And the weather in Bergen?' }]);
      expect(second.calls).toEqual([{ name: 'get_weather', arguments: { city: 'Bergen' } }]);
      expect((await conversation.answerCalls(['Rain'])).text).toMatch(/^get_weather returned: .*\bRain\b.*\.$/);
    });
  });
}
