/** One run of the torture, from the first process to the verdict. */
import { type Json, listField } from '@meridian/local/operator';
import { Arena } from './arena.ts';
import { Chaos, type Tally } from './chaos.ts';
import { Clients } from './clients.ts';
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
  readonly audit: Json;
  readonly held: bigint;
  readonly writtenOff: bigint;
  readonly seconds: number;
}

const PROGRESS_EVERY_MS = 10_000;
/** Nodes that come back with a full spool, a database that recovers. */
const QUIET_WITHIN_MS = 90_000;

/** Until both the kills and the requests are done. Rejects when something does not come back. */
export async function torture(options: TortureOptions): Promise<TortureResult> {
  const startedMs = Date.now();
  const say = options.onProgress ?? (() => undefined);
  const arena = await Arena.start({ creditUsd: '1000', ...(options.logFolder === undefined ? {} : { logFolder: options.logFolder }) });
  let timer: NodeJS.Timeout | undefined;
  try {
    const chaos = new Chaos(arena, { ...options, ...(options.onProgress === undefined ? {} : { onBlow: say }) });
    // Nothing is killed in an idle arena.
    const clients = new Clients(arena, options, () => chaos.isRunning);
    await clients.prepare();
    const progress = (): string =>
      `${Math.round((Date.now() - startedMs) / 1000)} s: ${clients.finished} of ${options.requests} requests, ${chaos.killed} of ${options.kills} kills`;
    timer = setInterval(() => say(progress()), PROGRESS_EVERY_MS);
    options.abort?.addEventListener('abort', () => {
      clients.stop();
      chaos.stop();
    });
    await Promise.all([chaos.run(), clients.run()]);
    say(`${progress()}; healing`);
    await arena.quiet(QUIET_WITHIN_MS);
    const verdict = await judge(arena.databaseUrl, await arena.journal(), clients.sent, clients.keys);
    const audit = await arena.operator.get('/admin/v1/audit');
    // Nodes that are asked to stop give back what they hold.
    await arena.stopNodes();
    const sums = await leaseSums(arena.databaseUrl);
    return { verdict, tally: chaos.tally, audit, ...sums, seconds: (Date.now() - startedMs) / 1000 };
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

export function summaryOf({ verdict, tally, held, writtenOff, seconds }: TortureResult): string {
  return [
    `${Math.round(seconds)} s: ${tally.kills} kill -9 of processes and ${tally.backends} of backends of the database, ${tally.ends} SIGTERM, ${tally.pauses} SIGSTOP, ${tally.disturbances} disturbed connections`,
    `${verdict.requests} requests: ${verdict.complete} complete, ${verdict.refused} refused by a cap, ${verdict.requests - verdict.complete - verdict.refused} without an answer`,
    `without an answer: ${verdict.unanswered.never} that no provider was called for, ${verdict.unanswered.free} ended free, ${verdict.unanswered.charged} charged for what was generated; ${[...verdict.errors].map(([name, count]) => `${count} × ${name}`).join(', ')}`,
    `charged ${verdict.chargedNano} nano-USD: ${verdict.exact} exact, ${verdict.estimated} estimated, ${verdict.recovered} died with their node and were not charged, ${verdict.chargedIncomplete} charged though their last bytes did not arrive`,
    `lost ${verdict.lost.length}, doubled ${verdict.doubled.length}, difference ${verdict.differenceNano} nano-USD, caps overspent ${verdict.overspent.length}, held ${held}, written off ${writtenOff}`,
  ].join('\n');
}
