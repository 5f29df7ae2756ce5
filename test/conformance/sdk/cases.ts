/** What every client library must be able to do with a model of every upstream dialect: the same cases for all, with one expected content. */
import type { DialectName } from '@meridian/domain/dialect';
import { describe, expect, it } from 'vitest';
import { until } from '../../world/world.ts';
import { type Client, type Part, raisedBy, type Sdk, type Terms, type ToolTerms, type Turn } from './sdk.ts';
import type { Stage } from './stage.ts';

/** A model of each dialect, by its endpoint of the first choice. */
const UPSTREAMS: readonly { readonly dialect: DialectName; readonly model: string; readonly path: RegExp }[] = [
  { dialect: 'openai-chat', model: 'gpt-5.4-mini', path: /^\/v1\/chat\/completions$/ },
  { dialect: 'openai-responses', model: 'gpt-5.3-codex', path: /^\/v1\/responses$/ },
  { dialect: 'anthropic-messages', model: 'claude-sonnet-4-6', path: /^\/anthropic\/v1\/messages/ },
  { dialect: 'gemini', model: 'gemini-3.5-flash', path: /^\/gemini\/v1beta\/models\/gemini-3\.5-flash:/ },
];

const EMBEDDERS = [
  { model: 'text-embedding-3-small', dimensions: 1536 },
  { model: 'gemini-embedding-001', dimensions: 3072 },
];

/** The dialects that have such calls. */
const COUNTING: ReadonlySet<DialectName> = new Set(['anthropic-messages', 'gemini']);
const EMBEDDING: ReadonlySet<DialectName> = new Set(['openai-chat', 'gemini']);

const FINISHES: Readonly<Record<DialectName, { readonly stop: string; readonly called: string; readonly length: string }>> = {
  'openai-chat': { stop: 'stop', called: 'tool_calls', length: 'length' },
  'openai-responses': { stop: 'completed', called: 'completed', length: 'max_output_tokens' },
  'anthropic-messages': { stop: 'end_turn', called: 'tool_use', length: 'max_tokens' },
  gemini: { stop: 'STOP', called: 'STOP', length: 'MAX_TOKENS' },
};

const WEATHER: ToolTerms = { name: 'get_weather', description: 'The weather in a city', parameters: ['city'] };
const CLOCK: ToolTerms = { name: 'get_time', description: 'The time of day in a zone', parameters: ['zone'] };
const TOOLS = [WEATHER, CLOCK];

const PIXEL = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

/** The class that a library raises for each status. */
export type ErrorNames = Readonly<Record<400 | 401 | 402 | 404, string>>;

const said = (text: string): readonly Part[] => [{ text }];

export function describeSdk(sdk: Sdk, stage: () => Stage, errorNames: ErrorNames): void {
  const finishes = FINISHES[sdk.dialect];
  const client = (apiKey = stage().world.apiKey): Client => sdk.connect(stage().world.url(stage().region), apiKey);

  describe(sdk.name, () => {
    describe.each(UPSTREAMS)('with a model of $dialect', ({ dialect, model, path }) => {
      const converse = (terms: Partial<Terms> = {}) => client().converse({ model, stream: false, ...terms });
      const expectTurn = (turn: Turn, text: string): void => {
        expect(turn).toMatchObject({ text, calls: [], finish: finishes.stop });
      };

      it('talks over two turns, whole and streamed, with the same words and the same usage', async () => {
        const turns: Turn[] = [];
        for (const stream of [false, true]) {
          const conversation = converse({ stream });
          const first = await conversation.say(said('Tell me about Lisbon.'));
          expectTurn(first, 'You said: Tell me about Lisbon.');
          expect(first.inputTokens).toBeGreaterThan(0);
          expect(first.outputTokens).toBeGreaterThan(0);
          expect(first.model).toBe(model);
          expectTurn(await conversation.say(said('Grüße aus Zürich 🚲')), 'You said: Grüße aus Zürich 🚲');
          turns.push(first);
        }
        expect(turns[1]).toEqual(turns[0]);
        const served = await stage().world.journal();
        expect(served.at(-1)?.path).toMatch(path);
      });

      it.each([false, true])('calls tools over three turns while it thinks (stream: %s)', async (stream) => {
        const conversation = converse({ stream, tools: TOOLS, thinks: true });
        const first = await conversation.say(said('What is the weather in Oslo?'));
        expect(first).toMatchObject({ calls: [{ name: 'get_weather', arguments: { city: 'Oslo' } }], finish: finishes.called });
        expectTurn(await conversation.answerCalls(['Snow, -4 °C']), 'get_weather returned: Snow, -4 °C.');
        const second = await conversation.say(said('And the time in Bergen?'));
        expect(second).toMatchObject({ calls: [{ name: 'get_time', arguments: { zone: 'Bergen' } }], finish: finishes.called });
        expectTurn(await conversation.answerCalls(['14:05']), 'get_time returned: 14:05.');
      });

      it.each([false, true])('calls two tools at once, and takes both results (stream: %s)', async (stream) => {
        const conversation = converse({ stream, tools: TOOLS, thinks: true });
        const first = await conversation.say(said('The weather and the time in Oslo?'));
        expect(first.finish).toBe(finishes.called);
        expect(first.calls).toEqual([
          { name: 'get_weather', arguments: { city: 'Oslo' } },
          { name: 'get_time', arguments: { zone: 'Oslo' } },
        ]);
        expectTurn(await conversation.answerCalls(['Snow', '14:05']), 'get_weather returned: Snow. get_time returned: 14:05.');
      });

      it('sees an image in the request', async () => {
        expectTurn(await converse().say([{ text: 'What is this?' }, { image: PIXEL }]), 'You said: What is this? I received 1 image.');
      });

      // Google's API takes no address of a picture, so the node would have to fetch it. What is only named needs an output limit there.
      it.skipIf(dialect === 'gemini')('has the provider see an image by its URL', async () => {
        const turn = await converse({ maxOutputTokens: 2_000 }).say([{ text: 'What is this?' }, { image: 'https://example.com/cat.png' }]);
        expectTurn(turn, 'You said: What is this? I received 1 image.');
      });

      it.each([false, true])('gives what a JSON schema asks for (stream: %s)', async (stream) => {
        const turn = await converse({ stream, json: ['city'] }).say(said('In Oslo'));
        expect(turn).toMatchObject({ calls: [], finish: finishes.stop });
        expect(JSON.parse(turn.text)).toEqual({ city: 'Oslo' });
      });

      it.skipIf(sdk.dialect === 'anthropic-messages').each([false, true])('gives JSON without a schema (stream: %s)', async (stream) => {
        const turn = await converse({ stream, json: 'any' }).say(said('Answer in JSON about Oslo'));
        expect(turn).toMatchObject({ calls: [], finish: finishes.stop });
        // Anthropic has no such mode: the model is told, and the simulated one does not listen.
        if (dialect === 'anthropic-messages') expect(turn.text).toContain('You said: Answer in JSON about Oslo');
        else expect(JSON.parse(turn.text)).toEqual({ answer: 'You said: Answer in JSON about Oslo' });
      });

      it('says that its limit ended the answer', async () => {
        const turn = await converse({ maxOutputTokens: 16 }).say(said('Go on [[sim tokens=40 reasoning=0]]'));
        expect(turn.finish).toBe(finishes.length);
        expect(turn.outputTokens).toBe(16);
      });

      it('raises its own errors for a bad parameter and for want of credit', async () => {
        const bad = await raisedBy(() => converse({ maxOutputTokens: -1 }).say(said('Hello.')));
        expect(bad).toMatchObject({ name: errorNames[400], status: 400 });
        const poor = await raisedBy(() => client(stage().poorKey).converse({ model, stream: false }).say(said('Hello.')));
        expect(poor).toMatchObject({ name: errorNames[402], status: 402 });
        const poorStream = await raisedBy(() => client(stage().poorKey).converse({ model, stream: true }).say(said('Hello.')));
        expect(poorStream).toMatchObject({ name: errorNames[402], status: 402 });
      });

      it('leaves a stream, and the provider sees it go', async () => {
        const mark = `left-${sdk.name.replaceAll(' ', '-')}-${model}`;
        await converse({ stream: true }).leave(`Go on [[sim tokens=4000 reasoning=0 pace_ms=20]] [[ref ${mark}]]`);
        await until(
          async () => (await stage().world.journal()).some((line) => line.client_marker === mark && line.aborted_by_client),
          `the provider to see ${mark} leave`,
          20_000,
        );
      });
    });

    it.skipIf(!COUNTING.has(sdk.dialect)).each(UPSTREAMS)('counts the tokens of a request to $model', async ({ model }) => {
      const [short, long] = [await count('Hello.'), await count('Hello there, and a good morning to all of you. '.repeat(20))];
      expect(short).toBeGreaterThan(0);
      expect(short).toBeLessThan(30);
      expect(long).toBeGreaterThan(short + 100);

      function count(text: string): Promise<number> {
        const { countTokens } = client();
        if (countTokens === undefined) throw new Error(`${sdk.name} counts no tokens`);
        return countTokens(model, text);
      }
    });

    it.skipIf(!EMBEDDING.has(sdk.dialect)).each(EMBEDDERS)('embeds texts with $model', async ({ model, dimensions }) => {
      const { embed } = client();
      if (embed === undefined) throw new Error(`${sdk.name} embeds nothing`);
      // Long enough that a count of ours, where the provider tells none, is near.
      const texts = [
        'Lisbon is a city on the Tagus, and hilly. '.repeat(20),
        'Oslo lies at the end of a fjord, and is green. '.repeat(20),
      ] as const;
      const [one, two] = [await embed(model, [texts[0]]), await embed(model, texts)];
      expect([one.length, two.length]).toEqual([1, 2]);
      expect([...one, ...two].map(({ length }) => length)).toEqual([dimensions, dimensions, dimensions]);
      for (const [index, value] of (two[0] ?? []).entries()) expect(value).toBeCloseTo(one[0]?.[index] ?? Number.NaN, 5);
      expect(two[1]).not.toEqual(two[0]);
    });

    it.each(['gpt-4o-mini', 'claude-haiku-4-5'])('raises an error of its own where a stream of %s breaks', async (model) => {
      const conversation = client().converse({ model, stream: true });
      const broken = await raisedBy(() => conversation.say(said('one two three four five six seven eight [[sim error_event_after=8]]')));
      expect(broken.name).toMatch(/Error$/);
    });

    it('lists models', async () => {
      expect(await client().models()).toEqual(expect.arrayContaining(UPSTREAMS.map(({ model }) => model)));
    });

    it('raises its own errors for a bad key and a model that there is not', async () => {
      const bad = await raisedBy(() => client('sk-mrd-nonsense').converse({ model: 'gpt-5.4-mini', stream: false }).say(said('Hello.')));
      expect(bad).toMatchObject({ name: errorNames[401], status: 401 });
      for (const stream of [false, true]) {
        const gone = await raisedBy(() => client().converse({ model: 'gpt-9', stream }).say(said('Hello.')));
        expect(gone).toMatchObject({ name: errorNames[404], status: 404 });
        expect(gone.message).toContain('gpt-9');
      }
    });
  });
}
