import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectPlain, type PlainDatabase } from '../database/connect.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { type ScheduledJob, type Scheduler, type SchedulerDeps, startScheduler } from './scheduled.ts';

let database: TestDatabase;
const replicas: Scheduler[] = [];
const pools: PlainDatabase[] = [];
const errors: string[] = [];

beforeEach(async () => {
  database = await testDatabase();
});
afterEach(async () => {
  for (const replica of replicas.splice(0)) await replica.stop();
  for (const pool of pools.splice(0)) await pool.close();
  await database.drop();
  errors.length = 0;
});

/** Far from any hour at which the tests might run. */
const job = (name: string, run: ScheduledJob['run']): ScheduledJob => ({ name, cron: '7 3 29 2 *', maxSeconds: 60, run });

/** A replica, with the one connection that it has in production. */
function replica(jobs: readonly ScheduledJob[], options: Partial<SchedulerDeps> = {}): Scheduler {
  const db = connectPlain(database.url, { maxConnections: 1, connectTimeoutMs: 20_000 });
  pools.push(db);
  const onError = (name: string, error: unknown) => errors.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  const started = startScheduler({ db, jobs, onError, retryDelaySeconds: 1, pollSeconds: 0.5, ...options });
  replicas.push(started);
  return started;
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await delay(20)) if (await holds()) return;
  throw new Error(`not within a minute: ${what}; errors: ${errors.join(', ')}`);
}

/** Once it is started. */
async function runSoon(scheduler: Scheduler, name: string): Promise<boolean> {
  let sent: boolean | undefined;
  await until('started', async () => {
    sent = await scheduler.runSoon(name).catch(() => undefined);
    return sent !== undefined;
  });
  return sent ?? false;
}

describe('the scheduler', () => {
  it('starts on several replicas at once, and makes a run that is asked for on one of them', async () => {
    let runs = 0;
    let running = 0;
    const work = job('work', async () => {
      running += 1;
      expect(running).toBe(1);
      await delay(300);
      running -= 1;
      runs += 1;
    });
    const three = [replica([work]), replica([work]), replica([work])];
    const sent = await Promise.all(three.map((each) => runSoon(each, 'work')));
    expect(sent.filter(Boolean)).toHaveLength(1);
    await until('the run', () => runs === 1);
    await until('another may be asked for', async () => three[0]?.runSoon('work') ?? false);
    await until('the second run', () => runs === 2);
    expect(errors.filter((error) => error.startsWith('work'))).toEqual([]);
  });

  it('keeps its tables in a schema of its own, which the application owns', async () => {
    await runSoon(replica([job('work', async () => {})]), 'work');
    const { rows } = await sql<{ schema: string; owner: string; tables: bigint }>`
      SELECT schemaname AS schema, tableowner AS owner, count(*) AS tables FROM pg_tables
      WHERE tableowner = 'meridian_app' GROUP BY 1, 2`.execute(database.db);
    expect(rows).toMatchObject([{ schema: 'scheduler', owner: 'meridian_app' }]);
  });

  it('has the times that the jobs name, in UTC, and no others', async () => {
    const six: ScheduledJob = { ...job('six', async () => {}), cron: '2 */6 * * *' };
    await runSoon(replica([six, job('gone', async () => {})]), 'six');
    await runSoon(replica([{ ...six, cron: '5 */6 * * *' }]), 'six');
    const { rows } = await sql<object>`SELECT name, cron, timezone FROM scheduler.schedule`.execute(database.db);
    expect(rows).toEqual([{ name: 'six', cron: '5 */6 * * *', timezone: 'UTC' }]);
  });

  it('makes one run for all the times at which no replica was there', async () => {
    let runs = 0;
    const hourly: ScheduledJob = {
      ...job('hourly', async () => {
        runs += 1;
      }),
      cron: '30 * * * *',
    };
    const first = replica([{ ...hourly, run: () => Promise.reject(new Error('too early')) }]);
    await until('started', async () => {
      const { rows } = await sql<{ found: boolean }>`SELECT to_regclass('scheduler.schedule') IS NOT NULL AS found`.execute(database.db);
      if (rows[0]?.found !== true) return false;
      const { rows: passes } = await sql`SELECT FROM scheduler.version, scheduler.schedule WHERE cron_on IS NOT NULL`.execute(database.db);
      return passes.length > 0;
    });
    await first.stop();
    expect(runs).toBe(0);
    await sql`UPDATE scheduler.version SET cron_on = now() - interval '1 day'`.execute(database.db);
    await sql`UPDATE scheduler.schedule SET created_on = now() - interval '2 days'`.execute(database.db);
    replica([hourly]);
    await until('the run', () => runs > 0);
    const { rows } = await sql<{ n: bigint }>`SELECT count(*) AS n FROM scheduler.job WHERE name = 'hourly'`.execute(database.db);
    expect(rows).toEqual([{ n: 1n }]);
  });
});

describe('a run', () => {
  it('that fails is alarmed and tried again', async () => {
    let attempts = 0;
    const scheduler = replica([
      job('work', async () => {
        attempts += 1;
        if (attempts < 3) throw new Error(`attempt ${attempts}`);
      }),
    ]);
    await runSoon(scheduler, 'work');
    await until('the third attempt', () => attempts === 3);
    expect(errors).toEqual(['work: attempt 1', 'work: attempt 2']);
  });

  it('that is under way when its replica stops is told, and taken over by another without an alarm', async () => {
    const begun = Promise.withResolvers<void>();
    const first = replica([
      job('work', async (signal) => {
        begun.resolve();
        await delay(60_000, undefined, { signal });
      }),
    ]);
    await runSoon(first, 'work');
    await begun.promise;
    const from = performance.now();
    await first.stop();
    expect(performance.now() - from).toBeLessThan(10_000);
    let runs = 0;
    replica([
      job('work', async () => {
        runs += 1;
      }),
    ]);
    await until('the other replica has made it', () => runs === 1);
    expect(errors).toEqual([]);
  });
});

describe('a scheduler that cannot start', () => {
  it('says so, keeps trying, and can be stopped', async () => {
    const db = connectPlain('postgres://nobody@127.0.0.1:1/nothing', { maxConnections: 1 });
    pools.push(db);
    const scheduler = replica([job('work', async () => {})], { db });
    await until('the error', () => errors.length > 0);
    await expect(scheduler.runSoon('work')).rejects.toThrow('not started');
    await scheduler.stop();
    expect(errors[0]).toMatch(/^scheduler: the PostgreSQL server at 127\.0\.0\.1:1/);
  });
});
