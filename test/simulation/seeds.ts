/** Many runs side by side: each worker takes the next seed when it is done with one. */
import { Worker } from 'node:worker_threads';
import { RunFailure, type RunResult, Simulation } from './simulation.ts';

/** What kept a run from its end, as a worker tells it. */
export interface SeedFailure {
  readonly seed: number;
  readonly step: number;
  readonly invariant: string;
  readonly message: string;
  readonly stack: string;
  /** The newest lines of the record, oldest first. */
  readonly lastLines: readonly string[];
}

export type SeedOutcome =
  | { readonly kind: 'passed'; readonly result: RunResult }
  | { readonly kind: 'failed'; readonly failure: SeedFailure };

export interface SweepOptions {
  readonly from: number;
  readonly count: number;
  /** No further seed is begun after this time (ms from now). */
  readonly forMs: number;
  readonly workers: number;
  readonly onOutcome: (outcome: SeedOutcome) => void;
}

/** Runs one seed. Never rejects. */
export async function runSeed(seed: number, print?: (line: string) => void): Promise<SeedOutcome> {
  try {
    return { kind: 'passed', result: await new Simulation(seed, print).run() };
  } catch (error) {
    if (!(error instanceof RunFailure)) throw error;
    const { step, invariant, message, lastLines, cause } = error;
    const stack = cause instanceof Error ? (cause.stack ?? '') : String(cause);
    return { kind: 'failed', failure: { seed, step, invariant, message, stack, lastLines } };
  }
}

/** Resolves when all seeds have run, or with the first failure. */
export async function sweep({ from, count, forMs, workers, onOutcome }: SweepOptions): Promise<SeedFailure | undefined> {
  const untilMs = performance.now() + forMs;
  const end = from + count;
  let next = from;
  let failure: SeedFailure | undefined;
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL('./worker.ts', import.meta.url));
      const give = (): void => {
        if (failure !== undefined || next >= end || performance.now() >= untilMs) void worker.terminate();
        else worker.postMessage(next++);
      };
      worker.on('message', (outcome: SeedOutcome) => {
        onOutcome(outcome);
        if (outcome.kind === 'failed') failure ??= outcome.failure;
        give();
      });
      worker.on('error', reject);
      worker.on('exit', () => resolve());
      give();
    });
  await Promise.all(Array.from({ length: Math.min(workers, count) }, work));
  return failure;
}

/** What to do about a failure, for people. */
export function failureText({ seed, step, invariant, message, stack, lastLines }: SeedFailure): string {
  return [
    ...lastLines,
    '',
    `seed ${seed} broke at event ${step}: ${invariant}`,
    message,
    stack,
    '',
    `replay it with: npm run simulate -- --seed ${seed} --trace`,
  ].join('\n');
}
