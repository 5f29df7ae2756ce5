import { afterEach, describe, expect, it } from 'vitest';
import { PEPPER, samplePicture } from '../control/testing.ts';
import { openaiChat } from '../dialect/openai-chat/index.ts';
import { Deadlines } from '../upstream/deadline.ts';
import { admit, type Verdict } from './admit.ts';
import { authenticate } from './authenticate.ts';
import { COUNTED_BODY_MAX_BYTES, type NamedWays } from './count-input.ts';
import { TestBank, writtenAtOnce } from './testing.ts';
import { COUNT_WITHIN_MS, TokenCounter, type TokenCounts } from './token-counter.ts';

/** With the tier of the picture, 1,400 nano-dollars a token of input and 5,600 of output. */
const PRICE = {
  modelId: 'm',
  version: 1,
  effectiveFromMs: 0,
  cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 1_000_000_000n, output: 4_000_000_000n } }],
} as const;
const NOW_MS = 1_000_000;
const { picture, apiKey } = samplePicture();
const PRINCIPAL = authenticate(picture, { keyPrefix: 'sk-mrd-', pepper: PEPPER, region: 'us', regionUrls: {} }, apiKey, NOW_MS);

let counter: TokenCounter;
let deadlines: Deadlines;
let timeMs = 0;
/** Which encodings were counted, in which order. */
let counted: string[];

const counts: TokenCounts = {
  count(encoding, texts, done) {
    counted.push(encoding);
    return counter.count(encoding, texts, done);
  },
};

function start(worker?: URL): void {
  timeMs = 0;
  deadlines = new Deadlines({ nowMs: () => timeMs });
  counted = [];
  counter = new TokenCounter({
    after: (delayMs, expired) => deadlines.after(delayMs, expired),
    log: { info: () => {}, warn: () => {} },
    ...(worker === undefined ? {} : { worker }),
  });
}

afterEach(() => counter.close());

const waysOf = (...ids: string[]): NamedWays => ({
  listPrice: PRICE,
  candidates: ids.map((id) => ({ model: { id, contextTokens: 400_000, maxOutputTokens: 16_000 }, listPrice: PRICE })),
});
const bankOf = (limit: number): TestBank => new TestBank({ limitOf: () => limit, nowMs: () => NOW_MS, write: writtenAtOnce() });

/** 1,000 words of a token each, in 9,000 bytes. */
const WORDS = 'question '.repeat(1_000);
const CHAT = { model: 'm', messages: [{ role: 'user', content: WORDS }], max_tokens: 100 };
/** Body without the message, the role, the message's overhead, the begin of the reply. */
const OTHER = JSON.stringify({ ...CHAT, messages: [] }).length + '"user"'.length + 8 + 3;
const BOUND_NANO = (JSON.stringify(CHAT).length + 8 + 768) * 1_400 + 100 * 5_600;
const EXACT_NANO = (1_001 + OTHER) * 1_400 + 100 * 5_600;

interface Admission {
  readonly verdict: Promise<Verdict>;
  readonly giveUp: () => void;
}

function admission(bank: TestBank, body: object = CHAT, ways = waysOf('gpt-4o'), using: TokenCounts | undefined = counts): Admission {
  const bytes = Buffer.from(JSON.stringify(body));
  const { facts } = openaiChat.readPassThrough('input' in body ? 'embeddings' : 'chat', bytes);
  let giveUp = (): void => {};
  const rooms = { grants: bank.desk, keys: { capsOf: () => [] }, nowMs: () => NOW_MS, ...(using === undefined ? {} : { counter: using }) };
  const verdict = new Promise<Verdict>((resolve) => {
    giveUp = admit(rooms, PRINCIPAL, facts, ways, resolve, { body: bytes, dialect: openaiChat });
  });
  return { verdict, giveUp };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a request that does not fit by its bytes', () => {
  it('is admitted where its exact count fits, on the terms of the count', async () => {
    start();
    const bank = bankOf(EXACT_NANO);
    expect(EXACT_NANO).toBeLessThan(BOUND_NANO / 4);
    const verdict = await admission(bank).verdict;
    expect(verdict).toMatchObject({ kind: 'admitted', terms: { maxCostNano: BigInt(EXACT_NANO), maxOutputTokens: 100 } });
    expect(verdict).toMatchObject({ reservation: { leases: [{ unit: 'nano_usd', amount: EXACT_NANO }] } });
    expect(bank.reservations).toBe(1);
    expect(counted).toEqual(['o200k_base']);
  });

  it('is refused where the count does not fit, with what it costs by it and the limit that would fit', async () => {
    start();
    const bank = bankOf(EXACT_NANO - 1);
    const verdict = await admission(bank).verdict;
    expect(verdict).toMatchObject({
      kind: 'refused',
      terms: { maxCostNano: BigInt(EXACT_NANO) },
      error: { code: 'insufficient_credits', details: { max_tokens: 99, required_usd: (EXACT_NANO / 1e9).toString() } },
    });
    // One question was enough.
    expect(bank.questions).toHaveLength(1);
    expect(bank.reservations).toBe(0);
    expect(await admission(bank, { ...CHAT, max_tokens: 99 }).verdict).toMatchObject({ kind: 'admitted' });
  });

  it('is counted for embeddings too', async () => {
    start();
    const body = { model: 'm', input: [WORDS] };
    const exact = (1_001 + JSON.stringify({ ...body, input: [] }).length) * 1_400;
    expect(await admission(bankOf(exact), body, waysOf('text-embedding-3-small')).verdict).toMatchObject({ kind: 'admitted' });
    expect(counted).toEqual(['cl100k_base']);
  });

  it('shares what is left with a limit of its own where the client gave none', async () => {
    start();
    const verdict = await admission(bankOf(EXACT_NANO + 4_096 * 5_600), { ...CHAT, max_tokens: undefined }).verdict;
    expect(verdict).toMatchObject({ kind: 'admitted', terms: { addedLimit: 4_096 } });
  });

  it.each<[string, NamedWays, object]>([
    ['another vendor’s model', waysOf('claude-opus-4-7'), CHAT],
    ['models of which one is another vendor’s', waysOf('gpt-4o', 'claude-opus-4-7'), CHAT],
    ['models with different tokenizers', waysOf('gpt-4o', 'gpt-4'), CHAT],
    ['a body over the size', waysOf('gpt-4o'), { ...CHAT, user: 'x'.repeat(COUNTED_BODY_MAX_BYTES) }],
    ['what reads beyond its body', waysOf('gpt-4o'), { ...CHAT, web_search_options: {} }],
  ])('stays refused, uncounted, for %s', async (_, ways, body) => {
    start();
    expect(await admission(bankOf(EXACT_NANO), body, ways).verdict).toMatchObject({ kind: 'refused', error: { status: 402 } });
    expect(counted).toEqual([]);
  });

  it('is not counted where not even the rest of it would fit, nor where it is a count that is used up, or nobody can say', async () => {
    start();
    const least = OTHER * 1_400 + 5_600;
    expect(await admission(bankOf(least - 1)).verdict).toMatchObject({ kind: 'refused', terms: { maxCostNano: BigInt(BOUND_NANO) } });
    expect(counted).toEqual([]);
    expect(await admission(bankOf(least)).verdict).toMatchObject({ kind: 'refused', terms: { maxCostNano: BigInt(EXACT_NANO) } });
    expect(counted).toHaveLength(1);

    const away = bankOf(EXACT_NANO);
    away.disconnect();
    expect(await admission(away).verdict).toMatchObject({ kind: 'refused', error: { code: 'budget_unavailable' } });
    expect(counted).toHaveLength(1);
  });

  it('is not counted where it fits, and is answered at once', async () => {
    start();
    const bank = bankOf(BOUND_NANO * 10);
    expect(await admission(bank).verdict).toMatchObject({ kind: 'admitted', terms: { maxCostNano: BigInt(BOUND_NANO) } });
    expect(counted).toEqual([]);
  });

  it('stays refused by its bytes where too many are counted, or the count is not there in time', async () => {
    start(new URL('data:text/javascript,setInterval(() => {}, 1_000)'));
    const bytes = { kind: 'refused', terms: { maxCostNano: BigInt(BOUND_NANO) }, error: { status: 402 } };
    const full: TokenCounts = { count: () => undefined };
    expect(await admission(bankOf(EXACT_NANO), CHAT, waysOf('gpt-4o'), full).verdict).toMatchObject(bytes);
    const late = admission(bankOf(EXACT_NANO)).verdict;
    while (counted.length === 0) await turn();
    timeMs += COUNT_WITHIN_MS + 500;
    deadlines.advance();
    expect(await late).toMatchObject(bytes);
  });

  it('stays refused where its worker dies', async () => {
    start(new URL('data:text/javascript,process.exit(1)'));
    const verdict = await admission(bankOf(EXACT_NANO)).verdict;
    expect(verdict).toMatchObject({ kind: 'refused', terms: { maxCostNano: BigInt(BOUND_NANO) }, error: { status: 402 } });
  });

  it('is forgotten when its client leaves while it is counted, or while it waits with the count', async () => {
    start();
    const bank = bankOf(EXACT_NANO);
    const told: Verdict[] = [];
    const first = admission(bank);
    void first.verdict.then((verdict) => told.push(verdict));
    while (counted.length === 0) await turn();
    first.giveUp();
    // What comes after it in the worker is answered after it.
    await new Promise((resolve) => counter.count('o200k_base', ['x'], resolve));
    await turn();
    expect(told).toEqual([]);
    expect(bank.reservations).toBe(0);

    const second = admission(bank);
    void second.verdict.then((verdict) => told.push(verdict));
    while (counted.length === 1) await turn();
    bank.withhold();
    while (bank.desk.status().waiting === 0) await turn();
    second.giveUp();
    bank.answer();
    await turn();
    expect(told).toEqual([]);
    expect(bank.desk.status().waiting).toBe(0);
    expect(bank.reservations).toBe(0);
    expect(deadlines.size).toBe(0);
  });
});
