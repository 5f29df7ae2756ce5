import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openReplicaFolder } from './replica-folder.ts';

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'meridian-replica-folder-'));
});
afterEach(() => rmSync(parent, { recursive: true }));

const self = { pid: process.pid, startedAtMs: Date.now() - process.uptime() * 1000 };

function leave(name: string, changedAtMs = Date.now()): string {
  const folder = join(parent, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'snp_1.gz'), 'old');
  utimesSync(folder, changedAtMs / 1000, changedAtMs / 1000);
  return folder;
}

it('removes what a killed replica left, also one that had the same process id', async () => {
  const { pid: dead } = spawnSync(process.execPath, ['-e', '']);
  const killed = leave(`meridian-snapshots-${dead}-abc123`);
  const predecessor = leave(`meridian-snapshots-${self.pid}-abc123`, self.startedAtMs - 1_000);
  const folder = await openReplicaFolder(parent, self);
  expect([killed, predecessor, folder].map(existsSync)).toEqual([false, false, true]);
});

it('leaves alone what a living replica or somebody else has', async () => {
  const kept = [
    leave(`meridian-snapshots-${process.ppid}-abc123`),
    leave(`meridian-snapshots-${self.pid}-def456`),
    leave('meridian-snapshots-of-mine'),
    leave('something-else'),
  ];
  const first = await openReplicaFolder(parent, self);
  await openReplicaFolder(parent, self);
  expect([...kept, first].map(existsSync)).toEqual([true, true, true, true, true]);
});
