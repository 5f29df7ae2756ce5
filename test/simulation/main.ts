/** `npm run simulate`: runs seeds, and tells of the first one that breaks something how to replay it. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { failureText, runSeed, sweep } from './seeds.ts';

const HELP = `Usage: npm run simulate -- [options]

  --seeds <n>     how many seeds (default 1000)
  --from <n>      the first one (default 1)
  --minutes <n>   begin seeds for this long, however many they are
  --workers <n>   runs side by side (default: one a core)
  --seed <n>      this one only
  --trace         with --seed: print every event
  --help

Stops at the first seed that breaks an invariant, prints its last events, and exits with 1.
`;

const PROGRESS_MS = 5_000;

function readCount(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes a number from 1 on, not ${text}`);
  return value;
}

async function runOne(seed: number, trace: boolean): Promise<void> {
  const outcome = await runSeed(seed, trace ? (line) => console.log(line) : undefined);
  if (outcome.kind === 'passed') {
    console.log(JSON.stringify(outcome.result));
    return;
  }
  console.error(failureText(outcome.failure));
  process.exitCode = 1;
}

async function runMany(from: number, count: number, forMs: number, workers: number): Promise<void> {
  const startedMs = performance.now();
  const sums = { seeds: 0, events: 0, virtualMs: 0, asked: 0, served: 0, exhausted: 0, judged: 0 };
  const told = (): string => {
    const seconds = (performance.now() - startedMs) / 1000;
    const hours = (sums.virtualMs / 3_600_000).toFixed(0);
    return (
      `${sums.seeds} seeds (${(sums.seeds / seconds).toFixed(1)}/s), ${sums.events} events, ${hours} h of virtual time, ` +
      `${sums.served} of ${sums.asked} requests served, ${sums.judged} of ${sums.exhausted} refusals for want of budget judged`
    );
  };
  let progressMs = startedMs + PROGRESS_MS;
  const failure = await sweep({
    ...{ from, count, forMs, workers },
    onOutcome: (outcome) => {
      if (outcome.kind === 'failed') return;
      const { events, virtualMs, counts, refusalsJudged } = outcome.result;
      sums.seeds++;
      sums.events += events;
      sums.virtualMs += virtualMs;
      sums.asked += counts.asked;
      sums.served += counts.served;
      sums.exhausted += counts.exhausted;
      sums.judged += refusalsJudged;
      if (performance.now() < progressMs) return;
      progressMs = performance.now() + PROGRESS_MS;
      console.log(told());
    },
  });
  console.log(told());
  if (failure === undefined) return;
  console.error(failureText(failure));
  process.exitCode = 1;
}

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string' },
    seed: { type: 'string' },
    minutes: { type: 'string' },
    workers: { type: 'string' },
    trace: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) console.log(HELP);
else if (values.seed !== undefined) await runOne(readCount('seed', values.seed, 1), values.trace);
else {
  const forMs = values.minutes === undefined ? Number.POSITIVE_INFINITY : readCount('minutes', values.minutes, 1) * 60_000;
  const count = readCount('seeds', values.seeds, values.minutes === undefined ? 1000 : Number.MAX_SAFE_INTEGER);
  await runMany(readCount('from', values.from, 1), count, forMs, readCount('workers', values.workers, availableParallelism()));
}
