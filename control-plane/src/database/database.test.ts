import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, DatabaseUnreachableError } from './connect.ts';
import { migrate, readMigrations } from './migrate.ts';
import { emptyTestDatabase, type TestDatabase, testDatabase } from './testing.ts';
import { sqlState, type Transaction, transaction } from './transaction.ts';

describe('connect', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  it('reads int8 as bigint, beyond what a plain number holds', async () => {
    const { rows } = await sql<{ n: bigint }>`SELECT 9007199254740993::int8 AS n`.execute(database.db);
    expect(rows).toEqual([{ n: 9007199254740993n }]);
  });

  it("works under the application's role, also on a connection that was used before", async () => {
    for (let round = 0; round < 2; round++) {
      const { rows } = await sql<{ who: string }>`SELECT current_user::text AS who`.execute(database.db);
      expect(rows).toEqual([{ who: 'meridian_app' }]);
    }
  });

  it('says in one sentence that the server is unreachable, without the password', async () => {
    const db = connect('postgresql://someone:secret@127.0.0.1:1/nowhere', { maxConnections: 1 });
    const error = await sql`SELECT 1`.execute(db).catch((thrown: unknown) => thrown);
    await db.destroy();
    expect(error).toBeInstanceOf(DatabaseUnreachableError);
    expect(String(error)).toContain('127.0.0.1:1/nowhere cannot be used: connect ECONNREFUSED');
    expect(String(error)).not.toContain('secret');
  });

  it('says so when there is no such database', async () => {
    const empty = await emptyTestDatabase();
    const db = connect(empty.url.replace(/\/[^/]*$/, '/no_such_database'), { maxConnections: 1 });
    await expect(sql`SELECT 1`.execute(db)).rejects.toThrow(DatabaseUnreachableError);
    await db.destroy();
    await empty.drop();
  });
});

describe('a connection that the server ends', () => {
  it('in the middle of a query is told as a server that cannot be used', async () => {
    const database = await testDatabase({ maxConnections: 2 });
    const owner = new pg.Client({ connectionString: database.url });
    await owner.connect();
    await owner.query('SELECT pg_advisory_lock(1)');
    const waiting = expect(sql`SELECT pg_advisory_lock(1)`.execute(database.db)).rejects.toThrow(DatabaseUnreachableError);
    for (let ended = 0; ended === 0; ) {
      const { rowCount } = await owner.query(
        'SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())',
      );
      ended = rowCount ?? 0;
    }
    await waiting;
    await owner.end();
    await database.drop();
  });

  it('fails the work that holds it and no more: the process lives, and the next work gets another one', async () => {
    const database = await testDatabase({ maxConnections: 2 });
    const broken = transaction(database.db, async (trx) => {
      const { rows } = await sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`.execute(trx);
      const owner = new pg.Client({ connectionString: database.url });
      await owner.connect();
      // Between two statements of the transaction, when nobody listens for an answer.
      await owner.query('SELECT pg_terminate_backend($1, 5000)', [rows[0]?.pid]);
      await owner.end();
      await sql`SELECT 1`.execute(trx);
    });
    await expect(broken).rejects.toThrow();
    expect((await sql`SELECT 1 AS one`.execute(database.db)).rows).toEqual([{ one: 1 }]);
    await database.drop();
  });
});

describe('transaction', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  it('runs again when two transactions deadlock, so that both are done', async () => {
    const attempts: number[] = [];
    const locks = [1, 2];
    const bothHoldOne = Promise.withResolvers<void>();
    let holding = 0;
    const lockBoth = (order: readonly number[]) =>
      transaction(database.db, async (trx) => {
        attempts.push(1);
        await sql`SELECT pg_advisory_xact_lock(${order[0]})`.execute(trx);
        holding += 1;
        if (holding === 2) bothHoldOne.resolve();
        await bothHoldOne.promise;
        await sql`SELECT pg_advisory_xact_lock(${order[1]})`.execute(trx);
        return order[0];
      });
    expect(await Promise.all([lockBoth(locks), lockBoth(locks.toReversed())])).toEqual([1, 2]);
    expect(attempts.length).toBe(3);
  });

  it('runs again when another has made the same row in between, so that it finds it', async () => {
    const plan = { id: 'made-twice', name: 'Made twice', api_access: true, created_at: new Date() };
    const find = (trx: Transaction) => trx.selectFrom('plan').select('id').where('id', '=', plan.id).executeTakeFirst();
    const outcome = transaction(database.db, async (trx) => {
      if ((await find(trx)) !== undefined) return 'found';
      await database.db
        .insertInto('plan')
        .values(plan)
        .onConflict((conflict) => conflict.doNothing())
        .execute();
      await trx.insertInto('plan').values(plan).execute();
      return 'made';
    });
    expect(await outcome).toBe('found');
  });

  it('gives up after a bounded number of collisions, with the error of the server', async () => {
    let attempts = 0;
    const outcome = transaction(database.db, async (trx) => {
      attempts += 1;
      await sql`DO $$ BEGIN RAISE EXCEPTION 'collides' USING ERRCODE = '40001'; END $$`.execute(trx);
    });
    await expect(outcome).rejects.toSatisfy((error) => sqlState(error) === '40001');
    expect(attempts).toBe(5);
  });

  it('does not run again after any other error', async () => {
    let attempts = 0;
    const outcome = transaction(database.db, async () => {
      attempts += 1;
      throw new Error('no');
    });
    await expect(outcome).rejects.toThrow('no');
    expect(attempts).toBe(1);
  });
});

describe('migrate', () => {
  async function withFolder(work: (folder: string, url: string) => Promise<void>): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'meridian-migrations-'));
    const database = await emptyTestDatabase();
    try {
      await work(folder, database.url);
    } finally {
      await database.drop();
      await rm(folder, { recursive: true });
    }
  }

  it('applies each file once, also when two replicas start together', async () => {
    const database = await emptyTestDatabase();
    try {
      const both = await Promise.all([migrate(database.url), migrate(database.url)]);
      const names = (await readMigrations()).map((file) => file.name);
      expect(both.toSorted((a, b) => a.length - b.length)).toEqual([[], names]);
      expect(names.length).toBeGreaterThan(0);
    } finally {
      await database.drop();
    }
  });

  it('refuses a file that changed after it was applied', async () => {
    await withFolder(async (folder, url) => {
      await writeFile(join(folder, '0001_one.sql'), 'CREATE TABLE one (id int);');
      expect(await migrate(url, { folder })).toEqual(['0001_one.sql']);
      await writeFile(join(folder, '0001_one.sql'), 'CREATE TABLE one (id bigint);');
      await expect(migrate(url, { folder })).rejects.toThrow('0001_one.sql was changed after it was applied');
    });
  });

  it('refuses a new file numbered before one that was applied', async () => {
    await withFolder(async (folder, url) => {
      await writeFile(join(folder, '0002_two.sql'), 'SELECT 1;');
      await migrate(url, { folder });
      await writeFile(join(folder, '0001_one.sql'), 'SELECT 1;');
      await expect(migrate(url, { folder })).rejects.toThrow('0001_one.sql comes before 0002_two.sql');
    });
  });

  it('leaves nothing of a file that fails half-way, and keeps those before it', async () => {
    await withFolder(async (folder, url) => {
      await writeFile(join(folder, '0001_one.sql'), 'CREATE TABLE one (id int);');
      await writeFile(join(folder, '0002_two.sql'), 'CREATE TABLE two (id int); SELECT nothing_like_it();');
      await expect(migrate(url, { folder })).rejects.toThrow('migration 0002_two.sql failed');
      await writeFile(join(folder, '0002_two.sql'), 'CREATE TABLE two (id int);');
      expect(await migrate(url, { folder })).toEqual(['0002_two.sql']);
    });
  });
});
