import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { bodyOf } from './answer-body.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'upstream-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function output(child: ChildProcess): Promise<{ code: number | null; out: string; err: string }> {
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    err += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, out, err };
}

async function start(...args: string[]): Promise<{ child: ChildProcess; origin: string }> {
  const child = fork(MAIN, ['--port', '0', ...args], { silent: true });
  const [message] = await once(child, 'message');
  expect(message).toMatchObject({ type: 'ready' });
  return { child, origin: (message as { origin: string }).origin };
}

test('says what it can do', async () => {
  const { code, out } = await output(spawn(process.execPath, [MAIN, '--help']));
  expect([code, out.includes('--journal')]).toEqual([0, true]);
});

test('an unknown option or a taken port is one clear line', async () => {
  const wrong = await output(spawn(process.execPath, [MAIN, '--prot', '1']));
  expect([wrong.code, wrong.err.trim().split('\n').length]).toEqual([1, 1]);
  const { child, origin } = await start();
  const port = new URL(origin).port;
  const taken = await output(spawn(process.execPath, [MAIN, '--port', port]));
  expect([taken.code, taken.err]).toEqual([1, `upstream: port ${port} on 127.0.0.1 is taken; choose another with --port\n`]);
  child.kill('SIGTERM');
  await once(child, 'exit');
});

test('a stop ends at once and leaves a complete journal, open calls included', async () => {
  const journal = join(folder, 'journal.jsonl');
  const { child, origin } = await start('--journal', journal);
  const call = (text: string): Promise<Response> =>
    fetch(`${origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-test-9876' },
      body: JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: text }] }),
    });
  await (await call('hello')).text();
  const hanging = call('hello [[sim silence]]').catch((error: unknown) => error);
  while ((await bodyOf(fetch(`${origin}/__sim/health`))).open === 0) await new Promise(setImmediate);
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
  expect(await hanging).toBeInstanceOf(Error);
  const lines = readFileSync(journal, 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { n: 1, completed: true, key_fingerprint: '9876' },
    { n: 2, completed: false, aborted_by_client: false, head_sent: false, fault: 'silence' },
  ]);
});

test('it ends with its parent', async () => {
  const { child } = await start();
  child.disconnect();
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
});
