/** Brings a database to the newest schema: forward only, one transaction a file. */
import { hash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { DatabaseUnreachableError, describeServer } from './connect.ts';

const MIGRATIONS_FOLDER = join(import.meta.dirname, '../../migrations');

/** Any number will do, as long as no other advisory lock in the database has it. */
const MIGRATION_LOCK = 7_235_001;
const FILE_NAME = /^\d{4}_[a-z0-9_]+\.sql$/;

export interface MigrateOptions {
  /** Where the `0001_….sql` files are; ours by default. */
  readonly folder?: string;
}

export interface MigrationFile {
  readonly name: string;
  readonly sql: string;
  /** sha256 of the file, in hex. */
  readonly checksum: string;
}

/** The migrations on disk in the order they apply. */
export async function readMigrations(folder: string = MIGRATIONS_FOLDER): Promise<MigrationFile[]> {
  const names = (await readdir(folder)).filter((name) => FILE_NAME.test(name)).sort();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(join(folder, name), 'utf8');
      return { name, sql, checksum: hash('sha256', sql, 'hex') };
    }),
  );
}

/**
 * Applies what is missing and returns the names it applied. Connects as the URL's own user, who must be allowed to
 * create tables and the application's role. Replicas that start together wait for each other. Throws on a file that
 * changed after it was applied, and on a new file numbered before one that was applied; what a newer build
 * applied and this one does not know is left alone, so that an old replica can restart during an upgrade.
 */
export async function migrate(url: string, options: MigrateOptions = {}): Promise<string[]> {
  const files = await readMigrations(options.folder);
  const client = new pg.Client({ connectionString: url, application_name: 'meridian-migrate', connectionTimeoutMillis: 5_000 });
  // A server that goes away between two statements is reported by the next statement; without a listener it would end the process.
  client.on('error', () => {});
  try {
    await client.connect();
  } catch (error) {
    throw new DatabaseUnreachableError(describeServer(url), error);
  }
  try {
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    return await applyMissing(client, files);
  } finally {
    // Ending the session releases the lock.
    await client.end();
  }
}

async function applyMissing(client: pg.Client, files: readonly MigrationFile[]): Promise<string[]> {
  await client.query(`CREATE TABLE IF NOT EXISTS schema_migration (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
  )`);
  const { rows } = await client.query<{ name: string; checksum: string }>('SELECT name, checksum FROM schema_migration');
  const applied = new Map(rows.map((row) => [row.name, row.checksum]));
  for (const file of files) {
    const known = applied.get(file.name);
    if (known !== undefined && known !== file.checksum) {
      throw new Error(`migration ${file.name} was changed after it was applied; write a new one instead`);
    }
  }
  const missing = files.filter((file) => !applied.has(file.name));
  const newest =
    rows
      .map((row) => row.name)
      .sort()
      .at(-1) ?? '';
  const late = missing.find((file) => file.name < newest);
  if (late !== undefined)
    throw new Error(`migration ${late.name} comes before ${newest}, which was already applied; give it the next number`);
  for (const file of missing) await applyOne(client, file);
  return missing.map((file) => file.name);
}

async function applyOne(client: pg.Client, file: MigrationFile): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query(file.sql);
    await client.query('INSERT INTO schema_migration (name, checksum) VALUES ($1, $2)', [file.name, file.checksum]);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw new Error(`migration ${file.name} failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
