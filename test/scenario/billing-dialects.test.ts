/**
 * The written billing rule for clients of the other dialects: as it is for chat completions, whole and streamed, at the price of the
 * tier that the provider says it served, and across a translation.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALL_PROVIDERS, until, World } from '../world/world.ts';
import { billed, type Seen, servedBy } from './billing.ts';
import { ESTIMATE_TOLERANCE } from './books.ts';
import { expectedCharge, type Terms } from './oracle.ts';

interface Client {
  readonly path: (model: string, stream: boolean) => string;
  readonly body: (model: string, text: string, stream: boolean) => object;
}

const CLIENTS = {
  chat: {
    path: () => '/v1/chat/completions',
    body: (model, text, stream) => ({ model, max_tokens: 1_000, messages: [{ role: 'user', content: text }], stream }),
  },
  responses: {
    path: () => '/v1/responses',
    body: (model, text, stream) => ({ model, max_output_tokens: 1_000, input: text, stream }),
  },
  messages: {
    path: () => '/v1/messages',
    body: (model, text, stream) => ({ model, max_tokens: 1_000, messages: [{ role: 'user', content: text }], stream }),
  },
  gemini: {
    path: (model, stream) => `/v1beta/models/${model}:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
    body: (_model, text) => ({ contents: [{ role: 'user', parts: [{ text }] }], generationConfig: { maxOutputTokens: 1_000 } }),
  },
} as const satisfies Record<string, Client>;
type ClientName = keyof typeof CLIENTS;

/** USD per million tokens in the tier `priority`: a model's own, or half as much again. */
const PRIORITY_PRICES = {
  'gpt-5.3-codex': { input: '3.5', cached: '0.35', written5m: '3.5', written1h: '3.5', output: '28' },
  'claude-haiku-4-5': { input: '1.5', cached: '0.15', written5m: '1.875', written1h: '3', output: '7.5' },
  'gemini-2.5-flash': { input: '0.45', cached: '0.045', written5m: '0.45', written1h: '0.45', output: '3.75' },
} as const satisfies Record<string, Terms['prices']>;

/** A client, and a model that it calls in its own dialect, or in another. */
const NATIVE: readonly (readonly [ClientName, keyof typeof PRIORITY_PRICES])[] = [
  ['responses', 'gpt-5.3-codex'],
  ['messages', 'claude-haiku-4-5'],
  ['gemini', 'gemini-2.5-flash'],
];
const TRANSLATED: readonly (readonly [ClientName, keyof typeof PRIORITY_PRICES])[] = [
  ['messages', 'gemini-2.5-flash'],
  ['responses', 'claude-haiku-4-5'],
];
const CASES = [...NATIVE, ...TRANSLATED].flatMap(([client, model]) =>
  [false, true].map((stream) => ({ client, model, stream, form: stream ? 'SSE' : 'JSON' })),
);

/** What the provider is told to do, with an answer of each kind. */
const ROWS = {
  success: () => 'tokens=30',
  priority: () => 'tokens=30;served_tier=priority',
  // What a model thinks and does not show cannot be counted here.
  estimated: () => 'tokens=200;no_usage;reasoning=0',
  empty: () => 'empty',
  broken: (stream: boolean) => (stream ? 'tokens=30;cut_after=9' : 'tokens=30;malformed'),
  refused: () => 'status=500',
} as const;
type Row = keyof typeof ROWS;

let world: World;
/** All are asked at once, since each waits for its usage to arrive. */
let answers: Map<string, Promise<Seen>>;
beforeAll(async () => {
  world = await World.start({ providers: ALL_PROVIDERS });
  answers = new Map(
    CASES.flatMap(({ client, model, stream }) =>
      Object.entries(ROWS).map(([row, sim]) => {
        const answer = send(client, model, stream, sim(stream));
        // Whoever asks for it hears of what went wrong.
        answer.catch(() => {});
        return [keyOf({ client, model, stream }, row), answer] as const;
      }),
    ),
  );
});
afterAll(() => world?.stop());

function keyOf({ client, model, stream }: { client: string; model: string; stream: boolean }, row: string): string {
  return `${client} ${model} ${stream} ${row}`;
}

let asked = 0;

/** Sends the request and reads its answer to the end. */
async function send(client: ClientName, model: string, stream: boolean, sim: string, more: object = {}): Promise<Seen> {
  const ref = `dialect-${process.pid}-${++asked}`;
  const { path, body }: Client = CLIENTS[client];
  const response = await fetch(world.url('us') + path(model, stream), {
    method: 'POST',
    headers: { authorization: `Bearer ${world.apiKey}`, 'content-type': 'application/json', 'anthropic-version': '2023-06-01' },
    body: JSON.stringify({ ...body(model, `Tell me something. [[ref ${ref}]] [[sim ${sim}]]`, stream), ...more }),
  });
  const seen = { ref, status: response.status, headers: response.headers, body: '', end: 'complete' as const };
  return { ...seen, body: await response.text() };
}

/** What it was charged, beside what the provider's journal says it should be. */
async function chargeOf(seen: Seen, terms?: Terms) {
  const [line, ...others] = await servedBy(world, seen);
  if (line === undefined || others.length > 0) throw new Error(`${seen.ref} reached a provider ${others.length + 1} times`);
  return { receipt: await billed(world, seen.headers.get('x-request-id') ?? ''), expected: expectedCharge(line, 'chat', terms) };
}

const atPriority = (model: keyof typeof PRIORITY_PRICES): Terms => ({ prices: PRIORITY_PRICES[model], markupBasisPoints: 4_000 });

describe.concurrent.each(CASES)('$client → $model, $form', (of) => {
  const { model, stream } = of;
  const answered = async (row: Row): Promise<Seen> => (await answers.get(keyOf(of, row))) ?? expect.fail(`${row} was not asked`);

  it('a success is charged its usage times the price', async () => {
    const seen = await answered('success');
    expect(seen.status).toBe(200);
    const { receipt, expected } = await chargeOf(seen);
    expect(receipt).toMatchObject({ outcome: 'success', exactness: 'exact', chargeNano: expected.chargeNano });
    expect(expected).toMatchObject({ kind: 'exact' });
    expect(receipt.chargeNano).toBeGreaterThan(0n);
  });

  it('a success is charged in the tier that the answer tells', async () => {
    const { receipt, expected } = await chargeOf(await answered('priority'), atPriority(model));
    expect(receipt).toMatchObject({ outcome: 'success', exactness: 'exact', chargeNano: expected.chargeNano });
  });

  it('an answer without usage is counted here, and charged as an estimate', async () => {
    const { receipt, expected } = await chargeOf(await answered('estimated'));
    expect(expected.kind).toBe('estimated');
    expect(receipt).toMatchObject({ outcome: 'success', exactness: 'estimated' });
    expect(receipt.chargeNano).toBeLessThanOrEqual(receipt.maxCostNano);
    const off = Math.abs(Number(receipt.chargeNano - expected.chargeNano)) / Number(expected.chargeNano);
    expect(off, `${receipt.chargeNano} charged where ${expected.chargeNano} was generated`).toBeLessThanOrEqual(ESTIMATE_TOLERANCE);
  });

  it('an empty answer costs nothing, though its input cost us', async () => {
    const { receipt } = await chargeOf(await answered('empty'));
    expect(receipt).toMatchObject({ outcome: 'empty', chargeNano: 0n });
    expect(receipt.costNano).toBeGreaterThan(0n);
  });

  it('an answer that breaks off costs nothing', async () => {
    const seen = await answered('broken');
    expect(seen.status).toBe(stream ? 200 : 502);
    const { receipt } = await chargeOf(seen);
    expect(receipt).toMatchObject({ outcome: 'failed', chargeNano: 0n, attempts: [{ status: 200, error_code: 'upstream_error' }] });
  });

  it("the provider's error costs nothing", async () => {
    const { receipt } = await chargeOf(await answered('refused'));
    expect(receipt).toMatchObject({ outcome: 'failed', chargeNano: 0n, costNano: 0n });
  });
});

describe.concurrent('a tier', () => {
  it('that was asked for and is not served is charged as standard', async () => {
    const seen = await send('responses', 'gpt-5.3-codex', true, 'tokens=30;served_tier=default', { service_tier: 'priority' });
    const { receipt, expected } = await chargeOf(seen);
    expect(receipt).toMatchObject({ exactness: 'exact', chargeNano: expected.chargeNano });
  });

  it('with prices of its own charges the long-context step too', async () => {
    const messages = Array.from({ length: 36 }, () => ({ role: 'user', content: 'at length '.repeat(3_990) }));
    const seen = await send('responses', 'gpt-5.5', false, 'tokens=10', { service_tier: 'flex' });
    const long = await send('chat', 'gpt-5.5', false, 'tokens=10', {
      service_tier: 'flex',
      messages: [...messages, { role: 'user', content: `Go. [[ref ${seen.ref}-long]] [[sim tokens=10]]` }],
    });
    expect([seen.status, long.status]).toEqual([200, 200]);
    const base = { input: '2.5', cached: '0.25', written5m: '2.5', written1h: '2.5', output: '15' };
    const step = { input: '5', cached: '0.5', written5m: '5', written1h: '5', output: '22.5' };
    for (const [one, prices] of [
      [seen, base],
      [{ ...long, ref: `${seen.ref}-long` }, step],
    ] as const) {
      const { receipt, expected } = await chargeOf(one, { prices, markupBasisPoints: 4_000 });
      expect(receipt).toMatchObject({ exactness: 'exact', chargeNano: expected.chargeNano });
    }
  });
});

describe('an hour of prompt cache', () => {
  const cached = (ttl: string) => ({
    system: [{ type: 'text', text: `Keep this. ${'once and again '.repeat(800)}`, cache_control: { type: 'ephemeral', ttl } }],
  });

  it('is charged at its own price, and refused before it reaches a provider where only five minutes have one', async () => {
    const model = 'claude-opus-4-8';
    const { receipt, expected } = await chargeOf(await send('messages', model, false, 'tokens=5', cached('1h')));
    expect(receipt.units.cache_write_1h).toBeGreaterThan(1_000);
    expect(receipt.chargeNano).toBe(expected.chargeNano);
    const prices = { input: '5', cached_input: '0.5', cache_write_5m: '6.25', output: '25', image_in: '5' };
    await world.operator.post('/admin/v1/list-prices', { model_id: model, cards: [{ prices_usd_per_million: prices }], confirm: true });
    let refused: Seen | undefined;
    await until(async () => {
      refused = await send('messages', model, false, 'tokens=5', cached('1h'));
      return refused.status !== 200;
    }, 'the node to have the price');
    expect([refused?.status, refused?.body]).toEqual([400, expect.stringContaining('has no price for an hour of prompt cache')]);
    expect((await world.journal()).filter((line) => line.client_marker === refused?.ref)).toEqual([]);
    const five = await chargeOf(await send('messages', model, false, 'tokens=5', cached('5m')));
    expect(five.receipt.chargeNano).toBe(five.expected.chargeNano);
  });
});
