import type { ConfigEntry } from '@meridian/domain/snapshot';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { transaction } from '../database/transaction.ts';
import { MAX_ENTRY_BYTES, publish } from './service.ts';
import { selectHeads } from './store.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await testDatabase();
});
afterEach(() => database.drop());

function plan(id: string, version: number, name = 'Plan'): ConfigEntry {
  return { kind: 'plan', id, version, body: { kind: 'plan', value: { id, name, apiAccess: true } } };
}

describe('publish', () => {
  it('returns the rev of the last entry, and each entry has one', async () => {
    const first = await transaction(database.db, (trx) => publish(trx, 'catalog', [plan('a', 1), plan('b', 1)]));
    const second = await transaction(database.db, (trx) => publish(trx, 'catalog', [plan('a', 2)]));
    expect([first.rev, second.rev]).toEqual([2, 3]);
    expect((await selectHeads(database.db)).revs).toEqual({ security: 0, customer: 0, catalog: 3, bulk: 0 });
    const log = await database.db.selectFrom('config_log').select(['lane', 'rev', 'entity_id', 'version']).orderBy('rev').execute();
    expect(log).toEqual([
      { lane: 3, rev: 1n, entity_id: 'a', version: 1n },
      { lane: 3, rev: 2n, entity_id: 'b', version: 1n },
      { lane: 3, rev: 3n, entity_id: 'a', version: 2n },
    ]);
  });

  it('takes several versions of one entity in one call, the newest being its state', async () => {
    await transaction(database.db, (trx) => publish(trx, 'catalog', [plan('a', 1), plan('a', 2), { ...plan('a', 3), body: undefined }]));
    const rows = await database.db.selectFrom('config_entity').select(['version', 'deleted']).execute();
    expect(rows).toEqual([{ version: 3n, deleted: true }]);
  });

  it('leaves no rev behind when the transaction fails', async () => {
    const failed = transaction(database.db, async (trx) => {
      await publish(trx, 'catalog', [plan('a', 1)]);
      throw new Error('no');
    });
    await expect(failed).rejects.toThrow('no');
    expect((await transaction(database.db, (trx) => publish(trx, 'catalog', [plan('a', 1)]))).rev).toBe(1);
  });

  it('refuses lanes out of lock order', async () => {
    const wrong = transaction(database.db, async (trx) => {
      await publish(trx, 'catalog', [plan('a', 1)]);
      await publish(trx, 'security', [plan('a', 2)]);
    });
    await expect(wrong).rejects.toThrow('lanes are locked in order');
  });

  it('refuses an entry that nodes would drop because they have that version', async () => {
    await transaction(database.db, (trx) => publish(trx, 'catalog', [plan('a', 2)]));
    for (const version of [1, 2]) {
      const stale = transaction(database.db, (trx) => publish(trx, 'security', [plan('a', version, 'Other')]));
      await expect(stale).rejects.toThrow('plan/a is not newer');
    }
    expect((await selectHeads(database.db)).revs.security).toBe(0);
  });

  it('refuses an entry too large for a delta', async () => {
    const large = transaction(database.db, (trx) => publish(trx, 'catalog', [plan('a', 1, 'x'.repeat(MAX_ENTRY_BYTES))]));
    await expect(large).rejects.toMatchObject({ code: 'invalid_request_error' });
  });
});
