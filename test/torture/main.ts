/** `npm run torture`: real processes, killed, paused and cut off at random, and the books compared to the nano-dollar. */
import { parseArgs } from 'node:util';
import { faultsOf, summaryOf, torture } from './torture.ts';

const HELP = `Usage: npm run torture -- [options]

  --kills <n>        processes to kill or end (default 1000)
  --requests <n>     requests to send (default 100000)
  --concurrency <n>  clients (default 48)
  --keys <n>         API keys, each with a daily cap (default 10)
  --every-ms <n>     from one blow to the next, at the mean (default 600)
  --seed <n>         of what is done when (default: the time)
  --logs <folder>    keep the processes' logs there
  --verbose          tell each blow
  --help

Ctrl-C ends it early, with the verdict on what was done until then.
Ends with code 1 when anything is lost, doubled, charged above a cap, or differs by a nano-dollar.
`;

const MAX_SHOWN_FAULTS = 40;

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '1000' },
    requests: { type: 'string', default: '100000' },
    concurrency: { type: 'string', default: '48' },
    keys: { type: 'string', default: '10' },
    'every-ms': { type: 'string', default: '600' },
    seed: { type: 'string' },
    logs: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

function count(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    console.error(`--${name} is a whole number, not ${JSON.stringify(text)}`);
    process.exit(2);
  }
  return value;
}

if (values.help) {
  console.log(HELP);
} else {
  const seed = values.seed === undefined ? Date.now() % 1_000_000 : count('seed', values.seed);
  console.log(`seed ${seed}`);
  const abort = new AbortController();
  process.once('SIGINT', () => abort.abort());
  const result = await torture({
    seed,
    kills: count('kills', values.kills),
    requests: count('requests', values.requests),
    concurrency: count('concurrency', values.concurrency),
    keys: count('keys', values.keys),
    everyMs: count('every-ms', values['every-ms']),
    ...(values.logs === undefined ? {} : { logFolder: values.logs }),
    abort: abort.signal,
    onProgress: (text) => {
      if (values.verbose || /^\d+ s:/.test(text)) console.log(text);
    },
  });
  console.log(summaryOf(result));
  const faults = faultsOf(result);
  for (const fault of faults.slice(0, MAX_SHOWN_FAULTS)) console.error(fault);
  if (faults.length > MAX_SHOWN_FAULTS) console.error(`… and ${faults.length - MAX_SHOWN_FAULTS} more`);
  if (faults.length > 0) process.exitCode = 1;
}
