/** Feeds one target with so many broken inputs, each told by its seed, and keeps what must not have happened. */
import { seededRandom } from '../../random.ts';
import type { Seeds } from './seeds.ts';
import type { Target } from './targets.ts';

/** One input of a few dozen KiB is done long before; a loop that is not linear is not. */
const MAX_MS_PER_INPUT = 2_000;
const MAX_KEPT_FAILURES = 5;

export interface Round {
  readonly target: string;
  readonly inputs: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly slowestMs: number;
  readonly failures: readonly { readonly seed: number; readonly message: string }[];
}

export function fuzz(target: Target, seeds: Seeds, inputs: number, firstSeed: number): Round {
  const failures: { seed: number; message: string }[] = [];
  const startedMs = performance.now();
  let bytes = 0;
  let slowestMs = 0;
  for (let seed = firstSeed; seed < firstSeed + inputs && failures.length < MAX_KEPT_FAILURES; seed++) {
    const beganMs = performance.now();
    try {
      bytes += target.run(seeds, seededRandom(seed));
    } catch (thrown) {
      const cause = thrown instanceof Error && thrown.cause instanceof Error ? `\n${thrown.cause.stack ?? ''}` : '';
      failures.push({ seed, message: `${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}${cause}` });
    }
    const tookMs = performance.now() - beganMs;
    slowestMs = Math.max(slowestMs, tookMs);
    if (tookMs > MAX_MS_PER_INPUT) failures.push({ seed, message: `took ${Math.round(tookMs)} ms` });
  }
  return { target: target.name, inputs, bytes, seconds: (performance.now() - startedMs) / 1_000, slowestMs, failures };
}
