import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inspectFolder } from './inspect.ts';
import {
  durable,
  finalOf,
  heldIds,
  intentOf,
  leasedFinalOf,
  leaseOf,
  newFolder,
  openTestSpool,
  roomyDisk,
  writeFinal,
  writeIntent,
  writeLease,
} from './testing.ts';

const MAIN = fileURLToPath(new URL('./inspect-main.ts', import.meta.url));
const NOW_MS = 1_790_000_000_000;

let folder: string;
beforeEach(() => {
  folder = newFolder();
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

/** Two incarnations: one of three segments that is recovered, one that runs or died with a request open. */
async function fill(): Promise<void> {
  const ids = heldIds(NOW_MS);
  const first = await openTestSpool(folder, 1n, { limits: { segmentBytes: 2200 } }, ids);
  await writeLease(first.spool, leaseOf(1, 1000));
  await writeIntent(first.spool, intentOf('left'));
  for (let index = 0; index < 10; index++) await writeFinal(first.spool, leasedFinalOf(`f${index}`, 1, 7n));
  await durable(first.spool);
  first.spool.acknowledge(1n, 5);
  await first.spool.close();
  const second = await openTestSpool(folder, 2n, {}, ids);
  await writeLease(second.spool, leaseOf(1, 1000, 930));
  await writeIntent(second.spool, intentOf('open'));
  await writeFinal(second.spool, finalOf('unleased', 5n));
  await second.spool.close();
}

/** Name and content of every file. */
function imageOf(): string {
  return JSON.stringify(
    fs
      .readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name))
      .sort()
      .map((file) => [file, fs.readFileSync(file).toString('base64')]),
  );
}

function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [MAIN, ...args]).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, stdout: error.stdout, stderr: error.stderr }),
  );
}

function flip(file: string, at: (bytes: Buffer) => number): void {
  const bytes = fs.readFileSync(file);
  const offset = at(bytes);
  bytes[offset] = (bytes[offset] ?? 0) ^ 0xff;
  fs.writeFileSync(file, bytes);
}

describe('the look into a spool folder', () => {
  it('tells what a whole folder holds, while it is in use, and changes nothing', async () => {
    await fill();
    const live = await openTestSpool(folder, 3n);
    await writeIntent(live.spool, intentOf('running'));
    const before = imageOf();
    const report = inspectFolder(folder, roomyDisk, NOW_MS);
    expect(imageOf()).toBe(before);
    expect(report.spoolId).toBe(live.spool.spoolId);
    expect(report.damaged).toBe(false);
    expect(report.incarnations).toMatchObject([
      { incarnation: '0000000000000001', ordinal: 1, firstSeq: 1, lastSeq: 12, ackedSeq: 5, recovered: true },
      { incarnation: '0000000000000002', ordinal: 2, firstSeq: 1, lastSeq: 5, ackedSeq: 0, recovered: true },
      { incarnation: '0000000000000003', ordinal: 3, firstSeq: 1, lastSeq: 3, ackedSeq: 0, recovered: false },
    ]);
    const segments = report.incarnations[0]?.segments ?? [];
    expect(segments.length).toBeGreaterThan(2);
    expect(segments.reduce((sum, segment) => sum + segment.records.final, 0)).toBe(10);
    expect(segments[1]?.checkpoint).toEqual({ openIntents: 1, leases: 1 });
    expect(report.openIntents.map((intent) => intent.requestId)).toEqual(['running']);
    expect(report.leases).toEqual([{ ...leaseOf(1, 1000, 930), used: 70 }]);
    expect(report.leases).toEqual(live.spool.leases());
    // Acknowledged: the lease, the intent and three finals.
    expect(report.charges).toEqual({ finals: 13, chargeNano: 75n, costNano: 7700n, unackedFinals: 10, unackedChargeNano: 54n });
    await live.spool.close();
  });

  it('counts a record once that was written anew after a failed sync', async () => {
    let failures = 0;
    const disk = { ...roomyDisk, fdatasync: (fd: number) => (failures-- > 0 ? Promise.reject(new Error('EIO')) : roomyDisk.fdatasync(fd)) };
    const { spool } = await openTestSpool(folder, 1n, { disk });
    await writeFinal(spool, finalOf('safe', 1n));
    await durable(spool);
    failures = 1;
    await writeFinal(spool, finalOf('suspect', 10n));
    await durable(spool);
    await spool.close();
    const report = inspectFolder(folder, roomyDisk, NOW_MS);
    expect(report.incarnations[0]?.segments).toHaveLength(2);
    expect(report.charges).toMatchObject({ finals: 2, chargeNano: 11n });
    expect(report.damaged).toBe(false);
  });

  it('takes a torn end for no damage, and a flipped bit, a lost segment and a lost header for such', async () => {
    await fill();
    const own = path.join(folder, '0000000000000001');
    const names = fs.readdirSync(own).sort();
    const last = path.join(folder, '0000000000000002/00000001.seg');
    fs.truncateSync(last, fs.statSync(last).size - 2);
    const torn = inspectFolder(folder, roomyDisk, NOW_MS);
    expect(torn.damaged).toBe(false);
    expect(torn.incarnations[1]).toMatchObject({ lastSeq: 4 });
    expect(torn.incarnations[1]?.segments[0]?.tornBytes).toBeGreaterThan(100);
    const image = newFolder();
    const damaged = (damage: (own: string) => void) => {
      fs.rmSync(image, { recursive: true });
      fs.cpSync(folder, image, { recursive: true });
      damage(path.join(image, '0000000000000001'));
      return inspectFolder(image, roomyDisk, NOW_MS);
    };
    const flipped = damaged((at) => flip(path.join(at, names[0] ?? ''), (bytes) => bytes.length - 700));
    expect(flipped.damaged).toBe(true);
    expect(flipped.incarnations[0]?.segments[0]?.damaged).toHaveLength(1);
    expect(flipped.charges.finals).toBe(torn.charges.finals - 1);
    const cut = damaged((at) => fs.truncateSync(path.join(at, names[0] ?? ''), fs.statSync(path.join(at, names[0] ?? '')).size - 300));
    expect(cut.damaged).toBe(true);
    expect(cut.incarnations[0]?.segments[0]?.missing).toBeDefined();
    const gone = damaged((at) => fs.rmSync(path.join(at, names[1] ?? '')));
    expect(gone.damaged).toBe(true);
    const headless = damaged((at) => flip(path.join(at, names[0] ?? ''), () => 20));
    expect(headless.damaged).toBe(true);
    expect(headless.charges).toEqual(torn.charges);
    const empty = damaged((at) => fs.truncateSync(path.join(at, names[0] ?? ''), 0));
    expect(empty.damaged).toBe(true);
    fs.rmSync(image, { recursive: true });
  });

  it('prints a report, records and one request from the command line, and exits 1 on damage when told to verify', async () => {
    await fill();
    const whole = await run(folder, '--verify');
    expect(whole.code).toBe(0);
    expect(whole.stdout).toContain('nothing is damaged');
    expect(whole.stdout).toMatch(/incarnation 0000000000000001 {2}number 1 {2}seqs 1\.\.12 {2}acknowledged 5 {2}recovered/);
    expect(whole.stdout).toMatch(/prepaid_acc_1@0 {2}granted 1000 {2}returned 930 {2}used 70 {2}left 0/);
    const records = await run(folder, '--records');
    expect(records.stdout.split('\n').filter((line) => /^0000000000000001 \d+ final f\d /.test(line))).toHaveLength(10);
    const request = await run(folder, '--request', 'left');
    expect(request.stdout.split('\n').filter((line) => line !== '')).toEqual([
      '0000000000000001 2 intent left account=acc_1 model="gpt-5.4-mini" max_cost=5000000',
      '0000000000000002 1 final left account=acc_1 recovered exact status=0 charge=0',
    ]);
    const json = (await run(folder, '--json', '--records')).stdout.trimEnd().split('\n');
    expect(JSON.parse(json[1] ?? '')).toMatchObject({ incarnation: '0000000000000001', seq: 1, type: 'lease' });
    expect(JSON.parse(json.at(-1) ?? '')).toMatchObject({ folder, charges: { finals: 12, chargeNano: '75' } });
    flip(path.join(folder, '0000000000000001/00000001.seg'), (bytes) => bytes.length - 700);
    const damaged = await run(folder, '--verify');
    expect(damaged.code).toBe(1);
    expect(damaged.stdout).toMatch(/! bytes \d+\.\.\d+ are no record/);
    expect((await run(folder)).code).toBe(0);
    expect((await run('--help')).stdout).toContain('Usage: npm run spool');
    expect((await run()).code).toBe(2);
    expect((await run('/nowhere')).code).toBe(2);
  }, 60_000);
});
