import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bodyOf } from './answer-body.ts';
import { startUpstream, type Upstream } from './server.ts';

const folder = mkdtempSync(join(tmpdir(), 'recordings-'));
let upstream: Upstream;

beforeAll(async () => {
  const chat = join(folder, 'acme', 'chat');
  const messages = join(folder, 'acme', 'messages');
  mkdirSync(chat, { recursive: true });
  mkdirSync(messages, { recursive: true });
  writeFileSync(join(chat, 'talk.1.json'), '{"id":"one","usage":{"prompt_tokens":1}}');
  writeFileSync(join(chat, 'talk.2.json'), '{"id":"two","error":{"message":"slow down"}}');
  const headers = { 'content-type': 'application/json', 'retry-after': '9', 'x-request-id': '<REQUEST_ID>', 'content-length': '3' };
  writeFileSync(join(chat, 'talk.2.json.meta.json'), JSON.stringify({ response: { status: 429, headers } }));
  writeFileSync(join(chat, 'both.json'), '{"id":"plain"}');
  writeFileSync(join(chat, 'both.chunks.txt'), '{"id":"c1","choices":[]}\n{"id":"c1","usage":{"prompt_tokens":4}}\n');
  writeFileSync(
    join(messages, 'said.chunks.txt'),
    '{"type":"message_start","message":{"id":"m1","usage":{"input_tokens":5}}}\n{"type":"message_stop"}\n',
  );
  upstream = await startUpstream({ port: 0, fixturesDir: folder });
});
afterAll(async () => {
  await upstream.close();
  rmSync(folder, { recursive: true });
});

function play(model: string, stream = false, path = '/v1/chat/completions'): Promise<Response> {
  const body = JSON.stringify({ model, stream, messages: [] });
  return fetch(upstream.origin + path, { method: 'POST', headers: { authorization: 'Bearer sk-test' }, body });
}

test('a sequence plays step by step and starts over, with recorded statuses and headers', async () => {
  const first = await play('sim/talk');
  expect([first.status, (await bodyOf(first)).id]).toEqual([200, 'one']);
  const second = await play('sim/talk');
  expect([second.status, second.headers.get('retry-after'), (await bodyOf(second)).id]).toEqual([429, '9', 'two']);
  // A placeholder is no id: the upstream gives its own.
  expect(second.headers.get('x-request-id')).toMatch(/^req_/);
  expect((await bodyOf(play('sim/talk'))).id).toBe('one');
  expect((await bodyOf(play('sim/acme/chat/talk.2'))).id).toBe('two');
});

test('a stream is framed as its API frames it', async () => {
  const chat = await play('sim/both', true);
  expect(chat.headers.get('content-type')).toContain('text/event-stream');
  expect(await chat.text()).toBe('data: {"id":"c1","choices":[]}\n\ndata: {"id":"c1","usage":{"prompt_tokens":4}}\n\ndata: [DONE]\n\n');
  const messages = await play('sim/said', true, '/v1/messages');
  expect(await messages.text()).toMatch(/^event: message_start\ndata: \{.*\}\n\nevent: message_stop\ndata: \{.*\}\n\n$/);
  expect((await bodyOf(play('sim/both', false))).id).toBe('plain');
});

test('the journal holds the recorded usage and id', async () => {
  await (await play('sim/both', true)).text();
  expect(upstream.journal().at(-1)).toMatchObject({ id: 'c1', usage: { prompt_tokens: 4 }, usage_sent: true, completed: true });
});

test('an unknown recording is a 404 that says so', async () => {
  const response = await play('sim/nothing-here');
  expect(response.status).toBe(404);
  expect((await bodyOf(response)).error.message).toContain("No recording is named 'nothing-here'");
});
