/** The folder of a replica's snapshots, and the end of those that killed replicas left behind. */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Before the id of the process that made the folder. */
const PREFIX = 'meridian-snapshots-';

export interface ReplicaProcess {
  readonly pid: number;
  readonly startedAtMs: number;
}

/** Makes a new folder in `parent` and removes those of processes that are no more. What cannot be removed is left to the next start. */
export async function openReplicaFolder(parent: string, self: ReplicaProcess): Promise<string> {
  for (const name of await readdir(parent)) {
    const owner = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    const path = join(parent, name);
    if (owner !== undefined && (await isLeftOver(path, Number(owner), self)))
      await rm(path, { recursive: true, force: true }).catch(() => {});
  }
  return mkdtemp(join(parent, `${PREFIX}${self.pid}-`));
}

/** In a container every replica has the same process id: what was there before this one started is its predecessor's. */
async function isLeftOver(path: string, owner: number, self: ReplicaProcess): Promise<boolean> {
  if (owner !== self.pid) return !isAlive(owner);
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs < self.startedAtMs,
    () => false,
  );
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, as somebody else's.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
