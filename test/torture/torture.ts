/** One run of the torture, from the first process to the verdict. */
import { type Json, listField } from '@meridian/local/operator';
import { Arena } from './arena.ts';
import { Chaos, type Tally } from './chaos.ts';
import { Clients, MODELS } from './clients.ts';
import { Customers } from './customers.ts';
import { type Changes, Repricing } from './repricing.ts';
import { judge, leaseSums, type Verdict } from './verdict.ts';

export interface TortureOptions {
  readonly seed: number;
  readonly kills: number;
  readonly requests: number;
  readonly concurrency: number;
  readonly keys: number;
  /** From one blow to the next, at the mean. */
  readonly everyMs: number;
  readonly logFolder?: string;
  /** Ends it early: everything is healed, and judged as far as it came. */
  readonly abort?: AbortSignal;
  readonly onProgress?: (text: string) => void;
}

export interface TortureResult {
  readonly verdict: Verdict;
  readonly tally: Tally;
  readonly changes: Changes;
  readonly hasRedis: boolean;
  readonly audit: Json;
  readonly held: bigint;
  readonly writtenOff: bigint;
  readonly seconds: number;
}

/** Of each account. */
const CREDIT_USD = '1000';
/** A change of prices to so many blows. */
const BLOWS_A_CHANGE = 2;
const PROGRESS_EVERY_MS = 10_000;
/** Nodes that come back with a full spool, a database that recovers. */
const QUIET_WITHIN_MS = 90_000;

/** Until both the kills and the requests are done. Rejects when something does not come back. */
export async function torture(options: TortureOptions): Promise<TortureResult> {
  const startedMs = Date.now();
  const say = options.onProgress ?? (() => undefined);
  const arena = await Arena.start(options.logFolder === undefined ? {} : { logFolder: options.logFolder });
  let timer: NodeJS.Timeout | undefined;
  try {
    const { operators, controlUrls, databaseUrl } = arena;
    const [operator] = operators;
    if (operator === undefined) throw new Error('there is nobody to operate');
    const customers = await Customers.make({ operator, controlUrls, creditUsd: CREDIT_USD, keys: options.keys });
    const repricing = new Repricing({
      ...{ operators, databaseUrl, accountIds: customers.accountIds, models: MODELS, seed: options.seed },
      everyMs: options.everyMs * BLOWS_A_CHANGE,
    });
    await repricing.prepare();
    const chaos = new Chaos(arena, { ...options, ...(options.onProgress === undefined ? {} : { onBlow: say }) });
    // Nothing is killed in an idle arena.
    const clients = new Clients(arena, customers, options, () => chaos.isRunning);
    await clients.prepare();
    const progress = (): string =>
      `${Math.round((Date.now() - startedMs) / 1000)} s: ${clients.finished} of ${options.requests} requests, ${chaos.killed} of ${options.kills} kills`;
    timer = setInterval(() => say(progress()), PROGRESS_EVERY_MS);
    options.abort?.addEventListener('abort', () => {
      clients.stop();
      chaos.stop();
    });
    const changing = repricing.run();
    await Promise.race([Promise.all([chaos.run(), clients.run()]), arena.died]).finally(() => {
      repricing.stop();
      clients.stop();
      chaos.stop();
    });
    await changing;
    say(`${progress()}; healing`);
    await arena.quiet(QUIET_WITHIN_MS);
    await repricing.finish();
    const verdict = await judge({
      ...{ databaseUrl, repricing, journal: await arena.journal(), sent: clients.sent, unlike: clients.unlike, caps: customers.caps },
      losses: { ...arena.losses, hasRedis: arena.redis !== undefined },
    });
    const audit = await operator.get('/admin/v1/audit');
    // Nodes that are asked to stop give back what they hold.
    await arena.stopNodes();
    const sums = await leaseSums(databaseUrl);
    const { tally } = chaos;
    const { changes } = repricing;
    return { verdict, tally, changes, hasRedis: arena.redis !== undefined, audit, ...sums, seconds: (Date.now() - startedMs) / 1000 };
  } finally {
    clearInterval(timer);
    await arena.stop();
  }
}

/** What is wrong with a result; empty when nothing is. */
export function faultsOf({ verdict, audit, held, writtenOff }: TortureResult): string[] {
  const faults = [
    ...verdict.lost.map((text) => `lost: ${text}`),
    ...verdict.doubled.map((text) => `doubled: ${text}`),
    ...verdict.contradictions,
    ...verdict.overspent.map((text) => `charged above its cap: ${text}`),
  ];
  if (verdict.differenceNano !== 0n) faults.push(`charged and expected differ by ${verdict.differenceNano} nano-USD`);
  if (held !== 0n) faults.push(`leases hold ${held} after all nodes have stopped`);
  if (writtenOff !== 0n) faults.push(`${writtenOff} were written off`);
  if (audit.ok !== true) faults.push(`the audit: ${JSON.stringify(brokenChecks(audit))}`);
  return faults;
}

function brokenChecks(audit: Json): unknown {
  const checks = Array.isArray(audit.checks) ? (audit.checks as readonly Json[]) : listField(audit);
  return checks.filter((check) => check.ok !== true);
}

export function summaryOf({ verdict, tally, changes, hasRedis, held, writtenOff, seconds }: TortureResult): string {
  const told = (counts: ReadonlyMap<string, number>): string => [...counts].map(([name, count]) => `${count} × ${name}`).join(', ');
  return [
    `${Math.round(seconds)} s: ${tally.kills} kill -9 of processes and ${tally.backends} of backends of the database, ${tally.ends} SIGTERM, ${tally.pauses} SIGSTOP, ${tally.disturbances} disturbed connections; ${hasRedis ? 'with' : 'WITHOUT'} a redis-server`,
    `${verdict.requests} requests, retries included: ${verdict.complete} complete, ${verdict.refused} refused by a cap, ${verdict.limited} by a rate limit, ${verdict.requests - verdict.complete - verdict.refused - verdict.limited} without an answer`,
    `complete and charged: ${told(new Map([...verdict.pairs].sort()))}`,
    `without an answer: ${verdict.unanswered.never} that no provider was called for, ${verdict.unanswered.free} ended free, ${verdict.unanswered.charged} charged for what was generated; ${told(verdict.errors)}`,
    `${changes.prices} prices, ${changes.ladders} ladders, ${changes.tierRuns} tier runs: charged at ${verdict.priceVersions} versions of prices, ${verdict.markups} markups, ${verdict.tiers} tiers of accounts`,
    `${verdict.keyed} idempotency keys: ${verdict.replays} replays, ${verdict.servedAgain} served again where their records were lost`,
    `charged ${verdict.chargedNano} nano-USD: ${verdict.exact} exact, ${verdict.estimated} estimated, ${verdict.recovered} died with their node and were not charged, ${verdict.chargedIncomplete} charged though their last bytes did not arrive`,
    `lost ${verdict.lost.length}, doubled ${verdict.doubled.length}, difference ${verdict.differenceNano} nano-USD, caps overspent ${verdict.overspent.length}, held ${held}, written off ${writtenOff}`,
  ].join('\n');
}
