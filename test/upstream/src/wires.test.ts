import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JournalLine } from './journal.ts';
import { isObject, type JsonObject } from './json-value.ts';
import { servedTokens } from './served-tokens.ts';
import { startUpstream, type Upstream } from './server.ts';
import { type Ask, ask, type Heard, WIRES, wireNamed } from './testing.ts';

let upstream: Upstream;
beforeAll(async () => {
  upstream = await startUpstream({ port: 0, paceMs: 0 });
});
afterAll(() => upstream.close());

async function settled(): Promise<JournalLine> {
  while (upstream.open() > 0) await new Promise(setImmediate);
  const line = upstream.journal().at(-1);
  if (line === undefined) throw new Error('nothing was served');
  return line;
}

const FINISHES: Record<string, { stop: string; length: string; filter: string; error: string }> = {
  'openai-chat': { stop: 'stop', length: 'length', filter: 'content_filter', error: 'server_error' },
  'openai-responses': { stop: 'completed', length: 'max_output_tokens', filter: 'content_filter', error: 'server_error' },
  'anthropic-messages': { stop: 'end_turn', length: 'max_tokens', filter: 'refusal', error: 'api_error' },
  gemini: { stop: 'STOP', length: 'MAX_TOKENS', filter: 'SAFETY', error: 'UNAVAILABLE' },
};

describe.each(WIRES.map((wire) => wire.name))('%s', (name) => {
  const wire = wireNamed(name);
  const words = FINISHES[name] ?? { stop: '', length: '', filter: '', error: '' };
  const hear = (what: Ask): Promise<Heard> => ask(upstream.origin, wire, what);

  test('says the same as every other wire, streamed or not, and tells the journal its usage', async () => {
    for (const stream of [false, true]) {
      const heard = await hear({ text: 'Tell me about Lisbon [[ref r-7]]', stream });
      expect([heard.status, heard.text, heard.finish]).toEqual([200, 'You said: Tell me about Lisbon', words.stop]);
      const line = await settled();
      expect(line).toMatchObject({
        model: wire.model,
        stream,
        client_marker: 'r-7',
        key_fingerprint: 'abcd',
        completed: true,
        usage_sent: true,
      });
      expect(line.usage).toMatchObject(heard.usage ?? { none: true });
      expect(wire.outputTokens(heard.usage ?? {})).toBe(6);
      expect(line.pieces_sent).toBe(6);
    }
  });

  test("a status is the provider's own error", async () => {
    for (const stream of [false, true]) {
      const heard = await hear({ sim: 'status=503', stream });
      expect([heard.status, heard.error?.type ?? heard.error?.status]).toEqual([503, words.error]);
      expect(await settled()).toMatchObject({ status: 503, usage: null, usage_sent: false, completed: true });
    }
    expect((await hear({ text: `hi ${name} [[sim times=1 status=500]]` })).status).toBe(500);
    expect((await hear({ text: `hi ${name} [[sim times=1 status=500]]` })).status).toBe(200);
  });

  test('an error in the middle of a stream is an event, and nothing of the end follows', async () => {
    const heard = await hear({ sim: 'error_event_after=6', text: 'one two three four five six', stream: true });
    expect(heard.status).toBe(200);
    expect(heard.error).not.toBeNull();
    expect(heard.text).toMatch(/^You said?/);
    expect([null, 'failed']).toContain(heard.finish);
    expect(heard.raw).not.toContain('[DONE]');
    expect(await settled()).toMatchObject({ completed: false, usage_sent: false });
  });

  test('malformed breaks the first event with content and no other, or the body', async () => {
    const whole = await hear({ text: 'one two three four', stream: true });
    const broken = await hear({ text: 'one two three four', stream: true, sim: 'malformed' });
    expect(broken.events.length).toBe(whole.events.length - 1);
    expect(whole.text).toBe(`You${broken.text}`);
    expect((await hear({ sim: 'malformed' })).events).toEqual([]);
  });

  test('a stream that is cut has no end, one that is cut anew has all of it', async () => {
    const cut = await hear({ text: 'one two three four five six seven eight', stream: true, sim: 'cut_after=7' });
    expect([cut.events.length, cut.finish]).toEqual([7, null]);
    expect(await settled()).toMatchObject({ completed: false, usage_sent: false });
    const whole = await hear({ text: 'grün', stream: true });
    for (const style of ['1', 'utf8', 'crlf', 'random']) {
      const again = await hear({ text: 'grün', stream: true, sim: `recut=${style}` });
      expect([again.text, again.finish, again.events.length]).toEqual([whole.text, whole.finish, whole.events.length]);
    }
  });

  test('no_usage, seed_usage, extra_output, tokens, reasoning, empty', async () => {
    for (const stream of [false, true]) {
      expect((await hear({ sim: 'no_usage', stream })).usage).toBeNull();
      const { usage } = await settled();
      expect(wire.outputTokens(usage ?? {})).toBe(5);
      const told = async (sim: string): Promise<number> => wire.outputTokens((await hear({ sim, stream })).usage ?? {});
      expect([await told('tokens=9'), await told('tokens=9 extra_output=4'), await told('tokens=9 reasoning=5')]).toEqual([9, 13, 14]);
      const empty = await hear({ sim: 'empty', stream });
      expect([empty.text, wire.outputTokens(empty.usage ?? { none: true })]).toEqual(['', 0]);
    }
    const seeded = await hear({ sim: 'seed_usage', stream: true });
    expect(wire.outputTokens(seeded.usage ?? {})).toBe(1);
    expect(seeded.events.slice(1).filter((payload) => wire.usageOf(payload) !== null)).toEqual([]);
    expect(await settled()).toMatchObject({ usage_sent: false, completed: true });
  });

  test('served_tier is the tier that is told', async () => {
    for (const stream of [false, true]) {
      expect((await hear({ sim: 'served_tier=priority', stream })).raw).toMatch(/"service_?[tT]ier": ?"priority"/);
    }
  });

  test('a filter may end the answer, and the finish may be any', async () => {
    for (const stream of [false, true]) {
      const filtered = await hear({ sim: 'content_filter=2', stream });
      expect([filtered.text, filtered.finish]).toEqual(['You said:', words.filter]);
      expect((await hear({ sim: 'content_filter', stream })).text).toBe('');
      expect((await hear({ sim: 'finish=odd_reason', stream })).finish).toBe('odd_reason');
    }
  });

  test('a limit cuts the answer', async () => {
    const limits: Record<string, JsonObject> = {
      'openai-chat': { max_tokens: 16 },
      'openai-responses': { max_output_tokens: 16 },
      'anthropic-messages': { max_tokens: 16 },
      gemini: { generationConfig: { maxOutputTokens: 16 } },
    };
    for (const stream of [false, true]) {
      const heard = await hear({ sim: 'tokens=40', stream, more: { ...limits[name] } });
      expect([heard.finish, wire.outputTokens(heard.usage ?? {})]).toEqual([words.length, 16]);
    }
  });

  test('unknown models and bad keys are refused', async () => {
    const gone = await hear({ model: 'unknown-1' });
    expect([gone.status, isObject(gone.error ?? undefined)]).toEqual([404, true]);
    const { path, headers, body } = wire.request({});
    const [header = ''] = Object.keys(headers);
    const call = (key: string): Promise<Response> =>
      fetch(upstream.origin + path, {
        method: 'POST',
        headers: { ...headers, [header]: header === 'authorization' ? `Bearer ${key}` : key },
        body: JSON.stringify(body),
      });
    expect((await call('sk-bad-1')).status).toBe(name === 'gemini' ? 400 : 401);
  });

  test('a body that is not JSON is refused in its own shape', async () => {
    const { path, headers } = wire.request({});
    const response = await fetch(upstream.origin + path, { method: 'POST', headers, body: '{"a":' });
    expect([response.status, await response.json()]).toEqual([400, expect.objectContaining({ error: expect.any(Object) })]);
  });
});

test('a served prompt counts alike in the usage of every provider: nothing twice, cached apart', async () => {
  for (const wire of WIRES) {
    const text = `${wire.name} ${'word '.repeat(1200)}`;
    await ask(upstream.origin, wire, { text, sim: 'cache=write reasoning=3 tokens=9' });
    const written = servedTokens(await settled());
    await ask(upstream.origin, wire, { text, sim: 'cache reasoning=3 tokens=9' });
    const read = servedTokens(await settled());
    const all = written === null ? 0 : written.input + written.written5m;
    expect(read === null ? 0 : read.input + read.cached).toBe(all);
    expect(all).toBeGreaterThan(1500);
    expect(read).toMatchObject({ cached: expect.any(Number), written5m: 0, written1h: 0, output: 12 });
    expect([read?.cached, written?.cached]).toEqual([1408, 0]);
  }
  expect(servedTokens({ provider: 'openai', usage: null })).toBeNull();
});

test('rules reach wires by the names of their providers, and recordings are no matter of theirs', async () => {
  const rules = `${upstream.origin}/__sim/faults`;
  await fetch(rules, { method: 'POST', body: JSON.stringify({ match: { provider: 'anthropic' }, status: 529 }) });
  const statuses = await Promise.all(WIRES.map(async (wire) => (await ask(upstream.origin, wire, {})).status));
  await fetch(rules, { method: 'DELETE' });
  expect(statuses).toEqual([200, 200, 529, 200]);
});
