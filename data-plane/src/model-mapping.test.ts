import type { Alias } from '@meridian/domain/snapshot';
import { afterEach, describe, expect, it } from 'vitest';
import { ANSWER, answerWith, ENDING, event, type Provider, startTestNode, streamHead, type TestNode } from './testing.ts';

let node: TestNode;
afterEach(() => node.stop());

/** The model that the account gets in the place of `m-2`. */
const MAPPED: Alias = { name: 'm-2', modelId: 'm-1.5', accountId: 'acc_1' };

/** What a provider was asked, with the answer of a test. */
function recording(answer: Provider): { readonly bodies: Record<string, unknown>[]; readonly provider: Provider } {
  const bodies: Record<string, unknown>[] = [];
  return {
    bodies,
    provider: (request, response, body) => {
      bodies.push(JSON.parse(body));
      answer(request, response, body);
    },
  };
}

const streaming: Provider = (_, response) => {
  streamHead(response);
  response.end(event({ role: 'assistant', content: 'Hel' }) + event({ content: 'lo' }) + ENDING);
};

function chat(fields: object): Promise<Response> {
  return fetch(`${node.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${node.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], ...fields }),
  });
}

/** The model's name in every event of a stream that has one. */
function namesIn(stream: string): unknown[] {
  const events = [...stream.matchAll(/^data: (\{.*)$/gm)].map(([, data = '']) => JSON.parse(data).model);
  return [...new Set(events)];
}

describe('a name that an account has for another model', () => {
  it('is what the answer says, and the model that answered what x-actual-model, the charge and the receipt say', async () => {
    const { bodies, provider } = recording(answerWith(ANSWER));
    node = await startTestNode(provider, { aliases: [MAPPED] });
    const answer = await chat({ model: 'M-2' });
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ model: 'M-2' });
    expect(answer.headers.get('x-actual-model')).toBe('up-m-1.5');
    expect(bodies).toMatchObject([{ model: 'up-m-1.5' }]);
    const [final] = await node.finals(1);
    expect(final).toMatchObject({ askedModel: 'M-2', answeringModelId: 'm-1.5', outcome: 'success' });
  });

  it('is what every event of a stream says', async () => {
    node = await startTestNode(streaming, { aliases: [MAPPED] });
    const answer = await chat({ model: 'm-2', stream: true, stream_options: { include_usage: true } });
    expect(answer.headers.get('x-actual-model')).toBe('up-m-1.5');
    expect(namesIn(await answer.text())).toEqual(['m-2']);
  });

  it('is what the answer says also where the provider knows its model by that name', async () => {
    // Without the alias, the provider's word would stand: what it answers with is the dated name of the one that was asked for.
    node = await startTestNode(streaming, { aliases: [{ ...MAPPED, name: 'up' }], endpoint: { upstreamModel: 'up' } });
    const answer = await chat({ model: 'up', stream: true });
    expect(namesIn(await answer.text())).toEqual(['up']);
  });

  it('brings its reasoning effort, in the place of the one that is asked for', async () => {
    const { bodies, provider } = recording(answerWith(ANSWER));
    node = await startTestNode(provider, { aliases: [{ ...MAPPED, settings: { reasoningEffort: 'high' } }] });
    for (const asked of [{}, { reasoning_effort: 'low' }]) {
      const answer = await chat({ model: 'm-2', ...asked });
      expect(answer.status).toBe(200);
      expect(await answer.json()).toMatchObject({ model: 'm-2', choices: [{ message: { content: 'Hello there' } }] });
    }
    expect(bodies.map((body) => body.reasoning_effort)).toEqual(['high', 'high']);
    // The same model by its own name is asked as the client asks.
    expect((await chat({ model: 'm-1.5', reasoning_effort: 'low' })).status).toBe(200);
    expect((await chat({ model: 'm-1.5' })).status).toBe(200);
    expect(bodies.slice(2).map((body) => body.reasoning_effort)).toEqual(['low', undefined]);
  });

  it('brings it in a stream as well', async () => {
    const { bodies, provider } = recording(streaming);
    node = await startTestNode(provider, { aliases: [{ ...MAPPED, settings: { reasoningEffort: 'minimal' } }] });
    const answer = await chat({ model: 'm-2', stream: true });
    expect(namesIn(await answer.text())).toEqual(['m-2']);
    expect(bodies).toMatchObject([{ model: 'up-m-1.5', reasoning_effort: 'minimal', stream: true }]);
  });

  it('is served in the protocol of the vendor whose name it is, whatever the other model speaks', async () => {
    const { bodies, provider } = recording((request, response, body) =>
      (JSON.parse(body).stream === true ? streaming : answerWith(ANSWER))(request, response, body),
    );
    const name = 'claude-opus-4-7';
    const aliases: Alias[] = [{ ...MAPPED, name, settings: { reasoningEffort: 'high' } }];
    node = await startTestNode(provider, { aliases, capabilities: ['reasoning'] });
    const message = (fields: object): Promise<Response> =>
      fetch(`${node.url}/v1/messages`, {
        method: 'POST',
        headers: { 'x-api-key': node.apiKey, 'anthropic-version': '2023-06-01', 'content-type': 'application/json' },
        body: JSON.stringify({
          model: name,
          max_tokens: 4_000,
          // What it asks of the one model is nothing to the other.
          thinking: { type: 'enabled', budget_tokens: 1_024 },
          messages: [{ role: 'user', content: 'Hi' }],
          ...fields,
        }),
      });
    const answer = await message({});
    expect(await answer.json()).toMatchObject({ type: 'message', model: name, content: [{ type: 'text', text: 'Hello there' }] });
    expect([answer.status, answer.headers.get('x-actual-model')]).toEqual([200, 'up-m-1.5']);
    const stream = await (await message({ stream: true })).text();
    expect(stream).toMatch(/"type":"message_start".*"model":"claude-opus-4-7"/);
    expect(stream).not.toContain('m-1.5');
    expect(bodies).toMatchObject([
      { model: 'up-m-1.5', reasoning_effort: 'high' },
      { model: 'up-m-1.5', reasoning_effort: 'high', stream: true },
    ]);
  });
});
