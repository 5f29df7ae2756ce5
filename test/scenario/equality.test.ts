/** The ledger against the providers' own journal: mixed traffic in both regions, planes killed in the middle. */

import { keyWorks } from '@meridian/local/provision';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until, World } from '../world/world.ts';
import { balanceNano, chargedInAllNano, compareBooks } from './books.ts';
import { type Sent, sendTraffic } from './traffic.ts';

const CREDIT_NANO = 1_000n * 1_000_000_000n;
const REQUESTS = Number(process.env.MERIDIAN_EQUALITY_REQUESTS ?? 2000);
const CONCURRENCY = 32;

async function settled(world: World): Promise<void> {
  await world.upstreamIdle();
  await until(
    async () =>
      (await world.gauge('us', 'meridian_running_requests')) === 0 && (await world.gauge('eu', 'meridian_running_requests')) === 0,
    'all requests to be settled',
  );
  await world.reported();
}

async function auditOf(world: World): Promise<Record<string, unknown>> {
  return world.operator.get('/admin/v1/audit');
}

function tally(sent: readonly Sent[]): string {
  const counts = new Map<string, number>();
  for (const one of sent) counts.set(one.end, (counts.get(one.end) ?? 0) + 1);
  return [...counts].map(([end, count]) => `${count} ${end}`).join(', ');
}

describe('the ledger equals the journal', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  });
  afterAll(() => world?.stop());

  it(`to the nano-dollar over ${REQUESTS} mixed requests, and after a restart of everything`, { timeout: 300_000 }, async () => {
    const sent = await sendTraffic(world, { count: REQUESTS, concurrency: CONCURRENCY, seed: 1 });
    await settled(world);
    const books = await compareBooks(world);
    console.log(
      `${REQUESTS} requests (${tally(sent)}): ${books.exact} charged exactly, ${books.estimated} estimated (off by ${(books.worstEstimate * 100).toFixed(0)} % at most), ${books.free} free; charged ${books.chargedNano} nano-USD, expected ${books.expectedNano}`,
    );
    expect(books.differences).toEqual([]);
    expect(books.chargedNano).toBe(books.expectedNano);
    expect(books.exact).toBeGreaterThan(REQUESTS / 2);
    expect(books.estimated).toBeGreaterThan(0);
    // An intended failure must not be all there is, and there must be some.
    expect(sent.filter((one) => one.end === 'error').length).toBeGreaterThan(REQUESTS / 50);
    const unexpected = sent.filter((one) => one.end === 'error' && /^(whole|stream|tools|embedding)$/.test(one.how));
    expect(unexpected).toEqual([]);
    // What the client was told is what it was charged.
    expect(await balanceNano(world)).toBe(CREDIT_NANO - (await chargedInAllNano(world)));
    expect(await auditOf(world)).toMatchObject({ ok: true });

    const before = await balanceNano(world);
    await Promise.all([world.node('us').stop(), world.node('eu').stop()]);
    await world.control.stop();
    await world.startControl();
    await Promise.all([world.startNode('us'), world.startNode('eu')]);
    expect(await balanceNano(world)).toBe(before);
    expect(await auditOf(world)).toMatchObject({ ok: true });
    expect((await compareBooks(world)).differences).toEqual([]);
  });
});

describe('the control plane killed in the middle', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  });
  afterAll(() => world?.stop());

  it('fails no request, and all usage arrives once', { timeout: 180_000 }, async () => {
    let killed: Promise<unknown> | undefined;
    const sent = await sendTraffic(world, {
      count: 300,
      concurrency: 16,
      seed: 2,
      faults: false,
      onRequest: (index) => {
        if (index === 100) killed = world.control.kill();
      },
    });
    await killed;
    expect(sent.filter((one) => one.end !== 'complete')).toEqual([]);
    await world.startControl();
    await settled(world);
    const books = await compareBooks(world);
    expect(books.differences).toEqual([]);
    expect(books.requests).toBe(300);
    expect(await auditOf(world)).toMatchObject({ ok: true });
  });

  it('lets a node restart meanwhile, which serves from its own disk', { timeout: 120_000 }, async () => {
    await world.control.kill();
    await world.node('eu').kill();
    await world.startNode('eu');
    expect(await keyWorks(world.url('eu'), world.apiKey)).toBe(true);
    const sent = await sendTraffic(world, { count: 40, concurrency: 4, seed: 3, faults: false });
    expect(sent.filter((one) => one.end !== 'complete')).toEqual([]);
    const response = await fetch(`${world.url('eu')}/v1/keys`, { headers: { authorization: 'Bearer x.y.z' } });
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ error: { code: 'control_plane_unavailable' } });
    await world.startControl();
    await settled(world);
    expect((await compareBooks(world)).differences).toEqual([]);
  });
});

describe('a node killed in the middle', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  });
  afterAll(() => world?.stop());

  it('bills a complete answer once and an incomplete one not, unless its final was written', { timeout: 180_000 }, async () => {
    let openFinals = 0;
    for (let round = 0; round < 3; round++) {
      let killed: Promise<unknown> | undefined;
      const sent = await sendTraffic(world, {
        count: 120,
        concurrency: 24,
        seed: 10 + round,
        faults: false,
        onRequest: (index) => {
          if (index === 60) killed = world.node('us').kill();
        },
      });
      await killed;
      await world.startNode('us');
      await settled(world);
      const journal = await world.journal();
      const charged = await chargesByRequest(world);
      for (const one of sent) {
        const line = journal.find((entry) => entry.client_marker === one.ref);
        const charge = line?.request_id === undefined || line.request_id === null ? undefined : charged.get(line.request_id);
        if (one.end === 'complete') expect(charge, `${one.ref} arrived whole`).toBeGreaterThan(0n);
        else if (charge !== undefined && charge > 0n) openFinals++;
      }
    }
    console.log(`answers whose final was written but whose last bytes did not arrive: ${openFinals}`);
    const incomplete = await requestsOutsideTheRule(world);
    const books = await compareBooks(world, incomplete);
    expect(books.differences).toEqual([]);
    expect(books.recovered).toBeGreaterThan(0);
    expect(await balanceNano(world)).toBe(CREDIT_NANO - (await chargedInAllNano(world)));
    expect(await auditOf(world)).toMatchObject({ ok: true });
  });
});

async function chargesByRequest(world: World): Promise<Map<string, bigint>> {
  const rows = await world.database.db.selectFrom('usage_event').select(['request_id', 'charge_nano']).execute();
  return new Map(rows.map((row) => [row.request_id, BigInt(row.charge_nano)]));
}

/** Requests that were on a node when it was killed: recovered, charged nothing whatever the provider sent. */
async function requestsOutsideTheRule(world: World): Promise<Set<string>> {
  const rows = await world.database.db
    .selectFrom('usage_event')
    .select(['request_id', 'charge_nano'])
    .where('outcome', '=', 'recovered')
    .execute();
  for (const row of rows) expect(BigInt(row.charge_nano)).toBe(0n);
  return new Set(rows.map((row) => row.request_id));
}
