/**
 * Work at hours of the day: once for all replicas, on whichever is free, tried again when it fails, made up for when nobody was
 * there. pg-boss keeps the times and the queue, in a schema of its own.
 */
import { PgBoss } from 'pg-boss';
import type { PlainDatabase } from '../database/connect.ts';

/** Made by a migration and owned by the application's role, which makes the tables in it. */
const SCHEMA = 'scheduler';
const RETRY_LIMIT = 8;
const RETRY_DELAY_SECONDS = 30;
const MAX_RETRY_DELAY_SECONDS = 900;
/** A replica that dies in the middle of a job is missed after this, and another takes the job. */
const HEARTBEAT_SECONDS = 60;
const POLL_SECONDS = 10;
/** Nothing here uses what these look after. */
const SELDOM_SECONDS = 3_600;
const START_RETRY_MS = 5_000;
const STOP_TIMEOUT_MS = 3_000;

/** One kind of scheduled work. */
export interface ScheduledJob {
  readonly name: string;
  /** Minute, hour, day, month, weekday; in UTC. */
  readonly cron: string;
  /** A run that takes longer counts as failed. */
  readonly maxSeconds: number;
  /**
   * Never twice at a time, over all replicas. It finds out by itself what there is to do, since a time that nobody was there for comes
   * as one run. When `signal` is aborted the replica stops: it throws, and another takes the job over.
   */
  run(signal: AbortSignal): Promise<void>;
}

export interface SchedulerDeps {
  readonly db: PlainDatabase;
  readonly jobs: readonly ScheduledJob[];
  /** Each failure, those that are tried again included; `job` is `scheduler` where the scheduler itself failed. */
  readonly onError: (job: string, error: unknown) => void;
  /** Before a run that failed is tried again, at first; 30 s unless told. */
  readonly retryDelaySeconds?: number;
  /** How often each replica looks for work; 10 s unless told. */
  readonly pollSeconds?: number;
}

export interface Scheduler {
  /** Puts a run in the queue, unless one is there or under way. Resolves with whether it did; rejects while the scheduler cannot be started. */
  runSoon(name: string): Promise<boolean>;
  /** No run begins any more; those under way are told to stop, and waited for. */
  stop(): Promise<void>;
}

/** Returns at once: a scheduler that cannot be started is tried again, and keeps nobody from serving. */
export function startScheduler(deps: SchedulerDeps): Scheduler {
  return new BossScheduler(deps);
}

class BossScheduler implements Scheduler {
  readonly #deps: SchedulerDeps;
  readonly #stopping = new AbortController();
  readonly #workers = new Map<string, string>();
  readonly #started: Promise<void>;
  #boss: PgBoss | undefined;

  constructor(deps: SchedulerDeps) {
    this.#deps = deps;
    this.#started = this.#startUntilDone();
  }

  async runSoon(name: string): Promise<boolean> {
    if (this.#boss === undefined) throw new Error('the scheduler is not started');
    const sent = (await this.#boss.send(name)) !== null;
    const worker = this.#workers.get(name);
    if (worker !== undefined) this.#boss.notifyWorker(worker);
    return sent;
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('this replica is stopping'));
    await this.#started;
    await this.#boss?.stop({ graceful: true, timeout: STOP_TIMEOUT_MS });
    this.#boss = undefined;
  }

  async #startUntilDone(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        this.#boss = await this.#start();
        return;
      } catch (error) {
        this.#deps.onError('scheduler', error);
        await pause(START_RETRY_MS, this.#stopping.signal);
      }
    }
  }

  async #start(): Promise<PgBoss> {
    const { db, jobs, onError, retryDelaySeconds = RETRY_DELAY_SECONDS, pollSeconds = POLL_SECONDS } = this.#deps;
    const boss = new PgBoss({
      db: { executeSql: async (text, values) => rowsOf(await db.query(text, values)) },
      schema: SCHEMA,
      createSchema: false,
      flowIntervalSeconds: SELDOM_SECONDS,
      bamIntervalSeconds: SELDOM_SECONDS,
    });
    boss.on('error', (error) => onError('scheduler', error));
    try {
      await boss.start();
      for (const { name, cron, maxSeconds } of jobs) {
        const options = {
          expireInSeconds: maxSeconds,
          heartbeatSeconds: HEARTBEAT_SECONDS,
          retryLimit: RETRY_LIMIT,
          retryDelay: retryDelaySeconds,
          retryDelayMax: MAX_RETRY_DELAY_SECONDS,
          retryBackoff: true,
        };
        await boss.createQueue(name, { policy: 'exclusive' });
        await boss.updateQueue(name, options);
        await boss.schedule(name, cron, null, { tz: 'UTC', missed: 'once' });
      }
      await this.#forget(boss);
      for (const job of jobs) {
        this.#workers.set(job.name, await boss.work(job.name, { pollingIntervalSeconds: pollSeconds }, () => this.#work(job)));
      }
      return boss;
    } catch (error) {
      await boss.stop({ graceful: false }).catch(() => undefined);
      throw error;
    }
  }

  /** What a former build scheduled and this one does not know. */
  async #forget(boss: PgBoss): Promise<void> {
    const known = new Set(this.#deps.jobs.map((job) => job.name));
    for (const { name } of await boss.getSchedules()) if (!known.has(name)) await boss.unschedule(name);
  }

  async #work(job: ScheduledJob): Promise<void> {
    try {
      await job.run(this.#stopping.signal);
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#deps.onError(job.name, error);
      throw error;
    }
  }
}

function rowsOf(result: Awaited<ReturnType<PlainDatabase['query']>>): { rows: unknown[] } {
  return { rows: Array.isArray(result) ? result.flatMap((each) => each.rows) : result.rows };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
