/** `npm run simulate`: runs seeds, and tells of the first one that fails how to replay it. */
import { parseArgs } from 'node:util';
import { RunFailure, Simulation } from './simulation.ts';

const HELP = `Usage: npm run simulate -- [options]

  --seeds <n>     how many seeds (default 1000)
  --from <n>      the first one (default 1)
  --seed <n>      this one only
  --trace         print every event
  --minutes <n>   go on for this long instead of a number of seeds
  --help
`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
    minutes: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

async function run(): Promise<void> {
  if (values.help) {
    console.log(HELP);
    return;
  }
  const first = Number(values.seed ?? values.from);
  const count = values.seed === undefined ? Number(values.seeds) : 1;
  let events = 0;
  const startedMs = performance.now();
  for (let seed = first; seed < first + count; seed++) {
    try {
      const result = await new Simulation(seed, values.trace ? (line) => console.log(line) : undefined).run();
      events += result.events;
      if (count <= 20) console.log(JSON.stringify(result));
    } catch (error) {
      if (!(error instanceof RunFailure)) throw error;
      for (const line of error.lastLines) console.error(line);
      console.error(`seed ${seed} failed at step ${error.step}: ${error.message}`);
      console.error(error.cause);
      console.error(`replay it with: npm run simulate -- --seed ${seed} --trace`);
      process.exitCode = 1;
      return;
    }
    if (seed % 50 === 0)
      console.log(`${seed}: ${events} events, ${(((seed - first + 1) * 1000) / (performance.now() - startedMs)).toFixed(1)} seeds/s`);
  }
}

await run();
