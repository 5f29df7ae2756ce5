import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MessagesPassThroughStream } from './pass-through-stream.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open/anthropic');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded streams in ${FIXTURES}`);

type Event = Readonly<Record<string, unknown>> & { readonly type: string };

const one = (event: Event) => Buffer.from(`event: ${event.type}\ndata: ${JSON.stringify(event)}   \n\n`);
const sse = (...events: readonly Event[]) => Buffer.concat(events.map(one));

function recordedStreams(): [string, Buffer][] {
  if (!present) return [];
  const found: [string, Buffer][] = [];
  for (const name of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
    const read = () => readFileSync(join(FIXTURES, name), 'utf8');
    if (name.endsWith('.sse') && !name.includes('stream-error')) found.push([name, Buffer.from(read())]);
    if (name.endsWith('.chunks.txt'))
      found.push([
        name,
        sse(
          ...read()
            .split('\n')
            .filter(Boolean)
            .map((line): Event => JSON.parse(line)),
        ),
      ]);
  }
  return found;
}

const stream = (model?: string) => new MessagesPassThroughStream({ wantsStreamUsage: true, model });

/** All of a stream's bytes, cut as given. */
function passed(
  pieces: readonly Buffer[],
  model?: string,
  cost = '0.25',
): { readonly machine: MessagesPassThroughStream; readonly out: Buffer } {
  const machine = stream(model);
  const out: Buffer[] = [];
  for (const piece of pieces) {
    machine.push(piece);
    out.push(...machine.take());
  }
  machine.close();
  out.push(...machine.take());
  if (machine.end.state === 'finished') out.push(...machine.terminal(cost));
  return { machine, out: Buffer.concat(out) };
}

/** Of 1 to 7 bytes, so that characters and line ends are cut, too. */
function pieces(bytes: Buffer): Buffer[] {
  const cut: Buffer[] = [];
  for (let at = 0, size = 1; at < bytes.length; at += size, size = (size % 7) + 1) cut.push(bytes.subarray(at, at + size));
  return cut;
}

const events = (bytes: Buffer): Event[] =>
  bytes
    .toString('utf8')
    .split(/\r?\n\r?\n/)
    .filter((block) => block !== '')
    .map((block) => JSON.parse(block.split('data: ')[1] ?? '{}'));

const START: Event = {
  type: 'message_start',
  message: {
    id: 'msg_1',
    model: 'claude-x',
    content: [{ model: 'inner' }],
    usage: { input_tokens: 5, cache_read_input_tokens: 2, output_tokens: 1 },
  },
};
const block = (index: number, content_block: object): Event => ({ type: 'content_block_start', index, content_block });
const delta = (index: number, value: object): Event => ({ type: 'content_block_delta', index, delta: value });
const TEXT = block(0, { type: 'text', text: '' });
const HI = delta(0, { type: 'text_delta', text: 'Hi there' });
const BLOCK_STOP: Event = { type: 'content_block_stop', index: 0 };
const END: Event = { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 7 } };
const STOP: Event = { type: 'message_stop' };
const PING: Event = { type: 'ping' };

describe('recorded streams', () => {
  it.each(recordedStreams())('%s goes out with the same events but for pings, with the cost in the last usage', (_name, bytes) => {
    const { machine, out } = passed([bytes]);
    expect(machine.end).toEqual({ state: 'finished' });
    const expected = events(bytes)
      .filter(({ type }) => type !== 'ping')
      .map((event) => (event.type === 'message_delta' ? { ...event, usage: { ...(event.usage as object), cost_usd: 0.25 } } : event));
    expect(events(out)).toEqual(expected);
    expect(machine.facts.usage).toMatchObject({ output: expect.any(Number) });
    expect(machine.facts.usageIsInterim).toBe(false);
  });

  it.each(recordedStreams())('%s is the same when it comes in small pieces, with other line ends', (_name, bytes) => {
    const whole = passed([bytes]).out;
    expect(passed(pieces(bytes)).out).toEqual(whole);
    expect(events(passed(pieces(Buffer.from(bytes.toString('utf8').replaceAll('\n', '\r\n')))).out)).toEqual(events(whole));
  });
});

describe('a stream that passes through', () => {
  it('is the same wherever it is cut', () => {
    const bytes = sse(START, PING, TEXT, HI, delta(0, { type: 'text_delta', text: 'ünï' }), BLOCK_STOP, END, STOP);
    const whole = passed([bytes], 'shown').out;
    for (let at = 0; at <= bytes.length; at++) expect(passed([bytes.subarray(0, at), bytes.subarray(at)], 'shown').out).toEqual(whole);
  });

  it('keeps the bytes of its content', () => {
    const inner = sse(TEXT, HI, delta(0, { type: 'text_delta', text: 'ünï "usage" {"type":"error"}' }), BLOCK_STOP);
    expect(passed([Buffer.concat([one(START), inner, sse(END, STOP)])]).out.includes(inner)).toBe(true);
  });

  it('is committed by its first content, and not before', () => {
    const machine = stream();
    machine.push(sse(START, PING, TEXT));
    expect(machine.committed).toBe(false);
    machine.push(one(HI));
    expect(machine.committed).toBe(true);
    for (const first of [
      block(0, { type: 'tool_use', id: 't', name: 'f', input: {} }),
      block(0, { type: 'redacted_thinking', data: 'x' }),
      delta(0, { type: 'signature_delta', signature: 's' }),
      delta(0, { type: 'thinking_delta', thinking: 'x' }),
    ]) {
      const other = stream();
      other.push(sse(START, first));
      expect(other.committed).toBe(true);
    }
  });

  it('is committed when it holds too much', () => {
    const machine = stream();
    machine.push(sse(START, block(0, { type: 'text', text: '', padding: 'x'.repeat(70_000) })));
    expect(machine.committed).toBe(true);
  });

  it('has the model’s name as the client is to read it, in its own place only', () => {
    const [start] = events(passed([sse(START, TEXT, HI, BLOCK_STOP, END, STOP)], 'shown').out);
    expect(start).toEqual({ ...START, message: { ...(START.message as object), model: 'shown' } });
  });

  it('adds the cost to the last usage alone, digit by digit', () => {
    const { out } = passed([sse(START, TEXT, HI, BLOCK_STOP, END, STOP)], undefined, '0.00000010');
    expect(out.toString()).toContain('"usage":{"output_tokens":7,"cost_usd":0.00000010}}');
    expect(out.toString().match(/cost_usd/g)).toHaveLength(1);
    expect(out.toString().match(/message_stop/g)).toHaveLength(2);
  });

  it('merges usage: the beginning is a seed until the end tells', () => {
    const machine = stream();
    machine.push(sse(START, TEXT, HI));
    expect(machine.facts).toMatchObject({ usage: { input: 5, cached_input: 2, output: 1 }, usageIsInterim: true, countedOutputTokens: 2 });
    machine.push(sse(BLOCK_STOP, END, STOP));
    expect(machine.facts).toMatchObject({ usage: { input: 5, cached_input: 2, output: 7 }, usageIsInterim: false, model: 'claude-x' });
  });

  it('counts thinking and arguments, too, and every event as a token at least', () => {
    const machine = stream();
    const pieces = [
      delta(0, { type: 'thinking_delta', thinking: 'x'.repeat(40) }),
      delta(1, { type: 'input_json_delta', partial_json: 'y'.repeat(40) }),
    ];
    machine.push(sse(START, HI, ...pieces));
    expect(machine.facts.countedOutputTokens).toBe(22);
    const short = stream();
    short.push(sse(START, ...Array.from({ length: 9 }, () => delta(0, { type: 'text_delta', text: 'x' }))));
    expect(short.facts.countedOutputTokens).toBe(9);
  });

  it('holds the end back for its cost, and lets it go where more content comes', () => {
    const machine = stream();
    machine.push(sse(START, TEXT, HI, END));
    const before = Buffer.concat(machine.take()).toString();
    expect(before).not.toContain('message_delta');
    machine.push(sse(delta(0, { type: 'text_delta', text: 'more' })));
    const after = Buffer.concat(machine.take()).toString();
    expect(after.indexOf('message_delta')).toBeLessThan(after.indexOf('more'));
    expect(machine.facts.usageIsInterim).toBe(true);
  });

  it('drops the upstream’s keep-alives and a second beginning, and keeps what it does not know', () => {
    const odd: Event = { type: 'brand_new', x: 1 };
    const bytes = Buffer.concat([one(START), Buffer.from(': comment\n\n'), sse(PING, TEXT, HI, START, odd, PING, BLOCK_STOP, END, STOP)]);
    expect(events(passed([bytes]).out).map(({ type }) => type)).toEqual([
      'message_start',
      'content_block_start',
      'content_block_delta',
      'brand_new',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
  });

  it('reads events that have no name', () => {
    const unnamed = [START, TEXT, HI, BLOCK_STOP, END, STOP].map((event) => `data: ${JSON.stringify(event)}\n\n`).join('');
    const { machine, out } = passed([Buffer.from(unnamed)]);
    expect(machine.facts).toMatchObject({ usage: { output: 7 }, usageIsInterim: false });
    expect(events(out).at(-2)).toMatchObject({ usage: { cost_usd: 0.25 } });
  });

  it('ends where the provider closes after the reason for the end', () => {
    const { machine, out } = passed([sse(START, TEXT, HI, BLOCK_STOP, END)]);
    expect(machine.end).toEqual({ state: 'finished' });
    expect(events(out).at(-1)).toEqual({ type: 'message_stop' });
  });

  it.each([
    ['closed without an end', [START, TEXT, HI]],
    ['stopped without a reason', [START, TEXT, HI, BLOCK_STOP, STOP]],
    ['broken by an error', [START, TEXT, HI, { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }]],
  ] as [string, Event[]][])('is broken when it is %s', (_name, list) => {
    const { machine, out } = passed([sse(...list)]);
    expect(machine.end).toMatchObject({ state: 'broken', error: { code: 'upstream_error' } });
    expect(out.toString()).not.toContain('"error"');
  });

  it('is broken by bytes that are no JSON, before the commit and after it', () => {
    for (const list of [[START], [START, TEXT, HI]]) {
      const machine = stream();
      machine.push(Buffer.concat([sse(...list), Buffer.from('event: content_block_delta\ndata: {"type":\n\n')]));
      expect(machine.end.state).toBe('broken');
    }
  });
});

describe('a stream whose usage stands twice', () => {
  it('is broken before it is paid for', () => {
    const machine = stream();
    machine.push(sse({ type: 'message_start', message: { model: 'm', usage: { input_tokens: 1, output_tokens: 1 } } }));
    machine.push(sse({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hi' } }));
    const twice = '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1},"usage":{"output_tokens":2}}';
    machine.push(Buffer.from(`event: message_delta\ndata: ${twice}\n\n`));
    machine.push(sse({ type: 'message_stop' }));
    expect(machine.end.state).toBe('broken');
  });
});
