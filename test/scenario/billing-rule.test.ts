/**
 * The written billing rule, row by row, through a real control plane and real nodes: what the client sees, what it is charged and
 * what the provider served. A node of the region eu has narrow bounds for what is finished for clients that have left.
 */
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until, World } from '../world/world.ts';
import { type Ask, ask, billed, contentOf, errorOf, isDone, type Seen, servedBy, servedOnce, toldUsd } from './billing.ts';
import { balanceNano, chargedInAllNano, compareBooks, ESTIMATE_TOLERANCE } from './books.ts';
import { expectedCharge, price } from './oracle.ts';

const CREDIT_USD = 1_000n;
/** The waits of the node in eu for a provider, and how long it reads on for a client that has left. */
const EU_PATIENCE_MS = 3_000;
const EU_ABANDONED_MS = 5_000;
/** A pace at which an answer is still under way when the node has seen its client leave. */
const SLOW = 'tokens=40;pace_ms=60';
/** Many times as long as anybody waits for it. */
const LONG = 'tokens=5000;pace_ms=15';

const ROWS = {
  success: 'success',
  failed: 'upstream fails before the commit point, we refuse, our node dies',
  leavesStream: 'client leaves a stream',
  leavesAnswer: 'client leaves a whole answer',
  breaks: 'upstream breaks after the commit point',
  limits: 'an answer passes a limit of ours after the commit point',
  empty: 'empty text answer',
  retries: 'retries',
} as const;
type Row = keyof typeof ROWS;
const CELLS = ['JSON exact', 'JSON estimated', 'SSE exact', 'SSE estimated'] as const;
type Cell = (typeof CELLS)[number];
/** Cells that cannot be. */
const NONE: Readonly<Partial<Record<Row, Readonly<Partial<Record<Cell, string>>>>>> = {
  failed: { 'JSON estimated': 'nothing is charged', 'SSE estimated': 'nothing is charged' },
  leavesStream: { 'JSON exact': 'no stream', 'JSON estimated': 'no stream' },
  leavesAnswer: { 'SSE exact': 'no whole answer', 'SSE estimated': 'no whole answer' },
  breaks: { 'JSON estimated': 'nothing is charged', 'SSE estimated': 'nothing is charged' },
  limits: { 'JSON exact': 'nothing was sent', 'JSON estimated': 'nothing was sent', 'SSE exact': 'its usage comes last' },
};

interface Line {
  readonly row: Row;
  readonly cell: Cell;
  readonly name: string;
  result: string;
}
const table: Line[] = [];

let world: World;
/** Requests whose charge the provider's journal alone does not tell. */
const apart = new Set<string>();

beforeAll(async () => {
  world = await World.start({
    creditUsd: String(CREDIT_USD),
    regionEnv: {
      eu: {
        MERIDIAN_MAX_ABANDONED_STREAMS: '0',
        MERIDIAN_MAX_ABANDONED_ANSWERS: '0',
        MERIDIAN_MAX_ABANDONED_STREAM_MS: String(EU_ABANDONED_MS),
        MERIDIAN_UPSTREAM_FIRST_BYTE_TIMEOUT_MS: String(EU_PATIENCE_MS),
        MERIDIAN_UPSTREAM_IDLE_TIMEOUT_MS: String(EU_PATIENCE_MS),
      },
    },
  });
});
afterEach(({ task }) => {
  const line = table.find(({ name }) => name === task.name);
  if (line !== undefined) line.result = task.result?.state ?? 'unknown';
});
afterAll(async () => {
  const lines = table.map(({ row, cell, name, result }) => `${ROWS[row]} | ${cell} | ${result} | ${name}`);
  const none = Object.entries(NONE).flatMap(([row, cells]) =>
    Object.entries(cells).map(([cell, why]) => `${ROWS[row as Row]} | ${cell} | – | ${why}`),
  );
  console.log(['row | cell | result | test', ...lines, ...none].join('\n'));
  await world?.stop();
});

/** A test of one cell; its name is a sentence of the rule. Those that wait for most of their time run `beside` each other. */
function cell(row: Row, of: Cell, name: string, run: () => Promise<void>, beside = false): void {
  if (table.some((line) => line.name === `${of}: ${name}`)) throw new Error(`two tests are called ${of}: ${name}`);
  table.push({ row, cell: of, name: `${of}: ${name}`, result: 'not run' });
  (beside ? it.concurrent : it)(`${of}: ${name}`, run, 60_000);
}

/** For JSON and for SSE. */
function both(row: Row, exactness: 'exact' | 'estimated', name: string, run: (stream: boolean) => Promise<void>, beside = false): void {
  cell(row, `JSON ${exactness}`, name, () => run(false), beside);
  cell(row, `SSE ${exactness}`, name, () => run(true), beside);
}

/** A whole answer arrived, and tells its cost where it tells its usage. */
function expectWhole(seen: Seen, stream: boolean): void {
  expect(seen).toMatchObject({ status: 200, end: 'complete' });
  if (stream) expect(isDone(seen)).toBe(true);
  else expect(JSON.parse(seen.body)).toMatchObject({ object: 'chat.completion' });
}

/** Charged to the nano-dollar what the journal says, on a usage that the provider told. */
async function expectExact(seen: Seen, outcome = 'success'): Promise<bigint> {
  const line = await servedOnce(world, seen);
  const receipt = await billed(world, line.request_id);
  const expected = expectedCharge(line, 'chat');
  expect(expected).toMatchObject({ kind: 'exact', chargeNano: receipt.chargeNano });
  expect(receipt).toMatchObject({ outcome, exactness: 'exact', errorCode: null, attempts: [{ status: 200, error_code: null }] });
  expect(receipt.chargeNano).toBeGreaterThan(0n);
  expect(receipt.costNano).toBeGreaterThan(0n);
  return receipt.chargeNano;
}

/** Charged by a count of ours: near what the provider generated, at most max_cost, and said to be estimated. */
async function expectEstimated(seen: Seen, outcome = 'success'): Promise<bigint> {
  const line = await servedOnce(world, seen);
  const receipt = await billed(world, line.request_id);
  const expected = expectedCharge(line, 'chat');
  expect(expected.kind).toBe('estimated');
  expect(receipt).toMatchObject({ outcome, exactness: 'estimated', errorCode: null, attempts: [{ status: 200, error_code: null }] });
  expect(receipt.chargeNano).toBeGreaterThan(0n);
  expect(receipt.chargeNano).toBeLessThanOrEqual(receipt.maxCostNano);
  const off = Math.abs(Number(receipt.chargeNano - expected.chargeNano)) / Number(expected.chargeNano);
  expect(off, `${receipt.chargeNano} charged where ${expected.chargeNano} was generated`).toBeLessThanOrEqual(ESTIMATE_TOLERANCE);
  return receipt.chargeNano;
}

/** Charged nothing, with each attempt and what it cost us on record. */
async function expectFree(seen: Seen, receiptHas: object): Promise<bigint> {
  const line = await servedOnce(world, seen);
  const receipt = await billed(world, line.request_id);
  expect(expectedCharge(line, 'chat').chargeNano).toBe(0n);
  expect(receipt).toMatchObject({ chargeNano: 0n, ...receiptHas });
  return receipt.costNano;
}

describe(ROWS.success, () => {
  both('success', 'exact', 'is charged its usage times the price', async (stream) => {
    const seen = await ask(world, { stream, sim: 'tokens=30' });
    expectWhole(seen, stream);
    const charged = await expectExact(seen);
    expect(toldUsd(seen, stream)).toBe(Number(charged) / 1e9);
    if (!stream) expect(seen.headers.get('x-meridian-cost-usd')).not.toBeNull();
  });

  both('success', 'estimated', 'without its usage is counted here and charged as an estimate', async (stream) => {
    const seen = await ask(world, { stream, sim: 'tokens=30;no_usage' });
    expectWhole(seen, stream);
    await expectEstimated(seen);
  });

  cell('success', 'SSE estimated', 'whose usage came before the answer, and not again, is counted here', async () => {
    const seen = await ask(world, { stream: true, sim: 'tokens=60;seed_usage' });
    expectWhole(seen, true);
    await expectEstimated(seen);
  });

  both('success', 'exact', 'is charged at most max_cost, whatever the provider bills us', async (stream) => {
    const seen = await ask(world, { stream, maxTokens: 5, sim: 'tokens=5;extra_output=50000' });
    expectWhole(seen, stream);
    const line = await servedOnce(world, seen);
    apart.add(line.request_id);
    const receipt = await billed(world, line.request_id);
    expect(receipt).toMatchObject({ outcome: 'success', exactness: 'exact', chargeNano: receipt.maxCostNano });
    expect(receipt.chargeNano).toBeLessThan(expectedCharge(line, 'chat').chargeNano);
    expect(receipt.costNano).toBeGreaterThan(receipt.chargeNano);
  });
});

describe(ROWS.failed, () => {
  const FAILED = { outcome: 'failed', exactness: 'exact', units: {} };
  for (const [what, sim] of [
    ['an error of the provider (500)', 'status=500'],
    ['a provider that is overloaded (503)', 'status=503'],
    ['a key of ours that the provider refuses', 'status=401'],
    ['a connection that is reset before the head', 'reset'],
    ['a page of HTML in place of an answer', 'not_json'],
  ] as const) {
    both('failed', 'exact', `nothing for ${what}`, async (stream) => {
      const seen = await ask(world, { stream, sim });
      expect(seen).toMatchObject({ status: 502, end: 'complete' });
      expect(errorOf(seen)).toBe('upstream_error');
      const cost = await expectFree(seen, {
        ...FAILED,
        status: 502,
        errorCode: 'upstream_error',
        attempts: [{ error_code: 'upstream_error' }],
      });
      expect(cost).toBe(0n);
    });
  }

  both(
    'failed',
    'exact',
    'nothing for a provider that does not answer in time',
    async (stream) => {
      const seen = await ask(world, { region: 'eu', stream, maxTokens: 10, sim: 'silence' });
      expect(seen).toMatchObject({ status: 504, end: 'complete' });
      expect(errorOf(seen)).toBe('upstream_timeout');
      await expectFree(seen, {
        ...FAILED,
        status: 504,
        errorCode: 'upstream_timeout',
        attempts: [{ status: 0, error_code: 'upstream_timeout' }],
      });
    },
    true,
  );

  cell('failed', 'JSON exact', 'nothing for a whole answer that breaks off in its middle', async () => {
    const seen = await ask(world, { sim: 'tokens=30;reset_after=300' });
    expect(seen).toMatchObject({ status: 502, end: 'complete' });
    await expectFree(seen, { ...FAILED, status: 502, attempts: [{ status: 200, error_code: 'upstream_error' }] });
  });

  cell('failed', 'SSE exact', 'nothing for a stream that breaks off before its first content', async () => {
    const seen = await ask(world, { stream: true, sim: 'error_event_after=1' });
    expect(seen).toMatchObject({ status: 502, end: 'complete' });
    await expectFree(seen, { ...FAILED, status: 502, attempts: [{ status: 200, error_code: 'upstream_error' }] });
  });

  both('failed', 'exact', "nothing for the provider's own refusal of the request (400)", async (stream) => {
    const seen = await ask(world, { stream, sim: 'status=400' });
    expect(seen).toMatchObject({ status: 400, end: 'complete' });
    await expectFree(seen, { ...FAILED, status: 400, attempts: [{ status: 400, error_code: 'invalid_request_error' }] });
  });

  both('failed', 'exact', 'nothing for a refusal of ours, which reaches no provider', async (stream) => {
    const before = (await world.journal()).length;
    const unknown = await ask(world, { stream, model: 'gpt-9.9' });
    expect([unknown.status, errorOf(unknown)]).toEqual([404, 'model_not_found']);
    const unreadable = await ask(world, { stream, maxTokens: -1 });
    expect([unreadable.status, errorOf(unreadable)]).toEqual([400, 'invalid_request_error']);
    for (const { headers } of [unknown, unreadable]) {
      const id = headers.get('x-request-id') ?? '';
      expect(id).toMatch(/^req_/);
      await expect(world.account.get(`/v1/usage/requests/${id}`)).rejects.toMatchObject({ status: 404 });
    }
    expect((await world.journal()).length).toBe(before);
  });
});

describe(ROWS.leavesStream, () => {
  const gone = { status: 200, end: 'left' };
  const afterSome = { afterContent: 8 };

  cell(
    'leavesStream',
    'SSE exact',
    'it is read on to its usage, and charged all of it',
    async () => {
      const seen = await ask(world, { stream: true, sim: SLOW, leave: afterSome });
      expect(seen).toMatchObject(gone);
      await expectExact(seen, 'client_gone');
      expect((await servedOnce(world, seen)).completed).toBe(true);
    },
    true,
  );

  cell(
    'leavesStream',
    'SSE exact',
    'of a model that hides its reasoning is read on, however many are',
    async () => {
      const seen = await ask(world, { region: 'eu', model: 'gpt-5.4-mini', stream: true, sim: SLOW, leave: afterSome });
      expect(seen).toMatchObject(gone);
      await expectExact(seen, 'client_gone');
    },
    true,
  );

  cell(
    'leavesStream',
    'SSE estimated',
    'it is read to an end without usage, and counted here',
    async () => {
      const seen = await ask(world, { stream: true, sim: `${SLOW};no_usage`, leave: afterSome });
      expect(seen).toMatchObject(gone);
      await expectEstimated(seen, 'client_gone');
    },
    true,
  );

  cell(
    'leavesStream',
    'SSE estimated',
    'it is cut where too many are read on already, and what came is counted',
    async () => {
      const seen = await ask(world, { region: 'eu', stream: true, sim: LONG, leave: { afterContent: 60 } });
      expect(seen).toMatchObject(gone);
      const leftMs = Date.now();
      await expectEstimated(seen, 'client_gone');
      const line = await servedOnce(world, seen);
      expect(line).toMatchObject({ completed: false, aborted_by_client: true });
      expect(line.t_end - leftMs).toBeLessThan(EU_ABANDONED_MS - 500);
    },
    true,
  );

  cell(
    'leavesStream',
    'SSE estimated',
    'it is cut when it was read on for so long, and what came is counted',
    async () => {
      const seen = await ask(world, { region: 'eu', model: 'gpt-5.4-mini', stream: true, sim: LONG, leave: { afterContent: 60 } });
      expect(seen).toMatchObject(gone);
      const leftMs = Date.now();
      await expectEstimated(seen, 'client_gone');
      const line = await servedOnce(world, seen);
      expect(line).toMatchObject({ completed: false, aborted_by_client: true });
      expect(line.t_end - leftMs).toBeGreaterThan(EU_ABANDONED_MS / 2);
    },
    true,
  );

  cell(
    'leavesStream',
    'SSE exact',
    'nothing where it is cut before anything was generated',
    async () => {
      const seen = await ask(world, { region: 'eu', stream: true, sim: 'tokens=30;first_byte_delay_ms=20000', leave: 'when asked' });
      expect(seen).toMatchObject({ status: 0, end: 'left' });
      await expectFree(seen, { outcome: 'failed', status: 499, attempts: [{ error_code: null }] });
    },
    true,
  );
});

describe(ROWS.leavesAnswer, () => {
  const left: Partial<Ask> = { leave: 'when asked' };

  cell(
    'leavesAnswer',
    'JSON exact',
    'it is finished, and charged',
    async () => {
      const seen = await ask(world, { ...left, sim: 'tokens=30;delay_ms=2500' });
      expect(seen).toMatchObject({ status: 0, end: 'left' });
      await expectExact(seen, 'client_gone');
      expect((await servedOnce(world, seen)).completed).toBe(true);
    },
    true,
  );

  cell(
    'leavesAnswer',
    'JSON estimated',
    'it is finished, and counted where it has no usage',
    async () => {
      const seen = await ask(world, { ...left, sim: 'tokens=30;delay_ms=2500;no_usage' });
      expect(seen).toMatchObject({ status: 0, end: 'left' });
      await expectEstimated(seen, 'client_gone');
    },
    true,
  );

  cell(
    'leavesAnswer',
    'JSON exact',
    'a retry with its Idempotency-Key gets what was finished, charged once',
    async () => {
      const asked = { idempotencyKey: 'left-behind', sim: 'tokens=30;delay_ms=2500' };
      const seen = await ask(world, { ...left, ...asked });
      expect(seen).toMatchObject({ status: 0, end: 'left' });
      const again = await ask(world, { ...asked, ref: seen.ref });
      expectWhole(again, false);
      const charged = await expectExact(seen, 'client_gone');
      expect(again.headers.get('x-request-id')).toBe((await servedOnce(world, seen)).request_id);
      expect(toldUsd(again, false)).toBe(Number(charged) / 1e9);
    },
    true,
  );

  cell(
    'leavesAnswer',
    'JSON exact',
    'nothing where it is cut because too many are finished already',
    async () => {
      const seen = await ask(world, { ...left, region: 'eu', maxTokens: 500, sim: 'tokens=30;delay_ms=20000' });
      expect(seen).toMatchObject({ status: 0, end: 'left' });
      await expectFree(seen, { outcome: 'failed', status: 499, units: {} });
      expect(await servedOnce(world, seen)).toMatchObject({ completed: false, aborted_by_client: true });
    },
    true,
  );
});

describe(ROWS.breaks, () => {
  for (const [what, sim, code, region] of [
    ['closed', 'cut_after=9', 'upstream_error', 'us'],
    ['reset', 'reset_after=9', 'upstream_error', 'us'],
    ['ended by an error event', 'error_event_after=9', 'upstream_error', 'us'],
    ['unreadable', 'malformed=9', 'upstream_error', 'us'],
    ['silent', 'silence_after=9', 'upstream_timeout', 'eu'],
  ] as const) {
    cell('breaks', 'SSE exact', `nothing for a stream that is ${what} in its middle, and the client is told`, async () => {
      const seen = await ask(world, { region, stream: true, sim: `tokens=30;${sim}` });
      expect(seen).toMatchObject({ status: 200, end: 'complete' });
      expect(contentOf(seen).length).toBeGreaterThan(3);
      expect(errorOf(seen)).toBe(code);
      expect(isDone(seen)).toBe(false);
      const cost = await expectFree(seen, { outcome: 'failed', errorCode: code, units: {}, attempts: [{ status: 200, error_code: code }] });
      // What it generated is not the customer's to pay, but it is ours.
      expect(cost).toBeGreaterThan(0n);
    });
  }

  cell('breaks', 'JSON exact', 'nothing for a whole answer that cannot be read', async () => {
    const seen = await ask(world, { sim: 'tokens=30;malformed' });
    expect(seen).toMatchObject({ status: 502, end: 'complete' });
    await expectFree(seen, { outcome: 'failed', errorCode: 'upstream_error', attempts: [{ status: 200, error_code: 'upstream_error' }] });
  });
});

describe(ROWS.limits, () => {
  cell('limits', 'SSE estimated', 'what came before an event that is too large to be handed on', async () => {
    const seen = await ask(world, { stream: true, sim: 'tokens=60;oversize=50' });
    expect(seen).toMatchObject({ status: 200, end: 'complete' });
    expect(contentOf(seen)).toHaveLength(48);
    expect(errorOf(seen)).toBe('upstream_error');
    expect(isDone(seen)).toBe(false);
    const line = await servedOnce(world, seen);
    const expected = expectedCharge(line, 'chat');
    expect(expected.kind).toBe('estimated');
    const receipt = await billed(world, line.request_id);
    expect(receipt).toMatchObject({ outcome: 'cut', exactness: 'estimated', errorCode: 'upstream_error' });
    expect(receipt.attempts).toMatchObject([{ status: 200, error_code: 'upstream_error' }]);
    const off = Math.abs(Number(receipt.chargeNano - expected.chargeNano)) / Number(expected.chargeNano);
    expect(off, `${receipt.chargeNano} charged where ${expected.chargeNano} was generated`).toBeLessThanOrEqual(ESTIMATE_TOLERANCE);
  });
});

describe(ROWS.empty, () => {
  both('empty', 'exact', 'nothing, though its input cost us', async (stream) => {
    const seen = await ask(world, { stream, sim: 'empty' });
    expectWhole(seen, stream);
    expect(toldUsd(seen, stream)).toBe(0);
    expect(await expectFree(seen, { outcome: 'empty', exactness: 'exact' })).toBeGreaterThan(0n);
  });

  both('empty', 'estimated', 'nothing where it has no usage either', async (stream) => {
    const seen = await ask(world, { stream, sim: 'empty;no_usage' });
    expectWhole(seen, stream);
    const line = await servedOnce(world, seen);
    apart.add(line.request_id);
    expect(await billed(world, line.request_id)).toMatchObject({ outcome: 'empty', exactness: 'estimated', chargeNano: 0n });
  });
});

describe(ROWS.retries, () => {
  both('retries', 'exact', 'of the SDK after an error are charged once, for the request that was answered', async (stream) => {
    const ref = `retry-${process.pid}-${stream}`;
    const client = new OpenAI({ baseURL: `${world.url('us')}/v1`, apiKey: world.apiKey, maxRetries: 2 });
    const body = {
      model: 'gpt-4.1-mini',
      messages: [{ role: 'user' as const, content: `Tell me something. [[ref ${ref}]] [[sim status=500;times=1;tokens=20]]` }],
    };
    let id: string | null | undefined;
    if (stream) {
      const answer = await client.chat.completions.create({ ...body, stream: true }).withResponse();
      for await (const _ of answer.data);
      id = answer.request_id;
    } else {
      const answer = await client.chat.completions.create(body);
      expect(answer.choices[0]?.message.content).not.toBe('');
      id = answer._request_id;
    }
    const lines = await servedBy(world, { ref } as Seen, 2);
    expect(lines.map(({ status }) => status)).toEqual([500, 200]);
    const [first, second] = lines.map(({ request_id }) => request_id);
    expect(second).toBe(id);
    expect(first).not.toBe(second);
    expect(await billed(world, first ?? '')).toMatchObject({ outcome: 'failed', chargeNano: 0n });
    const receipt = await billed(world, second ?? '');
    expect(receipt).toMatchObject({ outcome: 'success', exactness: 'exact' });
    expect(receipt.chargeNano).toBe(expectedCharge(lines[1] as (typeof lines)[number], 'chat').chargeNano);
  });
});

describe('retries with the same Idempotency-Key', () => {
  for (const [exactness, sim] of [
    ['exact', 'tokens=30'],
    ['estimated', 'tokens=30;no_usage'],
  ] as const) {
    both('retries', exactness, 'with the same Idempotency-Key get the stored answer, and no provider is called again', async (stream) => {
      const asked = { stream, sim, idempotencyKey: `again-${exactness}-${stream}` };
      const first = await ask(world, asked);
      expectWhole(first, stream);
      const again = await ask(world, { ...asked, ref: first.ref });
      expect(again).toMatchObject({ status: 200, end: 'complete', body: first.body });
      expect(again.headers.get('x-request-id')).toBe(first.headers.get('x-request-id'));
      await (exactness === 'exact' ? expectExact(first) : expectEstimated(first));
    });
  }
});

describe('empty text answer of an account above its ceiling of uncharged cost', () => {
  // A stream that breaks off costs us a dollar and a half: from the next word of the control plane on, empty answers are charged.
  beforeAll(async () => {
    await untilDayHasMinutes();
    const seen = await ask(world, { model: 'gpt-5.4-pro', stream: true, longMessages: 6, maxTokens: 100, sim: 'tokens=30;reset_after=9' });
    const line = await servedOnce(world, seen);
    const { chargeNano, costNano } = await billed(world, line.request_id);
    expect(chargeNano).toBe(0n);
    expect(costNano).toBeGreaterThan(1_000_000_000n);
    await until(
      async () => {
        const empty = await ask(world, { sim: 'empty' });
        const told = toldUsd(empty, false) ?? 0;
        if (told > 0) apart.add((await servedOnce(world, empty)).request_id);
        return told > 0;
      },
      'the node to hear of the ceiling',
      30_000,
    );
  }, 120_000);

  both('empty', 'exact', 'is charged above the ceiling of uncharged cost', async (stream) => {
    const seen = await ask(world, { stream, sim: 'empty' });
    expectWhole(seen, stream);
    const line = await servedOnce(world, seen);
    apart.add(line.request_id);
    const receipt = await billed(world, line.request_id);
    const usage = line.usage as { prompt_tokens: number; completion_tokens: number };
    expect(usage.completion_tokens).toBe(0);
    expect(receipt).toMatchObject({ outcome: 'empty', exactness: 'exact', chargeNano: price(line.model ?? '', usage.prompt_tokens, 0, 0) });
    expect(toldUsd(seen, stream)).toBe(Number(receipt.chargeNano) / 1e9);
  });

  both('empty', 'estimated', 'is charged above the ceiling by a count of ours where it has no usage', async (stream) => {
    const seen = await ask(world, { stream, sim: 'empty;no_usage' });
    expectWhole(seen, stream);
    const line = await servedOnce(world, seen);
    apart.add(line.request_id);
    const receipt = await billed(world, line.request_id);
    expect(receipt).toMatchObject({ outcome: 'empty', exactness: 'estimated', units: { output: 0 } });
    expect(receipt.chargeNano).toBeGreaterThan(0n);
    expect(receipt.chargeNano).toBeLessThanOrEqual(receipt.maxCostNano);
  });

  both('breaks', 'exact', 'nothing, also above the ceiling', async (stream) => {
    const seen = await ask(world, { stream, sim: stream ? 'tokens=30;cut_after=9' : 'tokens=30;malformed' });
    expect(errorOf(seen)).toBe('upstream_error');
    await expectFree(seen, { outcome: 'failed' });
  });
});

/** The ceiling is a day's (UTC): with less than a minute left of it, waits for the next. */
async function untilDayHasMinutes(): Promise<void> {
  const leftMs = 86_400_000 - (Date.now() % 86_400_000);
  if (leftMs < 60_000) await new Promise((resolve) => setTimeout(resolve, leftMs + 1_000));
}

describe('our node dies', () => {
  both('failed', 'exact', 'nothing for a request whose node was killed before its final was written', async (stream) => {
    const begun = Promise.withResolvers<void>();
    const answer = ask(world, { stream, sim: stream ? LONG : 'tokens=30;delay_ms=20000', onBegun: begun.resolve });
    await begun.promise;
    await world.node('us').kill();
    const seen = await answer;
    expect(seen.end).toBe('broken');
    await world.startNode('us');
    const line = await servedOnce(world, seen);
    apart.add(line.request_id);
    const receipt = await billed(world, line.request_id);
    expect(receipt).toMatchObject({ outcome: 'recovered', exactness: 'exact', chargeNano: 0n, units: {}, attempts: [], costNano: 0n });
  });
});

describe('the whole', () => {
  it('has a test for each cell of the rule that can be', () => {
    for (const row of Object.keys(ROWS) as Row[]) {
      for (const of of CELLS) {
        const tested = table.some((line) => line.row === row && line.cell === of);
        expect(tested || NONE[row]?.[of] !== undefined, `${ROWS[row]} | ${of}`).toBe(true);
      }
    }
  });

  it("leaves a ledger that equals the providers' journal, and books that agree", async () => {
    await world.upstreamIdle();
    await world.reported();
    const books = await compareBooks(world, apart);
    expect(books.differences).toEqual([]);
    expect(books.chargedNano).toBe(books.expectedNano);
    expect(await balanceNano(world)).toBe(CREDIT_USD * 1_000_000_000n - (await chargedInAllNano(world)));
    expect(await world.operator.get('/admin/v1/audit')).toMatchObject({ ok: true });
  });
});
