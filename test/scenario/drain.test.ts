/** What a node leaves behind when it is asked to stop: answers in full, and nothing of any budget. */
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGIONS, type RegionName, World } from '../world/world.ts';

interface Standing {
  readonly leases: number;
  readonly used: number;
  readonly held: number;
}

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world?.stop());

function ask(region: RegionName, content: string, fields: object = {}): Promise<Response> {
  return fetch(`${world.url(region)}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${world.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-5.4-mini', max_tokens: 64, messages: [{ role: 'user', content }], ...fields }),
  });
}

/** Of a node's leases, as the control plane has them. */
async function standing(region: RegionName): Promise<Standing> {
  const { rows } = await sql<Record<keyof Standing, string>>`
    SELECT count(*)::text AS leases, coalesce(sum(used), 0)::text AS used,
           coalesce(sum(granted - returned - used - written_off), 0)::text AS held
    FROM lease WHERE region = ${region}`.execute(world.database.db);
  const [row] = rows;
  return { leases: Number(row?.leases), used: Number(row?.used), held: Number(row?.held) };
}

async function chargedNano(): Promise<number> {
  const { rows } = await sql<{ total: string }>`
    SELECT coalesce(sum(charge_nano), 0)::text AS total FROM usage_event`.execute(world.database.db);
  return Number(rows[0]?.total);
}

/** A start of two nodes takes long where other tests run beside it. */
const TIMEOUT_MS = 120_000;

describe('a node that gets SIGTERM', { timeout: TIMEOUT_MS }, () => {
  it('finishes the stream that runs, reports its charge, and gives back all that it held', async () => {
    for (const region of REGIONS) {
      const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => ask(region, `Hello ${index}`)));
      for (const answer of answers) expect(answer.status).toBe(200);
      await Promise.all(answers.map((answer) => answer.text()));
    }
    expect((await standing('us')).held).toBeGreaterThan(0);
    const stream = await ask('us', '[[sim pace_ms=40 tokens=40]] A long one, please', {
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(stream.status).toBe(200);

    const exit = world.node('us').stop();
    const text = await stream.text();
    await exit;
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);

    const gone = await standing('us');
    expect(gone).toMatchObject({ held: 0 });
    expect(gone.leases).toBeGreaterThan(0);
    await world.node('eu').stop();
    const other = await standing('eu');
    expect(other).toMatchObject({ held: 0 });
    expect(gone.used).toBeGreaterThan(0);
    expect(gone.used + other.used).toBe(await chargedNano());
  });

  it('goes on with its leases when it is started again', async () => {
    for (const region of REGIONS) await world.startNode(region);
    for (const region of REGIONS) {
      const answer = await ask(region, 'Again');
      expect(answer.status).toBe(200);
      await answer.text();
    }
  });
});
