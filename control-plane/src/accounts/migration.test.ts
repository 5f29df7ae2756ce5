import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { expect, it } from 'vitest';
import { migrate } from '../database/migrate.ts';
import { emptyTestDatabase } from '../database/testing.ts';

const MIGRATIONS = join(import.meta.dirname, '../../migrations');

it('makes members of developers, and a person of each member who is there already', async () => {
  const database = await emptyTestDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'meridian-migrations-'));
  const client = new pg.Client({ connectionString: database.url });
  try {
    for (const name of (await readdir(MIGRATIONS)).filter((file) => file < '0016')) await cp(join(MIGRATIONS, name), join(folder, name));
    await migrate(database.url, { folder });
    await client.connect();
    await client.query(`
      INSERT INTO plan (id, name, api_access, created_at) VALUES ('starter', 'Starter', true, now());
      INSERT INTO account (id, name, plan_id, status, created_at) VALUES ('acc_1', 'a', 'starter', 'active', now());
      INSERT INTO member (id, account_id, name, role, status, created_at) VALUES
        ('mem_1', 'acc_1', 'm', 'owner', 'active', now()), ('mem_2', 'acc_1', 'm', 'developer', 'disabled', now())`);
    await migrate(database.url);
    const { rows } = await client.query(
      'SELECT m.id, role, status, removed_at, p.id AS person FROM member m JOIN person p ON p.id = person_id ORDER BY 1',
    );
    expect(rows).toEqual([
      { id: 'mem_1', role: 'owner', status: 'active', removed_at: null, person: 'per_1' },
      { id: 'mem_2', role: 'member', status: 'disabled', removed_at: null, person: 'per_2' },
    ]);
    await expect(client.query("UPDATE member SET role = 'developer'")).rejects.toThrow(/member_role_check/);
  } finally {
    await client.end();
    await rm(folder, { recursive: true });
    await database.drop();
  }
});
