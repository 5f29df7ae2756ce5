/** Opens the pool of connections to PostgreSQL. */
import { Kysely, PostgresDialect, type PostgresPool } from 'kysely';
import pg from 'pg';
import type { Tables } from './tables.ts';

export type Database = Kysely<Tables>;

/** The role that may not change what is written once: transfers, idempotency keys, usage events. */
export const APPLICATION_ROLE = 'meridian_app';

export interface ConnectOptions {
  readonly maxConnections: number;
  /** How long a query waits for a connection, a new one's making included. */
  readonly connectTimeoutMs?: number;
  /** A statement that runs longer is cancelled by the server; 0 sets no limit. */
  readonly statementTimeoutMs?: number;
  /** The server's settings for each session, such as `work_mem`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName?: string;
  /** Errors of idle connections (a server that went away); the pool has already dropped the connection. */
  readonly onIdleError?: (error: Error) => void;
}

/** The server cannot be reached, refuses us, or is not migrated. The message names the server and never the password. */
export class DatabaseUnreachableError extends Error {
  constructor(server: string, cause: unknown) {
    const reason = cause instanceof Error ? reasonOf(cause) : String(cause);
    super(`the PostgreSQL server at ${server} cannot be used: ${reason}`, { cause });
    this.name = 'DatabaseUnreachableError';
  }
}

/**
 * A pool on a migrated database, working as `meridian_app`. It connects when the first query comes; a query that gets
 * no connection rejects with `DatabaseUnreachableError`. int8 comes as bigint, numeric as text, timestamptz as Date.
 * Close it with `destroy()`.
 */
export function connect(url: string, options: ConnectOptions): Database {
  const pool = openPool(url, options, { types: { getTypeParser } });
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool: asApplication(pool, describeServer(url)) }) });
}

/** For a library that brings its own SQL: statements as it writes them, several in one text included, and values as the driver reads them. */
export interface PlainDatabase {
  query(text: string, values?: unknown[]): Promise<pg.QueryResult | pg.QueryResult[]>;
  close(): Promise<void>;
}

/** Like `connect`, also as `meridian_app`. */
export function connectPlain(url: string, options: ConnectOptions): PlainDatabase {
  const opened = openPool(url, options);
  const pool = asApplication(opened, describeServer(url));
  return {
    query: async (text, values) => {
      const client = await pool.connect();
      let result: pg.QueryResult | pg.QueryResult[];
      try {
        result = await client.query(text, values);
      } catch (error) {
        // A text that begins a transaction may have failed before it ended it.
        client.release(true);
        throw error;
      }
      client.release();
      return result;
    },
    close: () => pool.end(),
  };
}

function openPool(url: string, options: ConnectOptions, more: pg.PoolConfig = {}): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.maxConnections,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    statement_timeout: options.statementTimeoutMs ?? 30_000,
    application_name: options.applicationName ?? 'meridian',
    options: Object.entries(options.settings ?? {})
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(' '),
    ...more,
  });
  pool.on('error', options.onIdleError ?? (() => {}));
  return pool;
}

/** Host, port and database of a connection URL, for messages: no user, no password. */
export function describeServer(url: string): string {
  if (!URL.canParse(url)) return 'an unreadable URL';
  const { hostname, port, pathname, searchParams } = new URL(url);
  return `${hostname || searchParams.get('host') || 'localhost'}:${port || '5432'}${pathname}`;
}

interface ApplicationPool extends PostgresPool {
  connect(): Promise<pg.PoolClient>;
}

/** The pool with every connection under the application's role, and one kind of error when there is none to be had. */
function asApplication(pool: pg.Pool, server: string): ApplicationPool {
  const prepared = new WeakSet<pg.PoolClient>();
  return {
    options: {},
    async connect() {
      let client: pg.PoolClient;
      try {
        client = await pool.connect();
      } catch (error) {
        throw new DatabaseUnreachableError(server, error);
      }
      if (!prepared.has(client)) {
        // A server that goes away between two statements fails the next one; without a listener it would end the process.
        client.on('error', () => {});
        try {
          await client.query(`SET ROLE ${APPLICATION_ROLE}`);
        } catch (error) {
          client.release(true);
          throw new DatabaseUnreachableError(server, error);
        }
        nameLostConnections(client, server);
        prepared.add(client);
      }
      return client;
    },
    end: () => pool.end(),
  };
}

/** Makes a query whose connection is lost on the way fail as one that got no connection. */
function nameLostConnections(client: pg.PoolClient, server: string): void {
  const query: (...request: never[]) => unknown = client.query.bind(client);
  const named = (...request: never[]): unknown => {
    const outcome = query(...request);
    if (!(outcome instanceof Promise)) return outcome;
    return outcome.catch((error: unknown) => {
      throw isLostConnection(error) ? new DatabaseUnreachableError(server, error) : error;
    });
  };
  // It answers as the method it stands for does, in each of its many forms.
  client.query = named as typeof client.query;
}

/** Ended by the server (SQLSTATE class 08, shutdown, crash, start), by the network, or known to the driver as ended. */
function isLostConnection(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return (
    /^(08...|57P0[123]|ECONNRESET|EPIPE)$/.test(code) ||
    /^(Connection terminated|Client has encountered a connection error)/.test(error.message)
  );
}

function getTypeParser(oid: number, format?: 'text' | 'binary'): (value: string) => unknown {
  if (oid === pg.types.builtins.INT8 && format !== 'binary') return BigInt;
  return pg.types.getTypeParser(oid, format);
}

/** A refused connection to several addresses is an AggregateError without a text of its own. */
function reasonOf(error: Error): string {
  if (error instanceof AggregateError) return error.errors.map((each) => (each instanceof Error ? each.message : String(each))).join('; ');
  return error.message;
}
