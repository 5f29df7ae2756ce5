import { describe, expect, it } from 'vitest';
import { failureText, runSeed, sweep } from './seeds.ts';

const SEEDS = 1_000;
const WORKERS = 2;
/** Far above what it takes; a machine that is busy with other tests still finishes. */
const TIMEOUT_MS = 600_000;

describe('the simulation', () => {
  it('does the same for the same seed', async () => {
    for (const seed of [3, 20, 21, 44]) {
      const [first, second] = [await runSeed(seed), await runSeed(seed)];
      expect(first.kind === 'passed' ? first.result : failureText(first.failure)).toEqual(
        second.kind === 'passed' ? second.result : failureText(second.failure),
      );
    }
  }, 60_000);

  it(
    `breaks no invariant in ${SEEDS} seeds`,
    async () => {
      const scenarios = new Set<string>();
      let [served, judged, repeats] = [0, 0, 0];
      const failure = await sweep({
        ...{ from: 1, count: SEEDS, forMs: TIMEOUT_MS, workers: WORKERS },
        onOutcome: (outcome) => {
          if (outcome.kind === 'failed') return;
          scenarios.add(outcome.result.scenario);
          served += outcome.result.counts.served;
          judged += outcome.result.refusalsJudged;
          repeats += outcome.result.repeats;
        },
      });
      expect(failure === undefined ? '' : failureText(failure)).toBe('');
      // A run in which nothing happens would pass as well.
      expect([...scenarios].sort()).toEqual(['faults', 'lost_node', 'outage', 'restore']);
      expect(served).toBeGreaterThan(20 * SEEDS);
      expect(judged).toBeGreaterThan(5 * SEEDS);
      expect(repeats).toBeGreaterThan(2 * SEEDS);
    },
    TIMEOUT_MS,
  );
});
