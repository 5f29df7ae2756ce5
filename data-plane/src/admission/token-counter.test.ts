import { afterEach, describe, expect, it } from 'vitest';
import { Deadlines } from '../upstream/deadline.ts';
import { COUNT_WITHIN_MS, MAX_WAITING_COUNTS, TokenCounter, WORKER_STUCK_MS } from './token-counter.ts';
import type { Encoding } from './tokenizers.ts';

/** A worker that ends as soon as it starts, and one that never answers. */
const DYING = new URL('data:text/javascript,process.exit(7)');
const SILENT = new URL("data:text/javascript,import('node:worker_threads').then(({ parentPort }) => parentPort.on('message', () => {}))");

let counter: TokenCounter;
let timeMs = 0;
let deadlines: Deadlines;
let told: { message: string; fields: Readonly<Record<string, unknown>> }[];
afterEach(() => counter.close());

function start(worker?: URL): void {
  timeMs = 0;
  deadlines = new Deadlines({ nowMs: () => timeMs });
  told = [];
  const tell = (fields: Readonly<Record<string, unknown>>, message: string): void => void told.push({ message, fields });
  counter = new TokenCounter({
    after: (delayMs, expired) => deadlines.after(delayMs, expired),
    log: { info: tell, warn: tell },
    ...(worker === undefined ? {} : { worker }),
  });
}

function pass(ms: number): void {
  timeMs += ms + 500;
  deadlines.advance();
}

const counted = (texts: readonly string[], encoding: Encoding = 'o200k_base'): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    if (counter.count(encoding, texts, resolve) === undefined) reject(new Error('not taken'));
  });

describe('the token counter', () => {
  it('counts as the vendor does, each text by itself, and says once what an encoding takes', async () => {
    start();
    expect(await counted(['tiktoken is great!'], 'cl100k_base')).toBe(6);
    expect(await counted(['<|endoftext|>'], 'cl100k_base')).toBe(7);
    expect(await counted(['hello', ' world'])).toBe(2);
    expect(await counted(['hello world', '', 'hello world'])).toBe(4);
    expect(await counted([])).toBe(0);
    expect(told.map(({ message, fields }) => [message, fields.encoding])).toEqual([
      ['a tokenizer was loaded', 'cl100k_base'],
      ['a tokenizer was loaded', 'o200k_base'],
    ]);
    for (const { fields } of told) expect(fields.heap_mb).toBeGreaterThan(0);
    expect(deadlines.size).toBe(0);
  });

  it('counts a piece without a break by its bytes, so that none takes long, and what is around it exactly', async () => {
    start();
    const words = 'The quick brown fox.';
    const around = (await counted([words])) ?? 0;
    const spaces = ' '.repeat(200_000);
    const cases: readonly (readonly [string, number])[] = [
      [`${words}\n${'é'.repeat(300)}`, around + 600],
      ['a'.repeat(129), 129],
      [`${words}${spaces}`, around + 200_000],
    ];
    for (const [text, most] of cases) {
      const tokens = await counted([text]);
      expect(tokens).toBeGreaterThanOrEqual(most);
      expect(tokens).toBeLessThanOrEqual(most + 1);
    }
    expect(await counted(['a'.repeat(128)])).toBe(16);
  });

  it('takes no more than so many, and more when some are done', async () => {
    start();
    const all = Array.from({ length: MAX_WAITING_COUNTS + 1 }, () => counted(['hello world']));
    expect(counter.count('o200k_base', ['x'], () => {})).toBeUndefined();
    expect(await Promise.all(all)).toEqual(all.map(() => 2));
    expect(await counted(['hello world'])).toBe(2);
  });

  it('keeps nobody waiting beyond the limit, and goes on with the next', async () => {
    start();
    const late = counted(['hello']);
    const alsoLate = counted(['hello']);
    pass(COUNT_WITHIN_MS);
    expect(await Promise.all([late, alsoLate])).toEqual([undefined, undefined]);
    expect(await counted(['hello world'])).toBe(2);
  });

  it('does not tell one who has given up', async () => {
    start();
    const seen: unknown[] = [];
    const first = counter.count('o200k_base', ['a'], (tokens) => seen.push(tokens));
    const second = counter.count('o200k_base', ['b'], (tokens) => seen.push(tokens));
    first?.();
    second?.();
    expect(await counted(['hello world'])).toBe(2);
    pass(COUNT_WITHIN_MS);
    expect(seen).toEqual([]);
    expect(deadlines.size).toBe(0);
  });

  it('starts anew when its worker has died; what it was at is not counted, and others have their turn', async () => {
    start(DYING);
    expect(await Promise.all([counted(['a']), counted(['b'])])).toEqual([undefined, undefined]);
    expect(told.map(({ fields }) => fields.code)).toEqual([7, 7]);
    expect(deadlines.size).toBe(0);
  });

  it('gives up a worker that is stuck', async () => {
    start(SILENT);
    const first = counted(['a']);
    pass(COUNT_WITHIN_MS);
    expect(await first).toBeUndefined();
    // The worker is still at it, so the next waits and is not counted in time either.
    const second = counted(['b']);
    expect(told).toEqual([]);
    pass(WORKER_STUCK_MS);
    expect(await second).toBeUndefined();
    while (told.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(told[0]?.message).toMatch(/has ended/);
  });

  it('is closed with all that waits, and takes nothing more', async () => {
    start(SILENT);
    const waiting = [counted(['a']), counted(['b'])];
    await counter.close();
    expect(await Promise.all(waiting)).toEqual([undefined, undefined]);
    expect(counter.count('o200k_base', ['c'], () => {})).toBeUndefined();
    expect(told).toEqual([]);
    expect(deadlines.size).toBe(0);
  });
});
