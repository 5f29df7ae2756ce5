/** A real redis-server for tests: a process of its own on a free port, with its folder; killed, paused, filled and wiped by the test. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePorts } from '../../../test/ports.ts';

const READY_WITHIN_MS = 20_000;
const ASK_AGAIN_MS = 20;

/** undefined where tests can have a Redis; else why they cannot, for the title of what is skipped. */
export const noRedisServer: string | undefined = ((): string | undefined => {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'redis-server is not installed';
  }
})();

export interface TestRedis {
  readonly url: string;
  /** An own connection to look and to meddle with; fails while the server is away. Made anew by each call, closed with the server. */
  admin<T>(use: (redis: Redis) => Promise<T>): Promise<T>;
  /** kill -9. Nothing is kept. */
  kill(): Promise<void>;
  /** On the same port, empty. */
  restart(): Promise<void>;
  /** The process stands still, and takes connections all the same. */
  pause(): void;
  resume(): void;
  flushAll(): Promise<void>;
  /** Nothing is answered for so long. Resolves when it is over. */
  sleep(seconds: number): Promise<void>;
  /** Bytes it may use; 0 is no limit. Writes beyond are refused. */
  maxMemory(bytes: number): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a server; `stop()` must be called. */
export async function startTestRedis(): Promise<TestRedis> {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-test-redis-'));
  const [port = 0] = await freePorts(1);
  const url = `redis://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  let ended: Promise<unknown> = Promise.resolve();

  const admin = async <T>(use: (redis: Redis) => Promise<T>): Promise<T> => {
    const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 });
    redis.on('error', () => {});
    try {
      await redis.connect();
      return await use(redis);
    } finally {
      redis.disconnect();
    }
  };
  const start = async (): Promise<void> => {
    const flags = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'];
    const debug = ['--enable-debug-command', 'yes', '--maxmemory-policy', 'noeviction', '--loglevel', 'warning'];
    const started = spawn('redis-server', [...flags, ...debug], { stdio: 'ignore' });
    child = started;
    ended = new Promise((resolve) => started.once('exit', resolve));
    const until = Date.now() + READY_WITHIN_MS;
    for (;;) {
      try {
        await admin((redis) => redis.ping());
        return;
      } catch (error) {
        if (started.exitCode !== null || Date.now() > until) throw new Error('redis-server did not start', { cause: error });
        await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
      }
    }
  };
  const kill = async (): Promise<void> => {
    child?.kill('SIGKILL');
    await ended;
  };

  await start();
  return {
    url,
    admin,
    kill,
    restart: start,
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    flushAll: async () => void (await admin((redis) => redis.flushall())),
    sleep: async (seconds) => void (await admin((redis) => redis.call('DEBUG', 'SLEEP', seconds))),
    maxMemory: async (bytes) => void (await admin((redis) => redis.config('SET', 'maxmemory', bytes))),
    async stop() {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
