/** Refusals that a restored database has forgotten and nodes tell it, over gRPC and a copy of the database. */

import { status } from '@grpc/grpc-js';
import type { Denial } from '@meridian/domain/snapshot';
import { denialToWire } from '@meridian/wire/codec/denial';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { copyOfDatabase, type TestDatabase, testDatabase } from '../database/testing.ts';
import { DENIALS_TAKEN_FOR_MS } from '../restore/restore.ts';
import { RestoreService } from '../restore/service.ts';
import { published } from '../snapshots/published.ts';
import { type Replica, startReplica, TestNode } from './testing.ts';

let nowMs: number;
const clock = { nowMs: () => nowMs };
const closing: (() => Promise<void> | void)[] = [];

beforeEach(() => {
  nowMs = Date.UTC(2026, 4, 4, 12);
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start({ db }: TestDatabase, { polling = true } = {}): Promise<Replica> {
  const restore = await RestoreService.start({ db, clock, onEvent: () => undefined });
  const replica = await startReplica({ db, restore, nowMs: clock.nowMs, polling });
  closing.push(() => replica.close(200));
  return replica;
}

async function follow(at: Replica, nodeId: string): Promise<TestNode> {
  const node = await TestNode.follow(at.address, nodeId);
  closing.push(() => node.close());
  return node;
}

/** A database with an account, a further member and two keys, of which the backup knows all as active. */
async function world() {
  const live = await testDatabase();
  closing.push(() => live.drop());
  // Its connections are cut when it is copied.
  const replica = await start(live, { polling: false });
  await replica.plans.save({ id: 'starter', name: 'Starter', apiAccess: true });
  const { account, owner } = await replica.accounts.create({ name: 'A', ownerName: 'O' });
  const member = await replica.accounts.addMember(account.id, { name: 'M', role: 'member' });
  const terms = { name: 'k', expiresAtMs: undefined, models: [], regions: [] };
  const by = { accountId: account.id, memberId: owner.id };
  const { row: revoked } = await replica.keys.create(by, terms);
  const { row: other } = await replica.keys.create(by, terms);
  const backup = await copyOfDatabase(live);
  closing.push(() => backup.drop());
  return { account, owner, member, revoked, other, by, backup };
}

function tell(node: TestNode, denials: readonly Denial[], dbEpoch = node.dbEpoch): void {
  node.send({ case: 'denials', value: { dbEpoch, entries: denials.map(denialToWire) } });
}

async function statuses({ db }: TestDatabase) {
  const rows = await sql<{ id: string; status: string; version: number }>`
    SELECT id, status, version FROM account UNION ALL SELECT id, status, version FROM member
    UNION ALL SELECT id, status, version FROM api_key`.execute(db);
  return new Map(rows.rows.map((row) => [row.id, row]));
}

/** The world after the backup was put in place, and an operator said so; somebody is waited for, so that nothing thaws. */
async function restored() {
  const before = await world();
  const { backup } = before;
  await sql`INSERT INTO lease_spool (spool_id, node_id, region, last_seen_at) VALUES ('spl_away', 'n', 'us', now())`.execute(backup.db);
  const replica = await start(backup);
  await replica.restore.declareRestored('a test');
  await expect.poll(() => replica.tail.dbEpoch).toBe(replica.restore.dbEpoch());
  const told: readonly Denial[] = [
    { kind: 'account', id: before.account.id, version: 40, status: 'disabled' },
    { kind: 'member', id: before.member.id, version: 1, status: 'disabled' },
    { kind: 'api_key', id: before.revoked.id, version: 7, status: 'revoked' },
  ];
  return { ...before, replica, told };
}

describe('refusals that a restored database has forgotten', () => {
  it('are taken from a node that knows them, and reach one that never heard of them', async () => {
    const { backup, replica, told, account, member, revoked, other } = await restored();
    const [knows, heardNothing] = [await follow(replica, 'nod_a'), await follow(replica, 'nod_b')];
    tell(knows, told);
    await heardNothing.at('security', (heardNothing.cursors.security ?? 0) + 3);
    // In one transaction: one delta, each entity once, at a version above the node's and above its own.
    expect(heardNothing.deltas.map(({ entries }) => entries.length)).toEqual([3]);
    const now = await statuses(backup);
    expect(now.get(account.id)).toMatchObject({ status: 'disabled', version: 41 });
    expect(now.get(member.id)).toMatchObject({ status: 'disabled', version: 2 });
    expect(now.get(revoked.id)).toMatchObject({ status: 'revoked', version: 8 });
    expect(now.get(other.id)).toMatchObject({ status: 'active', version: 1 });
    for (const { id, status } of told) {
      const last = (await published(backup.db, id)).at(-1);
      expect(last).toMatchObject({ lane: 'security', entry: { body: { value: { id, status } } } });
    }
    const rows = await backup.db.selectFrom('denial').selectAll().orderBy('kind').execute();
    expect(rows).toMatchObject([
      { kind: 'account', entity_id: account.id, status: 'disabled', node_id: 'nod_a', told_version: 40n, db_epoch: knows.dbEpoch },
      { kind: 'api_key', entity_id: revoked.id, status: 'revoked', node_id: 'nod_a', told_version: 7n },
      { kind: 'member', entity_id: member.id, status: 'disabled', node_id: 'nod_a', told_version: 1n },
    ]);
  });

  it('are taken once: said again, also by others, they do not undo what an operator has decided since', async () => {
    const { backup, replica, told, account } = await restored();
    const [a, b] = [await follow(replica, 'nod_a'), await follow(replica, 'nod_b')];
    const { security = 0 } = b.cursors;
    for (const node of [a, b, a]) tell(node, told);
    await b.at('security', security + 3);
    await replica.accounts.setStatus(account.id, 'active');
    for (const node of [a, b]) {
      expect(await replica.denials.take(node.nodeId, node.dbEpoch, told)).toEqual({ taken: [] });
    }
    expect((await statuses(backup)).get(account.id)?.status).toBe('active');
    expect(b.deltas.filter(({ entries }) => entries.some(({ kind }) => kind === 'api_key'))).toHaveLength(1);
    expect(await backup.db.selectFrom('denial').selectAll().execute()).toHaveLength(3);
  });

  it('that several nodes say at once are taken once', async () => {
    const { backup, replica, told } = await restored();
    const dbEpoch = replica.restore.dbEpoch();
    const answers = await Promise.all(Array.from({ length: 8 }, (_, index) => replica.denials.take(`nod_${index}`, dbEpoch, told)));
    expect(answers.flatMap((answer) => ('taken' in answer ? answer.taken : expect.fail(answer.refused)))).toHaveLength(3);
    expect([...(await statuses(backup)).values()].filter(({ status }) => status !== 'active')).toHaveLength(3);
  });

  it('change nothing where it is refused as strictly, is not known, or is of another kind', async () => {
    const { backup, replica, account, revoked, other, by } = await restored();
    await replica.keys.revoke(by, revoked.id);
    const dbEpoch = replica.restore.dbEpoch();
    const before = await statuses(backup);
    const none: readonly Denial[] = [
      { kind: 'api_key', id: revoked.id, version: 9, status: 'disabled' },
      { kind: 'api_key', id: revoked.id, version: 9, status: 'revoked' },
      { kind: 'api_key', id: 'key_unknown', version: 9, status: 'revoked' },
      { kind: 'account', id: 'acc_unknown', version: 9, status: 'disabled' },
      { kind: 'member', id: account.id, version: 9, status: 'disabled' },
    ];
    for (const denial of none) expect(await replica.denials.take('nod_a', dbEpoch, [denial])).toEqual({ taken: [] });
    expect(await statuses(backup)).toEqual(before);
    expect(await backup.db.selectFrom('denial').selectAll().execute()).toEqual([]);
    // Twice in one frame, and disabled before revoked: the stricter one stands.
    const stricter = { kind: 'api_key', id: other.id, version: 2, status: 'revoked' } as const;
    const both: readonly Denial[] = [{ ...stricter, status: 'disabled' }, stricter, stricter];
    expect(await replica.denials.take('nod_a', dbEpoch, both)).toEqual({ taken: [stricter] });
    expect((await statuses(backup)).get(other.id)).toMatchObject({ status: 'revoked', version: 3 });
    const row = await backup.db.selectFrom('api_key').select('revoked_at').where('id', '=', other.id).executeTakeFirstOrThrow();
    expect(row.revoked_at?.getTime()).toBe(nowMs);
  });

  it('make a disabled key a revoked one, and believe no version that is far ahead', async () => {
    const { backup, replica, other } = await restored();
    const take = (status: 'disabled' | 'revoked', version: number) =>
      replica.denials.take('nod_a', replica.restore.dbEpoch(), [{ kind: 'api_key', id: other.id, version, status }]);
    await take('disabled', Number.MAX_SAFE_INTEGER);
    expect((await statuses(backup)).get(other.id)).toMatchObject({ status: 'disabled', version: 2 });
    await take('revoked', 5);
    expect((await statuses(backup)).get(other.id)).toMatchObject({ status: 'revoked', version: 6 });
  });
});

describe('refusals at any other time', () => {
  it('are not taken where no epoch has begun', async () => {
    const { backup, replica, told } = await restored();
    const live = await world();
    const untouched = await start(live.backup);
    const same = told.map((denial) => (denial.kind === 'account' ? { ...denial, id: live.account.id } : denial));
    const node = await follow(untouched, 'nod_a');
    const before = await statuses(live.backup);
    expect(await untouched.denials.take('nod_a', node.dbEpoch, same)).toEqual({ refused: 'no epoch has begun lately' });
    expect(await statuses(live.backup)).toEqual(before);
    // Nor of another epoch than the present one: what a node knows of it is not what its snapshot says.
    const older = replica.restore.dbEpoch();
    await replica.restore.declareRestored('again');
    expect(await replica.denials.take('nod_a', older, told)).toEqual({ refused: 'another epoch has begun' });
    expect([...(await statuses(backup)).values()].every(({ status }) => status === 'active')).toBe(true);
  });

  it('are taken while grants are frozen, and for a quarter of an hour from the beginning of the epoch', async () => {
    const { backup, replica, told, account } = await restored();
    const dbEpoch = replica.restore.dbEpoch();
    const [first, second, third] = told;
    if (first === undefined || second === undefined || third === undefined) return expect.fail('three are told');
    nowMs += 2 * DENIALS_TAKEN_FOR_MS;
    expect(await replica.denials.take('nod_a', dbEpoch, [third])).toEqual({ taken: [third] });
    nowMs -= DENIALS_TAKEN_FOR_MS + 1;
    await replica.restore.thaw('a test');
    expect(await replica.denials.take('nod_a', dbEpoch, [second])).toEqual({ taken: [second] });
    nowMs += 1;
    expect(await replica.denials.take('nod_a', dbEpoch, [first])).toEqual({ refused: 'no epoch has begun lately' });
    expect((await statuses(backup)).get(account.id)?.status).toBe('active');
  });

  it('are not taken from a stream that has not said Hello, nor too many in a frame', async () => {
    const { backup, replica, told } = await restored();
    const stranger = new TestNode(replica.address, 'nod_x');
    tell(stranger, told, replica.restore.dbEpoch());
    expect(await stranger.ended).toMatchObject({ code: status.FAILED_PRECONDITION });
    const node = await follow(replica, 'nod_a');
    tell(node, [...told, ...Array.from({ length: 998 }, () => told[0] ?? expect.fail('none is told'))]);
    expect(await node.ended).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect([...(await statuses(backup)).values()].every(({ status: is }) => is === 'active')).toBe(true);
    stranger.close();
  });
});
