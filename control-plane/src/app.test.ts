import { once } from 'node:events';
import { createServer } from 'node:http';
import { create } from '@bufbuild/protobuf';
import { credentials } from '@grpc/grpc-js';
import { prepaidCapId } from '@meridian/domain/budget';
import { ReportRequestSchema, UsageService } from '@meridian/wire/gen/usage_pb';
import { channelOptions } from '@meridian/wire/grpc-options';
import { makeClient } from '@meridian/wire/grpc-service';
import pg from 'pg';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type App, startApp } from './app.ts';
import { type Config, loadConfig } from './config.ts';
import { connect } from './database/connect.ts';
import { emptyTestDatabase } from './database/testing.ts';
import { authorized, TestNode } from './rpc/testing.ts';
import { TestLeaseNode } from './rpc/testing-leases.ts';

const ADMIN_TOKEN = 'admin-token-of-the-tests';

let database: Awaited<ReturnType<typeof emptyTestDatabase>>;
const closing: (() => unknown)[] = [];

beforeEach(async () => {
  database = await emptyTestDatabase();
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await database.drop();
});

function config(change: Partial<Config> = {}): Config {
  const settings = loadConfig({
    DATABASE_URL: database.url,
    MERIDIAN_HTTP_PORT: '0',
    MERIDIAN_GRPC_PORT: '0',
    MERIDIAN_HEALTH_PORT: '0',
    MERIDIAN_ADMIN_TOKEN: ADMIN_TOKEN,
    MERIDIAN_JOIN_TOKEN: 'join-token-of-the-tests',
    MERIDIAN_JWT_SECRET: 'a1'.repeat(32),
    MERIDIAN_KEY_PEPPER: 'b2'.repeat(32),
    MERIDIAN_SEALING_KEY: 'c3'.repeat(32),
    MERIDIAN_SCHEDULER: 'off',
  });
  return { ...settings, ...change };
}

async function start(change: Partial<Config> = {}): Promise<App> {
  const app = await startApp(config(change), pino({ level: 'silent' }));
  closing.push(() => app.close());
  return app;
}

/** What the tests read of answers. */
interface Answer {
  readonly id: string;
  readonly rev: number;
  readonly applied: string[];
  readonly pending: string[];
  readonly data: unknown[];
  readonly state: string;
}

async function admin(app: App, method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(`${app.httpUrl}/admin/v1${path}`, {
    method,
    headers: {
      authorization: `Bearer ${ADMIN_TOKEN}`,
      'content-type': 'application/json',
      'idempotency-key': `${path} ${JSON.stringify(body)}`,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  // An answer's own contract is tested with its route.
  const answer = (await response.json()) as Answer;
  expect(response.ok, JSON.stringify(answer)).toBe(true);
  return answer;
}

/** Keeps every batch of usage waiting until the returned function is called. */
async function holdIngest(): Promise<() => Promise<void>> {
  const holder = new pg.Client({ connectionString: database.url });
  await holder.connect();
  await holder.query('BEGIN');
  await holder.query('LOCK TABLE ingest_cursor IN ACCESS EXCLUSIVE MODE');
  return async () => {
    await holder.query('ROLLBACK');
    await holder.end();
  };
}

async function untilWaitingForLocks(sessions: number): Promise<void> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  for (let waiting = 0; waiting < sessions; ) {
    const { rows } = await client.query<{ n: number }>(
      'SELECT count(DISTINCT pid)::int AS n FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()',
    );
    waiting = rows[0]?.n ?? 0;
  }
  await client.end();
}

describe('a replica', () => {
  it('makes what is asked of its scheduler, tells of it in its metrics, and stops within seconds', async () => {
    const app = await start({ scheduler: true });
    const asked = () => fetch(`${app.httpUrl}/admin/v1/audits`, { method: 'POST', headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    // The replica serves before its scheduler is there.
    while ((await asked()).status !== 202) await new Promise((resolve) => setTimeout(resolve, 50));
    while ((await admin(app, 'GET', '/audits')).data.length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    const metrics = await (await fetch(`${app.healthUrl}/metrics`)).text();
    expect(metrics).toMatch(/^meridian_books_broken 0$/m);
    expect(metrics).toMatch(/^meridian_tier_age_seconds Nan$/m);
    const from = performance.now();
    await app.close();
    expect(performance.now() - from).toBeLessThan(10_000);
  });

  it('without a scheduler says so to whoever asks for what it does', async () => {
    const app = await start();
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
    const answer = await fetch(`${app.httpUrl}/admin/v1/tier-runs`, { method: 'POST', headers });
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5']);
  });

  it('brings a revocation to its nodes at once while more streams of usage wait for the database than it has connections', async () => {
    const app = await start({ maxDatabaseConnections: 6 });
    const node = await TestNode.follow(app.grpcAddress, 'us-1');
    closing.push(() => node.close());
    const { id } = await admin(app, 'POST', '/accounts', { name: 'Acme' });
    const release = await holdIngest();
    closing.push(release);
    const client = makeClient(UsageService, app.grpcAddress, credentials.createInsecure(), channelOptions());
    closing.push(() => client.channel.close());
    const opened = Array.from({ length: 8 }, (_, index) => {
      const stream = client.calls.report(authorized());
      const open = {
        spoolId: `spl_${index}`,
        nodeId: `us-${index}`,
        region: 'us',
        incarnations: [{ incarnation: 1n, firstSeq: 1n, lastSeq: 1n }],
      };
      stream.write(create(ReportRequestSchema, { frame: { case: 'open', value: open } }));
      return once(stream, 'data').finally(() => {
        stream.on('error', () => undefined);
        stream.cancel();
      });
    });
    await untilWaitingForLocks(1);
    const { rev } = await admin(app, 'POST', `/accounts/${id}/disable`);
    await node.at('security', rev);
    closing.splice(closing.indexOf(release), 1);
    await release();
    expect(await Promise.all(opened)).toHaveLength(8);
  });

  it('migrates and seeds an empty database, answers on all its ports, and closes', async () => {
    const app = await start();
    expect((await fetch(`${app.healthUrl}/livez`)).status).toBe(200);
    expect(await (await fetch(`${app.healthUrl}/readyz`)).json()).toEqual({ ready: true, checks: { database: true, log: true } });
    const node = await TestNode.follow(app.grpcAddress, 'us-1');
    closing.push(() => node.close());
    expect(node.picture.living().filter((name) => name.startsWith('model/')).length).toBeGreaterThan(10);
    expect(node.picture.living().some((name) => name.startsWith('ladder/'))).toBe(true);
    const metrics = await (await fetch(`${app.healthUrl}/metrics`)).text();
    expect(metrics).toContain('meridian_sync_streams 1');
    expect(metrics).toMatch(/meridian_config_head\{label="catalog"\} \d+/);
  });

  it('brings what is done through its API to a node: an account, its credit, and where each change has arrived', async () => {
    const app = await start();
    const node = await TestNode.follow(app.grpcAddress, 'us-1');
    closing.push(() => node.close());
    const { id } = await admin(app, 'POST', '/accounts', { name: 'Acme' });
    await node.until(() => node.picture.versions.has(`account/${id}`));
    const before = node.picture.versions.get(`account/${id}`)?.version ?? 0;
    await admin(app, 'POST', `/accounts/${id}/credits`, { type: 'topup', amount_usd: '10.00' });
    await node.until(() => (node.picture.versions.get(`account/${id}`)?.version ?? 0) > before);
    const published = node.deltas.at(-1)?.entries.at(-1)?.body;
    expect(published?.case === 'account' && published.value.balanceNano).toBe(10_000_000_000n);
    const rev = node.cursors.customer ?? 0;
    const propagation = await admin(app, 'GET', `/propagation?lane=CUSTOMER&rev=${rev}`);
    expect([...propagation.applied, ...propagation.pending]).toEqual(['us-1']);
    expect((await admin(app, 'GET', '/nodes')).data).toMatchObject([{ id: 'us-1', region: 'us', reachable: true }]);
  });

  it('refunds a purchase of which a node holds credit when the node has given it back, as it is asked to', async () => {
    const app = await start();
    const { id } = await admin(app, 'POST', '/accounts', { name: 'Acme' });
    const purchase = await admin(app, 'POST', `/accounts/${id}/purchases`, { package_id: 'usd-10' });
    const db = connect(database.url, { maxConnections: 2, applicationName: 'test' });
    closing.push(() => db.destroy());
    const node = await TestLeaseNode.open(app.grpcAddress, db, { spoolId: 'spl_1' });
    closing.push(() => node.close());
    const credit = { capId: prepaidCapId(id), windowStartMs: 0 };
    node.answering = false;
    expect(await node.ask(credit, 4_000_000_000)).toEqual({ granted: true });
    const refund = await admin(app, 'POST', `/accounts/${id}/refunds`, { purchase_id: purchase.id });
    expect(refund).toMatchObject({ state: 'recalling', amount_usd: '0.00' });
    await node.until(() => node.recalls.length > 0);
    expect((await admin(app, 'GET', `/refunds/${refund.id}`)).state).toBe('recalling');
    for (const recall of node.recalls) await node.answer(recall);
    await expect
      .poll(() => admin(app, 'GET', `/refunds/${refund.id}`), { timeout: 30_000 })
      .toMatchObject({ state: 'posted', amount_usd: '10.00', bonus_cancelled_usd: '0.50' });
  });

  it('keeps its nodes’ cursors good over a restart, and seeds nothing twice', async () => {
    const first = await start();
    const node = await TestNode.follow(first.grpcAddress, 'us-1');
    await node.close();
    await first.close();
    const second = await start();
    const again = new TestNode(second.grpcAddress, 'us-1');
    closing.push(() => again.close());
    again.hello({ from: node });
    await again.next('heartbeat');
    expect(again.frames.map(({ frame }) => frame.case)).toEqual(['welcome', 'heartbeat']);
  });

  it('says in one line which port is taken, and leaves nothing open', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    closing.push(() => new Promise((resolve) => taken.close(resolve)));
    const address = taken.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const silent = pino({ level: 'silent' });
    await expect(startApp(config({ httpPort: port }), silent)).rejects.toThrow(
      `HTTP cannot listen on 127.0.0.1:${port}: the port is taken`,
    );
    await expect(startApp(config({ grpcPort: port }), silent)).rejects.toThrow(
      `gRPC cannot listen on 127.0.0.1:${port}: the port is taken`,
    );
    await expect(startApp(config({ healthPort: port }), silent)).rejects.toThrow('the health server cannot listen');
    await start();
  });

  it('does not serve gRPC without TLS to the world', async () => {
    await expect(startApp(config({ grpcHost: '0.0.0.0' }), pino({ level: 'silent' }))).rejects.toThrow('loopback');
  });

  it('says in one line that the database cannot be reached, without its password', async () => {
    const outcome = startApp(config({ databaseUrl: 'postgres://user:hunter2@127.0.0.1:1/nothing' }), pino({ level: 'silent' }));
    const error = await outcome.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(String(error)).toContain('127.0.0.1:1/nothing cannot be used');
    expect(String(error)).not.toContain('hunter2');
  });
});
