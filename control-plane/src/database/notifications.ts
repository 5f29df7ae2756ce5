/** PostgreSQL's LISTEN and NOTIFY on a connection of their own: words between replicas, which may be lost. */
import pg from 'pg';
import { APPLICATION_ROLE } from './connect.ts';

/** What a payload may have at most, in bytes; the server refuses 8,000. */
export const MAX_PAYLOAD_BYTES = 7_900;
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 2_000;
/** A server that says nothing for so long, or twice that, is taken for gone: whoever only listens would never hear that it is. */
const PROBE_MS = 3_000;

export interface NotificationsOptions {
  readonly url: string;
  readonly channel: string;
  /** Also for what this very connection has sent. */
  readonly onMessage: (payload: string) => void;
  /** The connection broke, or could not be made; it is tried again. */
  readonly onError: (error: Error) => void;
  readonly applicationName?: string;
  /** How often the server is asked for a sign of life, and how long it is waited for. */
  readonly probeMs?: number;
}

export interface Notifications {
  /** Whether others' messages arrive just now. */
  readonly listening: boolean;
  /** Resolves once the server has it; rejects when it was not taken. Nobody need have heard it. */
  publish(payload: string): Promise<void>;
  close(): Promise<void>;
}

/** Connects and listens, again and again until it is closed. */
export function listen({
  url,
  channel,
  onMessage,
  onError,
  applicationName = 'meridian-notifications',
  probeMs = PROBE_MS,
}: NotificationsOptions): Notifications {
  let client: pg.Client | undefined;
  let retryMs = FIRST_RETRY_MS;
  let timer: NodeJS.Timeout | undefined;
  let probe: NodeJS.Timeout | undefined;
  let closed = false;
  let connecting: Promise<void> | undefined;

  const again = (error: Error): void => {
    client = undefined;
    if (closed) return;
    onError(error);
    timer = setTimeout(begin, retryMs);
    retryMs = Math.min(2 * retryMs, MAX_RETRY_MS);
  };
  const connect = async (): Promise<void> => {
    const next = new pg.Client({
      connectionString: url,
      application_name: applicationName,
      connectionTimeoutMillis: 5_000,
      query_timeout: probeMs,
    });
    let broken = false;
    const lost = (error: Error): void => {
      if (broken) return;
      broken = true;
      clearInterval(probe);
      next.end().catch(() => undefined);
      again(error);
    };
    next.on('error', lost);
    next.on('end', () => lost(new Error('the connection for notifications has ended')));
    next.on('notification', (message) => onMessage(message.payload ?? ''));
    try {
      await next.connect();
      await next.query(`SET ROLE ${APPLICATION_ROLE}`);
      await next.query(`LISTEN ${next.escapeIdentifier(channel)}`);
    } catch (error) {
      lost(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    if (closed) {
      broken = true;
      await next.end();
      return;
    }
    client = next;
    retryMs = FIRST_RETRY_MS;
    probe = setInterval(() => next.query('SELECT 1').catch(lost), probeMs);
  };
  const begin = (): void => {
    connecting = connect();
  };
  begin();

  return {
    get listening() {
      return client !== undefined;
    },
    async publish(payload) {
      if (client === undefined) throw new Error('there is no connection for notifications');
      await client.query('SELECT pg_notify($1, $2)', [channel, payload]);
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      clearInterval(probe);
      await connecting;
      const last = client;
      client = undefined;
      await last?.end();
    },
  };
}
