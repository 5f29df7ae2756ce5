/** A database of its own for a test, cloned from a template that is migrated once for each set of migrations. */
import { hash, randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { connect, type Database } from './connect.ts';
import { migrate, readMigrations } from './migrate.ts';

export interface TestDatabase {
  readonly db: Database;
  /** Of the database's owner, for another process or a second pool. */
  readonly url: string;
  /** Closes `db` and drops the database, with whatever is still connected to it. */
  drop(): Promise<void>;
}

export interface TestDatabaseOptions {
  /** 10 unless told. */
  readonly maxConnections?: number;
}

/** A fresh, migrated, empty database. Call `drop()` when the test is done. */
export async function testDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  await onServer(async (server) => {
    const template = await migratedTemplate(server);
    await server.query(`CREATE DATABASE ${name} TEMPLATE ${template}`);
  });
  const url = databaseUrl(name);
  const db = connect(url, { maxConnections: options.maxConnections ?? 10 });
  return {
    db,
    url,
    async drop() {
      await db.destroy();
      await onServer((server) => server.query(`DROP DATABASE ${name} WITH (FORCE)`));
    },
  };
}

/**
 * The database as it is now, as another one: what a backup of this moment gives back. Connections to the first one are cut, and
 * opened anew when they are needed.
 */
export async function copyOfDatabase(source: Pick<TestDatabase, 'url'>): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  const sourceName = new URL(source.url).pathname.slice(1);
  await onServer(async (server) => {
    await server.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [sourceName]);
    await server.query(`CREATE DATABASE ${name} TEMPLATE ${sourceName}`);
  });
  const url = databaseUrl(name);
  const db = connect(url, { maxConnections: 10 });
  return {
    db,
    url,
    async drop() {
      await db.destroy();
      await onServer((server) => server.query(`DROP DATABASE ${name} WITH (FORCE)`));
    },
  };
}

/** A fresh database with nothing in it, not even our tables. */
export async function emptyTestDatabase(): Promise<{ readonly url: string; drop(): Promise<void> }> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  await onServer((server) => server.query(`CREATE DATABASE ${name}`));
  return {
    url: databaseUrl(name),
    async drop() {
      await onServer((server) => server.query(`DROP DATABASE ${name} WITH (FORCE)`));
    },
  };
}

let template: Promise<string> | undefined;

/** Made once by whichever test process comes first; the others wait for it at the lock. */
function migratedTemplate(server: pg.Client): Promise<string> {
  template ??= makeTemplate(server);
  return template;
}

async function makeTemplate(server: pg.Client): Promise<string> {
  const files = await readMigrations();
  const name = `template_${hash('sha256', files.map((file) => file.name + file.checksum).join(), 'hex').slice(0, 16)}`;
  const lock = [7_235_002];
  await server.query('SELECT pg_advisory_lock($1)', lock);
  try {
    const { rowCount } = await server.query('SELECT 1 FROM pg_database WHERE datname = $1', [name]);
    if (rowCount === 0) {
      // Built under another name, so that a run that dies on the way leaves no half-made template.
      const draft = `draft_${randomBytes(8).toString('hex')}`;
      await server.query(`CREATE DATABASE ${draft}`);
      try {
        await migrate(databaseUrl(draft));
        await server.query(`ALTER DATABASE ${draft} RENAME TO ${name}`);
      } catch (error) {
        await server.query(`DROP DATABASE IF EXISTS ${draft} WITH (FORCE)`);
        throw error;
      }
    }
  } finally {
    await server.query('SELECT pg_advisory_unlock($1)', lock);
  }
  return name;
}

async function onServer<T>(work: (server: pg.Client) => Promise<T>): Promise<T> {
  const server = new pg.Client({ connectionString: inject('databaseServerUrl') });
  await server.connect();
  try {
    return await work(server);
  } finally {
    await server.end();
  }
}

function databaseUrl(name: string): string {
  const url = new URL(inject('databaseServerUrl'));
  url.pathname = `/${name}`;
  return url.href;
}
