/** Usage that waits on a node when it is asked to stop: it is uploaded before the exit or by the next start, once. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGIONS, type RegionName, until, World } from '../world/world.ts';
import { balanceNano, chargedInAllNano, compareBooks } from './books.ts';

const TIMEOUT_MS = 120_000;
const CREDIT_NANO = 1_000n * 1_000_000_000n;

let world: World;
beforeAll(async () => {
  world = await World.start();
}, TIMEOUT_MS);
afterAll(() => world?.stop());

async function serve(region: RegionName, count: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async () => {
      const response = await fetch(`${world.url(region)}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${world.apiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'gpt-4o-mini', max_tokens: 20, messages: [{ role: 'user', content: 'Go on. [[sim tokens=10]]' }] }),
        signal: AbortSignal.timeout(30_000),
      });
      await response.text();
      expect(response.status).toBe(200);
    }),
  );
}

async function ingested(): Promise<number> {
  const { requests } = await compareBooks(world);
  return requests;
}

describe('a node that is stopped with usage that nobody has taken', { timeout: TIMEOUT_MS }, () => {
  it('uploads it before it goes, as soon as somebody takes it', async () => {
    // Leases for what follows.
    for (const region of REGIONS) await serve(region, 2);
    await world.reported();
    await world.control.kill();
    for (const region of REGIONS) await serve(region, 20);
    expect(await world.gauge('us', 'meridian_spool_unacked_records')).toBeGreaterThan(0);
    const gone = world.node('us').stop();
    await world.startControl();
    expect(await gone).toMatchObject({ code: 0 });
    await until(async () => (await ingested()) === 44, 'the other node to have reported as well');
    expect((await compareBooks(world)).differences).toEqual([]);
  });

  it('keeps it for the next start where nobody comes, and does not wait for ever', async () => {
    await world.control.kill();
    await serve('eu', 10);
    const startedMs = Date.now();
    expect(await world.node('eu').stop()).toMatchObject({ code: 0 });
    expect(Date.now() - startedMs).toBeLessThan(18_000);
    await world.startControl();
    expect(await ingested()).toBe(44);
    for (const region of REGIONS) await world.startNode(region);
    await until(async () => (await ingested()) === 54, 'what was kept to be reported');
    await world.reported();
    const books = await compareBooks(world);
    expect(books.differences).toEqual([]);
    expect(books.chargedNano).toBe(books.expectedNano);
    expect(await balanceNano(world)).toBe(CREDIT_NANO - (await chargedInAllNano(world)));
    expect(await world.operator.get('/admin/v1/audit')).toMatchObject({ ok: true });
  });
});
