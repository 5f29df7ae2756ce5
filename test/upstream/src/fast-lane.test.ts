import { afterAll, beforeAll, expect, test } from 'vitest';
import { bodyOf } from './answer-body.ts';
import { startUpstream, type Upstream } from './server.ts';

let upstream: Upstream;
beforeAll(async () => {
  upstream = await startUpstream({ port: 0, fast: true });
});
afterAll(() => upstream.close());

function ask(text: string, stream = false): Promise<Response> {
  return fetch(`${upstream.origin}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-test' },
    body: JSON.stringify({ model: 'gpt-4o', stream, messages: [{ role: 'user', content: text }] }),
  });
}

test('a repeated request gets the remembered bytes, a different one its own', async () => {
  const [first, again, other] = [await (await ask('hello')).text(), await (await ask('hello')).text(), await (await ask('bye')).text()];
  expect(again).toBe(first);
  expect(other).toContain('You said: bye');
  expect(await (await ask('hello', true)).text()).toBe(await (await ask('hello', true)).text());
  expect(upstream.journal()).toEqual([]);
});

test('requests that differ only in their middle are told apart while they are small', async () => {
  const long = (word: string): string => `${'a '.repeat(500)}${word}${' b'.repeat(500)}`;
  expect((await bodyOf(ask(`one ${long('x')}`))).id).not.toBe((await bodyOf(ask(`one ${long('y')}`))).id);
});

test('faults are never remembered', async () => {
  const text = 'now [[sim times=1 status=503]]';
  expect([(await ask(text)).status, (await ask(text)).status]).toEqual([503, 200]);
  const rules = `${upstream.origin}/__sim/faults`;
  await fetch(rules, { method: 'POST', body: JSON.stringify({ status: 500 }) });
  expect((await ask('hello')).status).toBe(500);
  await fetch(rules, { method: 'DELETE' });
  expect((await ask('hello')).status).toBe(200);
});
