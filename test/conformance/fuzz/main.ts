/** `npm run fuzz`: every decoder with broken recorded bodies and streams, and all codecs with arbitrary requests and answers. */
import { parseArgs } from 'node:util';
import { check } from 'fast-check';
import { ROUND_TRIPS } from '../round-trip/properties.ts';
import { fuzz } from './run.ts';
import { seedsOf } from './seeds.ts';
import { TARGETS } from './targets.ts';

const HELP = `Usage: npm run fuzz -- [options]

  --inputs <n>   broken inputs for each target (default 100000)
  --seed <n>     of the first input; each input has the next (default 1)
  --round-trips <n>  arbitrary requests and answers for each pair of dialects (default 5000)
  --only <text>  targets and round trips whose name has this in it
  --help

Targets: ${TARGETS.map(({ name }) => name).join(', ')}
Round trips: requests, answers, streams and returns of each pair of dialects, as 'requests openai-chat gemini'
`;

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    'round-trips': { type: 'string', default: '5000' },
    only: { type: 'string', default: '' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) process.stdout.write(HELP);
else {
  const [inputs, seed] = [Number(values.inputs), Number(values.seed)];
  if (!Number.isSafeInteger(inputs) || inputs < 1 || !Number.isSafeInteger(seed)) throw new Error('--inputs and --seed take whole numbers');
  const numRuns = Number(values['round-trips']);
  if (!Number.isSafeInteger(numRuns) || numRuns < 1) throw new Error('--round-trips takes a whole number');
  const seeds = seedsOf();
  for (const target of TARGETS.filter(({ name }) => name.includes(values.only))) {
    const round = fuzz(target, seeds[target.dialect], inputs, seed);
    const mib = (round.bytes / 1024 / 1024).toFixed(1);
    console.log(
      `${round.target}: ${round.inputs} inputs, ${mib} MiB, ${round.seconds.toFixed(1)} s, slowest ${round.slowestMs.toFixed(1)} ms, ${round.failures.length} failures`,
    );
    for (const failure of round.failures) {
      console.log(`  seed ${failure.seed}: ${failure.message.slice(0, 1_500)}`);
      process.exitCode = 1;
    }
  }
  for (const { name, property } of ROUND_TRIPS.filter((one) => one.name.includes(values.only))) {
    const beganMs = performance.now();
    const told = await check(property, { seed, numRuns });
    console.log(
      `${name}: ${told.numRuns} runs, ${((performance.now() - beganMs) / 1_000).toFixed(1)} s, ${told.failed ? 'failed' : 'no failure'}`,
    );
    if (told.failed) {
      console.log(`  path ${told.counterexamplePath}: ${String(told.errorInstance).slice(0, 3_000)}`);
      process.exitCode = 1;
    }
  }
}
