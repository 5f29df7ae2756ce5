/** Ports for processes that cannot choose one themselves: they have to listen on the same after a restart, or are told it by a file. */
import { mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Below the ports from which systems take those of outgoing connections and of servers that ask for any (32,768 on Linux, 49,152
 * elsewhere): there, a port would be gone whenever its process is away. Above it stand the worlds of the `start` command's tests.
 */
const FIRST_PORT = 10_000;
const PORTS = 9_900;

/** Those of worlds whose ports are a base and numbers that are added to it. */
const FIRST_BASE = 20_000;
const BASES = 300;

/** A file for each port that a process of this machine holds for its tests, with the process's number in it. */
const CLAIMS = join(tmpdir(), `meridian-test-ports-${process.getuid?.() ?? 'all'}`);

/** So many different ports of 127.0.0.1 that are free now. No other process is given them as long as this one lives. */
export async function freePorts(count: number, claims = CLAIMS): Promise<number[]> {
  const ports: number[] = [];
  for (const port of fromAnywhere(FIRST_PORT, PORTS, 1)) {
    if (ports.length === count) return ports;
    if (claim(claims, port) && (await isFree(port))) ports.push(port);
  }
  throw new Error(`no ${count} free ports from ${FIRST_PORT} to ${FIRST_PORT + PORTS - 1}`);
}

/** A port for which it and the `size - 1` after it are nobody else's as long as this process lives, and pass the check. */
export async function freePortBase(size: number, isFree: (base: number) => Promise<boolean>): Promise<number> {
  for (const base of fromAnywhere(FIRST_BASE, BASES, size)) if (claim(CLAIMS, base) && (await isFree(base))) return base;
  throw new Error(`no ${size} free ports in a row from ${FIRST_BASE} to ${FIRST_BASE + BASES * size - 1}`);
}

/** `count` numbers, a step apart, once round from one that is drawn. */
function* fromAnywhere(first: number, count: number, step: number): Generator<number> {
  const start = Math.floor(Math.random() * count);
  for (let index = 0; index < count; index++) yield first + ((start + index) % count) * step;
}

/** Two that find the claim of one that is gone in the same microsecond could both have it; the walk starts anywhere, so that they never do. */
function claim(claims: string, port: number): boolean {
  mkdirSync(claims, { recursive: true });
  const file = join(claims, String(port));
  if (!isHeld(file)) dropClaim(file);
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** Whether a process that lives has claimed it. */
function isHeld(file: string): boolean {
  try {
    const owner = Number(readFileSync(file, 'utf8'));
    // Empty: its owner is about to write its number.
    return owner === 0 || process.kill(owner, 0);
  } catch (error) {
    // EPERM: it lives, as somebody else's.
    return isCode(error, 'EPERM');
  }
}

function dropClaim(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((answer) => {
    const probe = createServer();
    probe.once('error', () => answer(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => answer(true)));
  });
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
