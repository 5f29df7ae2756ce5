import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { expect, it } from 'vitest';
import { migrate } from '../database/migrate.ts';
import { emptyTestDatabase, testDatabase } from '../database/testing.ts';

const MIGRATIONS = join(import.meta.dirname, '../../migrations');

it('makes lots of the credit that accounts have and have spent already', async () => {
  const database = await emptyTestDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'meridian-migrations-'));
  const client = new pg.Client({ connectionString: database.url });
  try {
    for (const name of (await readdir(MIGRATIONS)).filter((file) => file < '0015')) await cp(join(MIGRATIONS, name), join(folder, name));
    await migrate(database.url, { folder });
    await client.connect();
    await client.query(`
      INSERT INTO ledger_transfer (posted_at, code, debit, credit, amount_nano, account_id) VALUES
        (now(), 'top_up', 'payment_clearing', 'paid:acc_1', 100, 'acc_1'),
        (now(), 'adjustment', 'paid:acc_1', 'adjustment', 30, 'acc_1'),
        (now(), 'grant', 'promotion', 'bonus:acc_1', 20, 'acc_1'),
        (now(), 'usage', 'bonus:acc_1', 'revenue', 20, 'acc_1'),
        (now(), 'shortfall', 'write_off', 'paid:acc_1', 5, 'acc_1'),
        (now(), 'usage', 'paid:acc_1', 'revenue', 15, 'acc_1'),
        (now(), 'top_up', 'payment_clearing', 'paid:acc_2', 7, 'acc_2'),
        (now(), 'adjustment', 'paid:acc_2', 'adjustment', 7, 'acc_2'),
        (now(), 'upstream_cost', 'upstream_cost', 'provider_payable', 9, NULL)`);
    await migrate(database.url);
    const { rows } = await client.query('SELECT account_id, kind, source, amount_nano, taken_nano FROM credit_lot ORDER BY id');
    const opening = { account_id: 'acc_1', source: 'opening', taken_nano: '0' };
    expect(rows).toEqual([
      { ...opening, kind: 'paid', amount_nano: '70' },
      { ...opening, kind: 'bonus', amount_nano: '20' },
    ]);
  } finally {
    await client.end();
    await rm(folder, { recursive: true });
    await database.drop();
  }
});

it('lets the application take from lots and close claims, and change nothing that was written once', async () => {
  const { db, drop } = await testDatabase();
  const denied = { code: '42501' };
  try {
    await db.updateTable('credit_lot').set({ taken_nano: 1n }).execute();
    await db.updateTable('credit_refund').set({ state: 'refused' }).execute();
    await db.updateTable('credit_dispute').set({ state: 'won' }).execute();
    await expect(db.updateTable('credit_lot').set({ amount_nano: 1n }).execute()).rejects.toMatchObject(denied);
    for (const table of ['credit_redemption', 'ledger_correction', 'credit_dispute_lot'] as const) {
      await expect(db.updateTable(table).set({ amount_nano: 1n }).execute()).rejects.toMatchObject(denied);
    }
    await expect(db.updateTable('credit_purchase').set({ price_nano: 1n }).execute()).rejects.toMatchObject(denied);
    const kept = ['credit_lot', 'credit_purchase', 'credit_redemption', 'credit_trial_address', 'credit_refund', 'credit_dispute'] as const;
    for (const table of [...kept, 'credit_dispute_lot', 'ledger_correction', 'credit_package', 'credit_promotion'] as const) {
      await expect(db.deleteFrom(table).execute()).rejects.toMatchObject(denied);
    }
  } finally {
    await drop();
  }
});
