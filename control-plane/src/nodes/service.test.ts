import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { NodeService } from './service.ts';

const EPOCH = '00000000-0000-4000-8000-000000000001';
const NOTHING = { security: 0, customer: 0, catalog: 0 };

let database: TestDatabase;
let nowMs: number;
const clock = { nowMs: () => nowMs };

beforeEach(async () => {
  database = await testDatabase();
  nowMs = Date.UTC(2026, 5, 1);
});
afterEach(() => database.drop());

function identity(nodeId: string, region = 'us') {
  return { nodeId, region, spoolId: `spl_${nodeId}`, incarnation: 2n ** 64n - 1n, build: 'test' };
}

describe('propagation', () => {
  it('tells who has a rev, who has not yet, and who is not there, over replicas', async () => {
    const one = new NodeService({ db: database.db, clock });
    const other = new NodeService({ db: database.db, clock });
    one.connect(identity('a'), EPOCH, { ...NOTHING, security: 5 });
    one.connect(identity('b'), EPOCH, NOTHING).applied(EPOCH, 'security', 4);
    other.connect(identity('c'), EPOCH, { ...NOTHING, security: 9 });
    const leaving = other.connect(identity('d'), EPOCH, { ...NOTHING, security: 1 });
    other.connect(identity('e'), EPOCH, { ...NOTHING, security: 7 }).disconnect();
    leaving.disconnect();
    await other.flush();
    expect(await one.propagation(EPOCH, 'security', 5)).toEqual({ applied: ['a', 'c', 'e'], pending: ['b', 'd'], unreachable: [] });
    nowMs += 5_000;
    await other.flush();
    expect(await one.propagation(EPOCH, 'security', 5)).toEqual({ applied: ['a', 'c', 'e'], pending: ['b'], unreachable: ['d'] });
  });

  it('knows the slowest node of a lane: of those that are there, follow it, and have something of it', async () => {
    const nodes = new NodeService({ db: database.db, clock });
    const other = new NodeService({ db: database.db, clock });
    expect(await nodes.slowest(EPOCH, 'bulk')).toBeUndefined();
    nodes.connect(identity('old'), EPOCH, NOTHING);
    nodes.connect(identity('new'), EPOCH, { ...NOTHING, bulk: 0 });
    nodes.connect(identity('other epoch'), '00000000-0000-4000-8000-000000000002', { ...NOTHING, bulk: 1 });
    expect(await nodes.slowest(EPOCH, 'bulk')).toBeUndefined();
    nodes.connect(identity('a'), EPOCH, { ...NOTHING, bulk: 9 });
    other.connect(identity('b'), EPOCH, { ...NOTHING, bulk: 5 });
    await other.flush();
    expect(await nodes.slowest(EPOCH, 'bulk')).toBe(5);
    nowMs += 5_000;
    expect(await nodes.slowest(EPOCH, 'bulk')).toBe(9);
  });

  it('takes no rev of another epoch for an answer', async () => {
    const nodes = new NodeService({ db: database.db, clock });
    const connection = nodes.connect(identity('a'), 'another', { ...NOTHING, security: 9 });
    expect((await nodes.propagation(EPOCH, 'security', 5)).pending).toEqual(['a']);
    connection.applied(EPOCH, 'catalog', 3);
    expect((await nodes.propagation(EPOCH, 'security', 5)).pending).toEqual(['a']);
    connection.applied(EPOCH, 'security', 5);
    expect((await nodes.propagation(EPOCH, 'security', 5)).applied).toEqual(['a']);
  });
});

describe('the nodes of a region', () => {
  it('are counted over replicas, each once, and no longer when they are gone', async () => {
    const one = new NodeService({ db: database.db, clock });
    const other = new NodeService({ db: database.db, clock });
    one.connect(identity('a'), EPOCH, NOTHING);
    one.connect(identity('x', 'eu'), EPOCH, NOTHING);
    const moving = other.connect(identity('b'), EPOCH, NOTHING);
    await other.flush();
    await one.flush();
    await one.flush();
    expect([one.regionNodes('us'), one.regionNodes('eu'), one.regionNodes('sg')]).toEqual([2, 1, 0]);
    // It comes to this replica: the other's row of it is not another node.
    one.connect(identity('b'), EPOCH, NOTHING);
    moving.disconnect();
    await other.flush();
    await one.flush();
    expect(one.regionNodes('us')).toBe(2);
    nowMs += 5_000;
    await other.flush();
    expect([other.regionNodes('us'), one.regionNodes('us')]).toEqual([0, 2]);
  });
});

describe('a node that comes back before it was seen to leave', () => {
  it('is not removed by the end of its older connection', async () => {
    const nodes = new NodeService({ db: database.db, clock });
    const older = nodes.connect(identity('a'), EPOCH, NOTHING);
    nodes.connect(identity('a'), EPOCH, { ...NOTHING, catalog: 3 });
    older.disconnect();
    expect(nodes.connectedCount).toBe(1);
    expect(await nodes.list()).toMatchObject([{ nodeId: 'a', applied: { catalog: 3 }, reachable: true, incarnation: 2n ** 64n - 1n }]);
  });

  it('keeps what a later replica wrote of it', async () => {
    const one = new NodeService({ db: database.db, clock });
    const other = new NodeService({ db: database.db, clock });
    one.connect(identity('a'), EPOCH, NOTHING).disconnect();
    nowMs += 1_000;
    other.connect(identity('a'), EPOCH, { ...NOTHING, catalog: 3 });
    await other.flush();
    nowMs -= 1_000;
    await one.flush();
    expect(await new NodeService({ db: database.db, clock }).list()).toMatchObject([{ applied: { catalog: 3 } }]);
  });
});
