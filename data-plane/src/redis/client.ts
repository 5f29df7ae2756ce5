/**
 * The region's Redis, as something that may be away at any time: whoever uses it says how long it waits, and has a way to go on without.
 *
 * One connection. Nothing is queued for a connection that is not there, nothing is sent twice, and what was under way when it broke ends with
 * it. Commands are not gathered to be sent together: the client of Redis waits for ever for those that were when their connection broke, and
 * sends none after them. Where nothing has come back for two seconds the connection is given up, so that a peer that vanished is noticed.
 */
import { Redis } from 'ioredis';
import type { Logger } from '../telemetry/logger.ts';
import { BREAKER_LIMITS, Breaker } from './breaker.ts';

export type { Redis } from 'ioredis';

const CONNECT_WITHIN_MS = 1_000;
const SILENT_FOR_MS = 2_000;
const LEAST_RECONNECT_MS = 50;
const MOST_RECONNECT_MS = 1_000;

/** Redis could not be asked, failed, or did not answer in time. Whether the command had an effect is not known unless `sent` is false. */
export class RedisAway extends Error {
  override readonly name = 'RedisAway';
  readonly sent: boolean;

  constructor(message: string, sent: boolean, cause?: unknown) {
    super(message, { cause });
    this.sent = sent;
  }
}

export interface RegionRedisOptions {
  /** `redis://[user:password@]host:port[/db]`, or `rediss://` for TLS. */
  readonly url: string;
  readonly log: Pick<Logger, 'warn' | 'info'>;
  /** A monotonic time. */
  readonly nowMs: () => number;
  /** Numbers in [0, 1): spreads the nodes that come back. */
  readonly random: () => number;
}

export interface RegionRedis {
  /**
   * Runs commands. Rejects with RedisAway when there is no connection, when the breaker is open, when a command fails and when
   * the answer takes longer than `timeoutMs`; a late answer is dropped. Commands that block in Redis are not meant to be run here.
   */
  run<T>(command: (redis: Redis) => Promise<T>, timeoutMs: number): Promise<T>;
  /** The next command would not be sent, or is only a probe: there is no connection, or the breaker is not closed. */
  readonly away: boolean;
  /** Gives up what is under way, within two seconds. Idempotent. */
  close(): void;
}

/** Starts to connect, and goes on trying for ever. Does not wait: a node starts with its Redis away. */
export function connectRegionRedis({ url, log, nowMs, random }: RegionRedisOptions): RegionRedis {
  const redis = new Redis(url, {
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    connectTimeout: CONNECT_WITHIN_MS,
    socketTimeout: SILENT_FOR_MS,
    retryStrategy: (times) => (Math.min(MOST_RECONNECT_MS, LEAST_RECONNECT_MS * 2 ** Math.min(times, 10)) * (1 + random())) / 2,
  });
  const breaker = new Breaker(BREAKER_LIMITS, random);
  let connected = false;
  redis.on('ready', () => {
    connected = true;
    log.info('redis is connected');
  });
  redis.on('close', () => {
    if (connected) log.warn('the connection to redis is lost');
    connected = false;
  });
  // Without a listener each failed attempt to connect would be printed; the state is told by the two above.
  redis.on('error', () => {});

  return {
    async run(command, timeoutMs) {
      if (redis.status !== 'ready') throw new RedisAway('there is no connection to redis', false);
      const round = breaker.admit(nowMs());
      if (round === undefined) throw new RedisAway('redis is left alone for a while', false);
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new RedisAway(`redis did not answer in ${timeoutMs} ms`, true)), timeoutMs);
      });
      try {
        const answer = await Promise.race([command(redis), late]);
        if (breaker.succeeded(round)) log.info('redis is used again');
        return answer;
      } catch (thrown) {
        // Never logged as it is: the client's errors carry the whole command, an answer of a megabyte among its arguments.
        const away = thrown instanceof RedisAway ? thrown : new RedisAway('redis refused or dropped a command', true, thrown);
        if (breaker.failed(round, nowMs())) log.warn({ err: away }, 'redis is left alone for a while');
        throw away;
      } finally {
        clearTimeout(timer);
      }
    },
    get away() {
      return redis.status !== 'ready' || breaker.open;
    },
    close() {
      redis.disconnect();
    },
  };
}
