import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { expect, it } from 'vitest';
import { migrate } from '../database/migrate.ts';
import { emptyTestDatabase } from '../database/testing.ts';

const MIGRATIONS = join(import.meta.dirname, '../../migrations');

it('keeps the aliases that are there already for everybody, under the ids that nodes know', async () => {
  const database = await emptyTestDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'meridian-migrations-'));
  const client = new pg.Client({ connectionString: database.url });
  try {
    for (const name of (await readdir(MIGRATIONS)).filter((file) => file < '0018')) await cp(join(MIGRATIONS, name), join(folder, name));
    await migrate(database.url, { folder });
    await client.connect();
    await client.query(`
      INSERT INTO model (id, vendor, display_name, mode, input_modalities, output_modalities, capabilities, hides_reasoning, enabled, created_at)
        VALUES ('m', 'acme', 'M', 'chat', '{text}', '{text}', '{}', false, true, now());
      INSERT INTO alias (name, written, model_id, deleted, version) VALUES ('a-1', 'A.1', 'm', false, 3), ('gone', 'gone', 'm', true, 2)`);
    await migrate(database.url);
    const { rows } = await client.query(
      'SELECT id, name, written, account_id, plan_id, reasoning_effort, deleted, version FROM alias ORDER BY id',
    );
    const plain = { account_id: null, plan_id: null, reasoning_effort: null };
    expect(rows).toEqual([
      { id: 'a-1', name: 'a-1', written: 'A.1', deleted: false, version: 3, ...plain },
      { id: 'gone', name: 'gone', written: 'gone', deleted: true, version: 2, ...plain },
    ]);
    await expect(client.query("UPDATE alias SET id = 'another'")).rejects.toThrow(/alias_of_all_goes_by_name/);
    await expect(client.query("UPDATE alias SET reasoning_effort = 'furious'")).rejects.toThrow(/alias_reasoning_effort_check/);
  } finally {
    await client.end();
    await rm(folder, { recursive: true });
    await database.drop();
  }
});
