import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { ADMIN_TOKEN, type TestStack, testStack } from '../http/testing.ts';

const MAIN = join(import.meta.dirname, 'main.ts');

let database: TestDatabase;
let stack: TestStack;

beforeEach(async () => {
  database = await testDatabase();
  stack = testStack(database.db);
  await sql`INSERT INTO lease_spool (spool_id, node_id, region, last_seen_at) VALUES ('spl_1', 'nod_1', 'us', now())`.execute(database.db);
});
afterEach(async () => {
  await stack.app.close();
  await database.drop();
});

async function call(method: 'GET' | 'POST', path: string, body?: object, token = ADMIN_TOKEN) {
  const answer = await stack.app.inject({
    method,
    url: `/admin/v1/database${path}`,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { payload: body }),
  });
  return { status: answer.statusCode, body: answer.json() };
}

describe('the database, as operators see it', () => {
  it('is declared to be set back, waits for its spools, and grants again when an operator says so', async () => {
    const before = await call('GET', '');
    expect(before).toMatchObject({ status: 200, body: { frozen: false, restored_at: null } });
    const restored = await call('POST', '/restored', { reason: 'from the backup' });
    expect(restored.body).toMatchObject({ frozen: true, reason: 'from the backup', spools: [{ id: 'spl_1', declared: false }] });
    expect(restored.body.db_epoch).not.toBe(before.body.db_epoch);
    expect((await call('POST', '/thaw', { reason: 'its disk is gone' })).body).toMatchObject({
      frozen: false,
      thaw_reason: 'its disk is gone',
      db_epoch: restored.body.db_epoch,
    });
    expect((await call('POST', '/thaw', { reason: 'again' })).status).toBe(422);
    expect((await call('POST', '/restored', {})).status).toBe(400);
  });

  it('is for operators only', async () => {
    expect((await call('POST', '/restored', { reason: 'r' }, 'another-token')).status).toBe(401);
    expect((await call('GET', '')).body.frozen).toBe(false);
  });
});

describe('the command', () => {
  const run = (args: string[], env: Record<string, string>) =>
    promisify(execFile)(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env } }).then(
      ({ stdout }) => ({ code: 0, stdout, stderr: '' }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );

  it('begins an epoch before a control plane is started, and names the spools that are waited for', async () => {
    const { code, stdout } = await run(['from the backup'], { DATABASE_URL: database.url });
    expect([code, stdout]).toEqual([0, expect.stringContaining('until 1 spools have declared and replayed\n  spl_1 of node nod_1 in us')]);
    expect((await call('GET', '')).body).toMatchObject({ frozen: true, reason: 'from the backup' });
  });

  it('fails with one line when it is told of no database, or not why', async () => {
    expect(await run(['why'], { DATABASE_URL: '' })).toMatchObject({ code: 1, stderr: 'restored: DATABASE_URL is not set\n' });
    expect(await run([], { DATABASE_URL: database.url })).toMatchObject({ code: 1, stderr: 'restored: say why, as the first argument\n' });
  });
});
