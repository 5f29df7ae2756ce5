import { CompiledQuery, type KyselyPlugin, type RootOperationNode, sql } from 'kysely';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import { selectHolders, selectOpen } from './leases-store.ts';

const PREPAID = 'prepaid_acc_1@0';
const CLOSED = 3_000;

let database: TestDatabase;
beforeAll(async () => {
  database = await testDatabase();
});
afterAll(() => database.drop());

it('reads of a budget that many nodes had leases on, one after the other, only those that are open', async () => {
  const { db } = database;
  await sql`
    INSERT INTO budget (id, cap_id, window_start_ms, account_id, unit, limit_amount)
    SELECT 'prepaid_acc_' || n || '@0', 'prepaid_acc_' || n, 0, 'acc_' || n, 'nano_usd', 1000 FROM generate_series(1, 1000) n`.execute(db);
  await sql`
    INSERT INTO lease_spool (spool_id, node_id, region, last_seen_at)
    SELECT 'spl_' || n, 'nod', 'us', now() FROM generate_series(1, 1000) n`.execute(db);
  await insertLeases(sql`SELECT n, ${PREPAID}, 'spl_' || n % 1000 + 1, 5, now() FROM generate_series(1, ${CLOSED}::int) n`);
  await insertLeases(sql`SELECT 10000 + n, 'prepaid_acc_' || n || '@0', 'spl_' || n, 0, NULL::timestamptz FROM generate_series(1, 1000) n`);
  const owner = new pg.Client({ connectionString: database.url });
  await owner.connect();
  await owner.query('ANALYZE lease');
  await owner.end();
  for (const read of [selectOpen, selectHolders]) {
    const { found, rowsRead } = await watched((trx) => read(trx, [PREPAID]));
    expect(found).toBe(1);
    expect(rowsRead).toBeLessThan(20);
  }
});

/** Number, budget, spool, what was returned of 5, and when it was closed. */
async function insertLeases(rows: ReturnType<typeof sql>): Promise<void> {
  await sql`
    INSERT INTO lease (id, budget_id, spool_id, node_id, region, granted, returned, used, written_off, opened_at, closed_at)
    SELECT lpad(n::text, 32, '0'), budget_id, spool_id, 'nod', 'us', 5, returned, 0, 0, now(), closed_at
    FROM (${rows}) made (n, budget_id, spool_id, returned, closed_at)`.execute(database.db);
}

/** What a query gives, and how many rows the server has read for it. */
async function watched(read: (trx: Transaction) => Promise<readonly unknown[]>): Promise<{ found: number; rowsRead: number }> {
  return transaction(database.db, async (trx) => {
    const queries: { node: RootOperationNode; queryId: Parameters<KyselyPlugin['transformQuery']>[0]['queryId'] }[] = [];
    const found = await read(
      trx.withPlugin({
        transformQuery: ({ node, queryId }) => {
          queries.push({ node, queryId });
          return node;
        },
        transformResult: async ({ result }) => result,
      }),
    );
    let rowsRead = 0;
    for (const { node, queryId } of queries) {
      const query = trx.getExecutor().compileQuery(node, queryId);
      const { rows } = await trx.executeQuery<{ 'QUERY PLAN': readonly { Plan: Plan }[] }>(
        CompiledQuery.raw(`EXPLAIN (ANALYZE, FORMAT JSON) ${query.sql}`, [...query.parameters]),
      );
      for (const { Plan } of rows[0]?.['QUERY PLAN'] ?? []) rowsRead += readBy(Plan);
    }
    return { found: found.length, rowsRead };
  });
}

interface Plan {
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly Plans?: readonly Plan[];
}

function readBy(plan: Plan): number {
  const own = (plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0)) * plan['Actual Loops'];
  return (plan.Plans ?? []).reduce((sum, each) => sum + readBy(each), own);
}
