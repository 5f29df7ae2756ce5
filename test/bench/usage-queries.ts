/**
 * How long customers wait for what they ask about their usage, over HTTP from a control plane whose database holds millions of requests:
 * 30 days up to now, 2,000 accounts, a fifth of all requests from one of them. `node test/bench/usage-queries.ts [events] [times]`:
 * 5,000,000 events unless told, on an embedded PostgreSQL of its own, and each question 200 times on accounts chosen at random and 200
 * times on the large one; what operators ask of all accounts, a tenth as often. A question that is refused for the time it takes says so. The plans of what took 50 ms or more are printed at the end, as the server writes them.
 */
import { randomBytes } from 'node:crypto';
import { availableParallelism, loadavg } from 'node:os';
import { startApp } from '@meridian/control-plane/app';
import { loadConfig } from '@meridian/control-plane/config';
import { createLogger } from '@meridian/control-plane/telemetry/logger';
import { ApiClient } from '@meridian/local/operator';
import pg from 'pg';
import { pick, seededRandom } from '../random.ts';
import { onPostgres } from './scratch-postgres.ts';
import { fillUsage, keyId, memberId } from './usage-rows.ts';

const ADMIN_TOKEN = randomBytes(16).toString('hex');
const secret = (): string => randomBytes(32).toString('hex');
const SETTINGS = {
  ...{ MERIDIAN_HTTP_PORT: '0', MERIDIAN_GRPC_PORT: '0', MERIDIAN_HEALTH_PORT: '0' },
  ...{ MERIDIAN_ADMIN_TOKEN: ADMIN_TOKEN, MERIDIAN_JOIN_TOKEN: secret(), MERIDIAN_JWT_SECRET: secret() },
  ...{ MERIDIAN_KEY_PEPPER: secret(), MERIDIAN_SEALING_KEY: secret() },
};
const DAYS = 30;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const ACCOUNTS = 2_000;
const LARGE_SHARE = 0.2;
/** Of the accounts, those that exist beyond their usage, and ask: the large one, and others. */
const ASKERS = 101;
const SLOW_MS = 50;
const SLOW_AGAIN = 2;

interface Asker {
  readonly accountId: string;
  readonly token: string;
  /** Ids of requests all over the days, and of transfers. */
  readonly requestIds: readonly string[];
  readonly transferIds: readonly string[];
}

interface Question {
  readonly name: string;
  path(asker: Asker, random: () => number): string;
}

/** A request of some days ago, from which a page of the log goes on. */
const someRequest = (asker: Asker, random: () => number): string => pick(asker.requestIds, random());

function questions(endMs: number): Question[] {
  const month = `from=${new Date(endMs - DAYS * DAY_MS).toISOString()}`;
  return [
    { name: 'usage by day', path: () => '/v1/usage' },
    { name: 'usage by model and key', path: () => '/v1/usage?group_by=model,key' },
    { name: 'usage by day of one key', path: ({ accountId }) => `/v1/usage?key=${keyId(accountId, 2)}` },
    { name: 'usage by all five, first page', path: () => '/v1/usage?group_by=day,model,key,member,region' },
    { name: 'usage by day and key, CSV', path: () => '/v1/usage?group_by=day,key&format=csv' },
    { name: 'log, 24 h, first page', path: () => '/v1/usage/requests' },
    { name: 'log, 30 days, deep page', path: (asker, random) => `/v1/usage/requests?${month}&after=${someRequest(asker, random)}` },
    { name: 'log of one key, 24 h', path: ({ accountId }) => `/v1/usage/requests?key=${keyId(accountId, 2)}` },
    {
      name: 'log of a key and a model, 30 days',
      path: ({ accountId }) => `/v1/usage/requests?${month}&key=${keyId(accountId, 2)}&model=gpt-4o-mini`,
    },
    { name: 'log of one member, 24 h', path: ({ accountId }) => `/v1/usage/requests?member=${memberId(accountId, 1)}` },
    { name: 'log of failures, 24 h', path: () => '/v1/usage/requests?outcome=failed' },
    { name: 'log by a status never seen, 24 h', path: () => '/v1/usage/requests?status=418' },
    { name: 'log of what is dearer than all, 30 days', path: () => `/v1/usage/requests?${month}&min_cost_usd=100` },
    { name: 'receipt', path: (asker, random) => `/v1/usage/requests/${someRequest(asker, random)}` },
    { name: 'credits, first page', path: () => '/v1/credits' },
    { name: 'credits, deep page', path: ({ transferIds }, random) => `/v1/credits?after=${pick(transferIds, random())}` },
    { name: 'me', path: () => '/v1/me' },
  ];
}

/** What operators ask, of all accounts. */
function operatorQuestions(endMs: number): { readonly name: string; readonly path: string }[] {
  const since = (days: number): string => `from=${new Date(endMs - days * DAY_MS).toISOString()}`;
  return [
    { name: 'all by day', path: '/admin/v1/usage' },
    { name: 'all by day, model, region', path: '/admin/v1/usage?group_by=day,model,region' },
    { name: 'all by account, first page', path: '/admin/v1/usage?group_by=account' },
    { name: 'all by account and day, CSV part', path: '/admin/v1/usage?group_by=account,day&format=csv&limit=1000' },
    { name: 'all by provider, 2 days', path: '/admin/v1/usage?group_by=provider' },
    { name: 'all by provider, 8 days', path: `/admin/v1/usage?group_by=provider&${since(7)}` },
    { name: 'all by day and provider, 31 days', path: `/admin/v1/usage?group_by=day,provider&${since(DAYS)}` },
  ];
}

async function main(events: number, times: number): Promise<void> {
  console.log(`${availableParallelism()} processors, load average ${load()}; ${events} events, each question ${times} times`);
  await onPostgres(async (url) => {
    // Hourly rows are of whole hours.
    const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
    const accounts = await withApp(url, makeAccounts);
    await fill(url, events, accounts, endMs);
    const askers = await readIds(url, accounts);
    const slow = await withApp(url, async (origin) => {
      await measureOperators(origin, endMs, Math.ceil(times / 10));
      return measure(origin, questions(endMs), askers, times);
    });
    if (slow.length === 0) return;
    await explainSlowStatements(url);
    await withApp(url, async (origin) => {
      for (const { question, asker } of slow) {
        console.log(`\n${question.name}:`);
        for (let nth = 0; nth < SLOW_AGAIN; nth++) await ask(origin, asker, question.path(asker, seededRandom(nth)));
      }
    });
  });
}

interface Slow {
  readonly question: Question;
  readonly asker: Asker;
}

/** Asks everything one after the other, prints how long it took, and returns what was slow. */
async function measure(origin: string, asked: readonly Question[], askers: readonly Asker[], times: number): Promise<Slow[]> {
  const [large, ...others] = askers;
  if (large === undefined) throw new Error('nobody asks');
  const slow: Slow[] = [];
  console.log(`${'ms: p50, p95, most'.padEnd(42)} ${'random accounts'.padStart(23)}  ${'the large account'.padStart(23)}   load`);
  for (const question of asked) {
    const random = seededRandom(1);
    const cells: string[] = [];
    for (const choose of [() => pick(others, random()), () => large]) {
      const tookMs: number[] = [];
      for (let nth = 0; nth < times; nth++) {
        const asker = choose();
        tookMs.push(await ask(origin, asker, question.path(asker, random)));
      }
      tookMs.sort((a, b) => a - b);
      const at = (share: number): number => tookMs[Math.min(tookMs.length - 1, Math.floor(tookMs.length * share))] ?? Number.NaN;
      cells.push([0.5, 0.95, 1].map((share) => at(share).toFixed(1).padStart(7)).join(' '));
      if (at(0.95) >= SLOW_MS) slow.push({ question, asker: choose() });
    }
    console.log(`${question.name.padEnd(42)} ${cells.join('  ')}   ${load()}`);
  }
  return slow;
}

async function measureOperators(origin: string, endMs: number, times: number): Promise<void> {
  console.log(`${'ms: p50, most'.padEnd(42)} ${'operators'.padStart(15)}   load`);
  for (const { name, path } of operatorQuestions(endMs)) {
    const tookMs: number[] = [];
    let refused = 0;
    for (let nth = 0; nth < times; nth++) {
      const startedAtMs = performance.now();
      const answer = await fetch(origin + path, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
      const body = await answer.text();
      if (answer.status === 503) refused++;
      else if (!answer.ok) throw new Error(`${path}: ${answer.status} ${body.slice(0, 500)}`);
      tookMs.push(performance.now() - startedAtMs);
    }
    tookMs.sort((a, b) => a - b);
    const cells = [tookMs[Math.floor((times - 1) / 2)], tookMs.at(-1)].map((ms) => (ms ?? Number.NaN).toFixed(1).padStart(7)).join(' ');
    console.log(`${name.padEnd(42)} ${cells}   ${load()}${refused === 0 ? '' : `   ${refused} of ${times} refused`}`);
  }
}

/** Milliseconds to the last byte of the answer. */
async function ask(origin: string, { token }: Asker, path: string): Promise<number> {
  const startedAtMs = performance.now();
  const answer = await fetch(origin + path, { headers: { authorization: `Bearer ${token}` } });
  const body = await answer.text();
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${body.slice(0, 500)}`);
  return performance.now() - startedAtMs;
}

interface Account {
  readonly accountId: string;
  readonly token: string;
}

async function makeAccounts(origin: string): Promise<Account[]> {
  const operator = new ApiClient(origin, ADMIN_TOKEN);
  const accounts: Account[] = [];
  for (let nth = 0; nth < ASKERS; nth++) {
    const { id } = await operator.post('/admin/v1/accounts', { name: `account ${nth}` });
    const { token } = await operator.post(`/admin/v1/accounts/${id}/tokens`, {});
    accounts.push({ accountId: String(id), token: String(token) });
  }
  return accounts;
}

async function fill(url: string, events: number, accounts: readonly Account[], endMs: number): Promise<void> {
  const accountIds = accounts.map(({ accountId }) => accountId);
  while (accountIds.length < ACCOUNTS) accountIds.push(`acc_${randomBytes(13).toString('hex').toUpperCase()}`);
  const startedAtMs = performance.now();
  await onDatabase(url, (client) => fillUsage(client, { events, days: DAYS, accountIds, largeShare: LARGE_SHARE, endMs }));
  const counts = await onDatabase(url, (client) =>
    client.query(`SELECT (SELECT count(*) FROM usage_event) AS events, (SELECT count(*) FROM usage_hourly) AS hourly,
      (SELECT count(*) FROM ledger_transfer) AS transfers, pg_size_pretty(pg_database_size(current_database())) AS size`),
  );
  console.log(`filled in ${((performance.now() - startedAtMs) / 1_000).toFixed(0)} s:`, counts.rows[0]);
}

async function readIds(url: string, accounts: readonly Account[]): Promise<Asker[]> {
  return onDatabase(url, async (client) => {
    const askers: Asker[] = [];
    for (const account of accounts) {
      const ids = async (table: string, column: string): Promise<string[]> => {
        const some = `SELECT ${column}::text AS id FROM ${table} WHERE account_id = $1 ORDER BY random() LIMIT 300`;
        return (await client.query<{ id: string }>(some, [account.accountId])).rows.map((row) => row.id);
      };
      const requestIds = await ids('usage_event', 'request_id');
      askers.push({ ...account, requestIds, transferIds: await ids('ledger_transfer', 'id') });
    }
    return askers;
  });
}

/** From the next connection on, the server writes down the plan of each statement that takes long, with what it really did. */
async function explainSlowStatements(url: string): Promise<void> {
  const settings = {
    session_preload_libraries: 'auto_explain',
    'auto_explain.log_min_duration': `${SLOW_MS}ms`,
    'auto_explain.log_analyze': 'on',
    'auto_explain.log_buffers': 'on',
    'auto_explain.log_timing': 'off',
  };
  await onDatabase(url, async (client) => {
    await client.query("LOAD 'auto_explain'");
    for (const [name, value] of Object.entries(settings)) await client.query(`ALTER DATABASE postgres SET ${name} = '${value}'`);
  });
}

async function withApp<T>(url: string, work: (origin: string) => Promise<T>): Promise<T> {
  const app = await startApp(loadConfig({ ...SETTINGS, DATABASE_URL: url }), createLogger('fatal'));
  try {
    return await work(app.httpUrl);
  } finally {
    await app.close();
  }
}

async function onDatabase<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function load(): string {
  return (loadavg()[0] ?? Number.NaN).toFixed(1);
}

const [events = 5_000_000, times = 200] = process.argv.slice(2).map(Number);
await main(events, times);
