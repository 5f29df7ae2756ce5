/** What runs in the background of every replica. All of it may run on several replicas at once. */
import type { AccountService } from '../accounts/service.ts';
import type { LeaseUpkeep } from '../budgets/leases-upkeep.ts';
import type { QuestionsRunner } from '../budgets/questions-runner.ts';
import type { Database } from '../database/connect.ts';
import type { Refunds } from '../ledger/refunds.ts';
import type { Ledger } from '../ledger/service.ts';
import type { NodeService } from '../nodes/service.ts';
import type { PlanService } from '../plans/service.ts';
import type { RestoreService } from '../restore/service.ts';
import type { LeaseHub } from '../rpc/lease-service.ts';
import type { SyncHub } from '../rpc/sync-service.ts';
import type { LogTail } from '../snapshots/log-tail.ts';
import { pruneLog } from '../snapshots/retention.ts';
import type { TrailService } from '../trail/service.ts';
import type { UsageService } from '../usage/service.ts';
import { type Job, repeat } from './repeat.ts';

const LOG_POLL_MS = 25;
const HEARTBEAT_MS = 1_000;
/** An account that spends without pause is published this often; one that was just topped up is not kept waiting so long. */
const BALANCES_PAUSE_MS = 1_000;
const BALANCES_POLL_MS = 100;
const MAX_BALANCES_A_RUN = 1_000;
/** How late a replica that learns of a restored database from another one stops to grant. */
const EPOCH_MS = 500;
/** Silence is counted in steps of this, and the leases of a spool are given up after a day of it. */
const SILENCE_MS = 10_000;
const SEEDS_MS = 30_000;
const FIGURES_MS = 30_000;
const ENDED_LEASES_MS = 600_000;
const PRUNE_MS = 60_000;
const HOUR_MS = 3_600_000;
/** A plan whose daily limits changed reaches its members so many at a time. */
const PLAN_CAPS_MS = 1_000;
const MAX_CAPPED_MEMBERS_A_RUN = 500;
/** While a refund waits for credit that nodes hold, they are asked for it this often. */
const REFUNDS_MS = 2_000;
const RETRY_MS = 1_000;
const HOURLY_RETRY_MS = 60_000;

export interface JobsDeps {
  readonly db: Database;
  readonly tail: LogTail;
  readonly sync: SyncHub;
  readonly nodes: NodeService;
  readonly accounts: Pick<AccountService, 'publishChangedBalances'>;
  readonly plans: Pick<PlanService, 'capNextMembers'>;
  readonly usage: Pick<UsageService, 'makePartitions'>;
  readonly ledger: Pick<Ledger, 'makePartitions' | 'takeSnapshot'>;
  readonly trail: Pick<TrailService, 'makePartitions'>;
  readonly refunds: Pick<Refunds, 'advance'>;
  readonly restore: Pick<RestoreService, 'refresh'>;
  readonly leaseHub: Pick<LeaseHub, 'tick'>;
  readonly questions: Pick<QuestionsRunner, 'tick'>;
  readonly leaseUpkeep: LeaseUpkeep;
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

export function startJobs(deps: JobsDeps): Jobs {
  const {
    db,
    tail,
    sync,
    nodes,
    accounts,
    plans,
    usage,
    ledger,
    trail,
    refunds,
    restore,
    leaseHub,
    questions,
    leaseUpkeep,
    onPolled,
    onError,
  } = deps;
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
      leaseHub.tick();
      questions.tick();
      return HEARTBEAT_MS;
    }),
    start('nodes', RETRY_MS, async () => {
      await nodes.flush();
      return HEARTBEAT_MS;
    }),
    start('epoch', RETRY_MS, async () => {
      await restore.refresh();
      return EPOCH_MS;
    }),
    start('silent spools', RETRY_MS, async () => {
      await leaseUpkeep.silence();
      return SILENCE_MS;
    }),
    start('seed leases', RETRY_MS, async () => {
      await leaseUpkeep.seeds();
      return SEEDS_MS;
    }),
    start('ended leases', HOURLY_RETRY_MS, async () => {
      await leaseUpkeep.ended();
      return ENDED_LEASES_MS;
    }),
    start('lease figures', RETRY_MS, async () => {
      await leaseUpkeep.count();
      return FIGURES_MS;
    }),
    start('plan caps', RETRY_MS, async () => ((await plans.capNextMembers(MAX_CAPPED_MEMBERS_A_RUN)) ? 0 : PLAN_CAPS_MS)),
    start('refunds', RETRY_MS, async () => {
      await refunds.advance();
      return REFUNDS_MS;
    }),
    start('log retention', PRUNE_MS, async () => ((await pruneLog(db)) ? 0 : PRUNE_MS)),
    start('partitions', HOURLY_RETRY_MS, async () => {
      await usage.makePartitions();
      await ledger.makePartitions();
      await trail.makePartitions();
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
