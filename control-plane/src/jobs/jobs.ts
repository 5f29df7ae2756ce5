/** What runs in the background of every replica. All of it may run on several replicas at once. */
import type { AccountService } from '../accounts/service.ts';
import type { Database } from '../database/connect.ts';
import type { Ledger } from '../ledger/service.ts';
import type { NodeService } from '../nodes/service.ts';
import type { SyncHub } from '../rpc/sync-service.ts';
import type { LogTail } from '../snapshots/log-tail.ts';
import { pruneLog } from '../snapshots/retention.ts';
import type { UsageService } from '../usage/service.ts';
import { type Job, repeat } from './repeat.ts';

const LOG_POLL_MS = 25;
const HEARTBEAT_MS = 1_000;
/** An account that spends without pause is published this often; one that was just topped up is not kept waiting so long. */
const BALANCES_PAUSE_MS = 1_000;
const BALANCES_POLL_MS = 100;
const MAX_BALANCES_A_RUN = 1_000;
const PRUNE_MS = 60_000;
const HOUR_MS = 3_600_000;
const RETRY_MS = 1_000;
const HOURLY_RETRY_MS = 60_000;

export interface JobsDeps {
  readonly db: Database;
  readonly tail: LogTail;
  readonly sync: SyncHub;
  readonly nodes: NodeService;
  readonly accounts: Pick<AccountService, 'publishChangedBalances'>;
  readonly usage: Pick<UsageService, 'makePartitions'>;
  readonly ledger: Pick<Ledger, 'makePartitions' | 'takeSnapshot'>;
  /** After each reading of the log. */
  readonly onPolled: () => void;
  readonly onError: (job: string, error: unknown) => void;
}

export interface Jobs {
  /** A balance was changed by hand: publish it now. */
  publishBalancesSoon(): void;
  /** Waits for the runs under way. */
  stop(): Promise<void>;
}

export function startJobs({ db, tail, sync, nodes, accounts, usage, ledger, onPolled, onError }: JobsDeps): Jobs {
  const start = (name: string, retryMs: number, run: () => Promise<number>): Job => repeat({ name, run, retryMs, onError });
  const balances = start('balances', RETRY_MS, async () => {
    const count = await accounts.publishChangedBalances(MAX_BALANCES_A_RUN);
    if (count === MAX_BALANCES_A_RUN) return 0;
    return count > 0 ? BALANCES_PAUSE_MS : BALANCES_POLL_MS;
  });
  const jobs = [
    balances,
    start('log', LOG_POLL_MS, async () => {
      const more = await tail.poll();
      onPolled();
      return more ? 0 : LOG_POLL_MS;
    }),
    start('heartbeat', HEARTBEAT_MS, async () => {
      sync.tick();
      return HEARTBEAT_MS;
    }),
    start('nodes', RETRY_MS, async () => {
      await nodes.flush();
      return HEARTBEAT_MS;
    }),
    start('log retention', PRUNE_MS, async () => ((await pruneLog(db)) ? 0 : PRUNE_MS)),
    start('partitions', HOURLY_RETRY_MS, async () => {
      await usage.makePartitions();
      await ledger.makePartitions();
      return HOUR_MS;
    }),
    start('ledger snapshot', HOURLY_RETRY_MS, async () => {
      await ledger.takeSnapshot();
      return HOUR_MS;
    }),
  ];
  return {
    publishBalancesSoon: () => balances.wake(),
    stop: async () => {
      await Promise.all(jobs.map((job) => job.stop()));
    },
  };
}
