/**
 * What an earlier start in this folder may have left behind: a parent that was killed leaves processes that drain by themselves,
 * and a killed owner of PostgreSQL leaves the server. Whoever starts next waits for the first and stops the second. It must hold
 * the folder's lock: then none of these processes belongs to a world that is alive.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Longer than a node drains. */
const GONE_WITHIN_MS = 15_000;
const LOOK_AGAIN_AFTER_MS = 50;

export interface Noted {
  readonly pid: number;
  /** A part of its command line, by which it is known: numbers are given again. */
  readonly command: string;
}

export class ProcessNotes {
  readonly #file: string;
  readonly #noted: Noted[] = [];

  constructor(folder: string) {
    this.#file = join(folder, 'processes.json');
  }

  add(noted: Noted): void {
    this.#noted.push(noted);
    writeFileSync(this.#file, JSON.stringify(this.#noted));
  }

  /** Everything has stopped. */
  clear(): void {
    rmSync(this.#file, { force: true });
  }

  /** Those of the last start that still run. */
  leftovers(): Noted[] {
    try {
      const noted: unknown = JSON.parse(readFileSync(this.#file, 'utf8'));
      return Array.isArray(noted) ? noted.filter(isNoted).filter(isRunning) : [];
    } catch {
      return [];
    }
  }
}

/** Waits for what drains, ends what does not; `say` is called when there is something to wait for. */
export async function endLeftovers(notes: ProcessNotes, postgresFolder: string, say: (line: string) => void): Promise<void> {
  const left = notes.leftovers();
  if (left.length > 0) {
    say('  waiting for the processes of the last start, which was killed …');
    await gone(left);
    for (const one of left.filter(isRunning)) process.kill(one.pid, 'SIGKILL');
  }
  const server = serverOf(postgresFolder);
  if (server === undefined) return;
  say('  stopping the PostgreSQL of the last start, which was killed …');
  process.kill(server.pid, 'SIGINT');
  await gone([server]);
}

async function gone(processes: readonly Noted[]): Promise<void> {
  const until = Date.now() + GONE_WITHIN_MS;
  while (processes.some(isRunning) && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_AFTER_MS));
}

/** The server that runs on this folder, by the file that it keeps there itself. */
function serverOf(folder: string): Noted | undefined {
  try {
    const pid = Number(readFileSync(join(folder, 'postmaster.pid'), 'utf8').split('\n')[0]);
    const server = { pid, command: folder };
    return isRunning(server) ? server : undefined;
  } catch {
    return undefined;
  }
}

function isNoted(value: unknown): value is Noted {
  return typeof value === 'object' && value !== null && 'pid' in value && 'command' in value && typeof value.command === 'string';
}

function isRunning({ pid, command }: Noted): boolean {
  if (!Number.isInteger(pid) || pid <= 1) return false;
  return commandOf(pid).includes(command);
}

/** Empty when there is no such process; a zombie has an empty one, too. */
function commandOf(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8', stdio: 'pipe' });
  } catch {
    return '';
  }
}
