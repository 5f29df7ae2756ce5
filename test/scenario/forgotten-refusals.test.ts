/** A database that is set back behind a revocation: the node that knows of it tells, and every node refuses the key. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { copyOfDatabase, type TestDatabase, testDatabase } from '@meridian/control-plane/database/testing';
import { type Replica, startReplica } from '@meridian/control-plane/rpc/testing';
import { Picture } from '@meridian/data-plane/control/picture';
import { SnapshotStore } from '@meridian/data-plane/control/snapshot-store';
import { type SyncClient, startSyncClient } from '@meridian/data-plane/control/sync-client';
import { afterEach, describe, expect, it } from 'vitest';

const SEALING_KEY = new Uint8Array(32).fill(9);
const JOIN_TOKEN = 'join-token-of-the-tests';
const WITHIN = { timeout: 30_000, interval: 50 };

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface Node {
  readonly folder: string;
  readonly picture: Picture;
  readonly client: SyncClient;
  stop(): Promise<void>;
}

async function startNode(nodeId: string, at: Replica, folder = mkdtempSync(join(tmpdir(), 'refusals-'))): Promise<Node> {
  closing.push(() => rmSync(folder, { recursive: true, force: true }));
  const picture = new Picture({ sealingKey: SEALING_KEY });
  const store = await SnapshotStore.open({ dataFolder: folder, sealingKey: SEALING_KEY, alarm: () => undefined });
  const client = startSyncClient({
    address: at.address,
    joinToken: JOIN_TOKEN,
    nodeId,
    spoolId: `spl_${nodeId}`,
    incarnation: randomBytes(8).readBigUInt64BE(),
    region: 'us',
    build: 'test',
    picture,
    store,
    clock: { nowMs: Date.now },
    random: Math.random,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopped ??= client.close().then(() => store.close());
    return stopped;
  };
  closing.push(stop);
  await client.ready;
  return { folder, picture, client, stop };
}

async function startOn(database: TestDatabase): Promise<Replica> {
  const replica = await startReplica({ db: database.db });
  closing.push(() => replica.close(200));
  return replica;
}

describe('a key that was revoked after the backup', () => {
  it('stays refused by the node that knows, and is refused by one that never heard of it', { timeout: 120_000 }, async () => {
    const live = await testDatabase();
    closing.push(() => live.drop());
    const before = await startReplica({ db: live.db });
    await before.plans.save({ id: 'starter', name: 'Starter', apiAccess: true });
    const { account, owner } = await before.accounts.create({ name: 'A', ownerName: 'O' });
    const by = { accountId: account.id, memberId: owner.id };
    const { row: key } = await before.keys.create(by, { name: 'k', expiresAtMs: undefined, models: [], regions: [] });
    await before.close(200);
    const backup = await copyOfDatabase(live);
    closing.push(() => backup.drop());

    const lost = await startOn(live);
    const knows = await startNode('nod_a', lost);
    await lost.keys.revoke(by, key.id);
    await expect.poll(() => knows.picture.keyByHash(key.hash)?.status, WITHIN).toBe('revoked');
    await knows.stop();
    await lost.close(200);

    const restored = await startOn(backup);
    await restored.restore.declareRestored('from the backup');
    const heardNothing = await startNode('nod_b', restored);
    expect(heardNothing.picture.keyByHash(key.hash)?.status).toBe('active');
    const again = await startNode('nod_a', restored, knows.folder);
    await expect.poll(() => heardNothing.picture.keyByHash(key.hash)?.status, WITHIN).toBe('revoked');
    const row = () => restored.keys.get({ accountId: account.id, memberId: undefined }, key.id);
    const { status, version } = await row();
    expect(status).toBe('revoked');
    await expect.poll(() => [...again.picture.keptDenials()], WITHIN).toEqual([]);
    expect(again.picture.keyByHash(key.hash)?.status).toBe('revoked');
    // Once more, from its disk: nothing more is said, nothing more happens, and it goes on refusing.
    await again.stop();
    const third = await startNode('nod_a', restored, knows.folder);
    await expect.poll(() => third.client.status().connected, WITHIN).toBe(true);
    expect(third.picture.keyByHash(key.hash)?.status).toBe('revoked');
    expect((await row()).version).toBe(version);
  });
});
