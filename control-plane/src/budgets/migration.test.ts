import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { expect, it } from 'vitest';
import { migrate } from '../database/migrate.ts';
import { emptyTestDatabase, testDatabase } from '../database/testing.ts';

const MIGRATIONS = join(import.meta.dirname, '../../migrations');

it('gives accounts that are there already a prepaid budget as large as their credit', async () => {
  const database = await emptyTestDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'meridian-migrations-'));
  const client = new pg.Client({ connectionString: database.url });
  try {
    for (const name of (await readdir(MIGRATIONS)).filter((file) => file < '0007')) await cp(join(MIGRATIONS, name), join(folder, name));
    await migrate(database.url, { folder });
    await client.connect();
    await client.query(`
      INSERT INTO plan (id, name, api_access, created_at) VALUES ('starter', 'Starter', true, now());
      INSERT INTO account (id, name, plan_id, status, created_at)
        SELECT 'acc_' || n, 'a', 'starter', 'active', now() FROM generate_series(1, 2) n;
      INSERT INTO ledger_balance (account_id, paid_nano, bonus_nano) VALUES ('acc_1', 70, 5), ('acc_3', 1, 0)`);
    await migrate(database.url);
    const { rows } = await client.query('SELECT id, cap_id, account_id, unit, limit_amount, settled, held FROM budget ORDER BY id');
    const prepaid = (n: number, limit: string) => ({
      ...{ id: `prepaid_acc_${n}@0`, cap_id: `prepaid_acc_${n}`, account_id: `acc_${n}`, unit: 'nano_usd' },
      ...{ limit_amount: limit, settled: '0', held: '0' },
    });
    expect(rows).toEqual([prepaid(1, '75'), prepaid(2, '0'), prepaid(3, '1')]);
  } finally {
    await client.end();
    await rm(folder, { recursive: true });
    await database.drop();
  }
});

it('lets the application change budgets and leases, and take none away', async () => {
  const { db, drop } = await testDatabase();
  try {
    for (const table of ['cap', 'budget', 'lease', 'lease_spool'] as const) {
      await expect(db.deleteFrom(table).execute()).rejects.toMatchObject({ code: '42501' });
    }
    await db.updateTable('budget').set({ held: 0n }).execute();
    await db.updateTable('lease').set({ returned: 0n }).execute();
  } finally {
    await drop();
  }
});
