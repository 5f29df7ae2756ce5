import fc from 'fast-check';
import { Histogram, Registry } from 'prom-client';
import { expect, it } from 'vitest';
import { DistributionTally, Tally } from './tally.ts';

it('counts each pair of labels by itself', () => {
  const tally = new Tally();
  tally.add('chat', 200);
  tally.add('chat', 502);
  tally.add('chat', 200);
  tally.add('images', 200);
  const seen: [string, string, number][] = [];
  tally.each((first, second, count) => void seen.push([first, second, count]));
  expect(seen).toEqual([
    ['chat', '200', 2],
    ['chat', '502', 1],
    ['images', '200', 1],
  ]);
});

it("distributes figures as the library's histogram does, those on a bound and above all of them included", async () => {
  const bounds = [0.005, 0.5, 1, 300];
  const figure = fc.oneof(fc.constantFrom(0, ...bounds, 301), fc.double({ min: 0, max: 1_000, noNaN: true }));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom('chat', 'images'), figure)), async (told) => {
      const tally = new DistributionTally(bounds);
      const histogram = new Histogram({ name: 'h', help: 'h', labelNames: ['operation'], buckets: bounds, registers: [new Registry()] });
      for (const [operation, seconds] of told) {
        tally.add(operation, seconds);
        histogram.observe({ operation }, seconds);
      }
      const values = (await histogram.get()).values.map(({ metricName, labels, value }) => {
        const { operation, le }: { operation?: string | number; le?: string | number } = labels;
        return [metricName, operation, le, value];
      });
      const ours: unknown[] = [];
      tally.each((operation, { atMost, count, sum }) => {
        for (const [index, bound] of bounds.entries()) ours.push(['h_bucket', operation, bound, atMost[index]]);
        ours.push(['h_bucket', operation, '+Inf', count], ['h_sum', operation, undefined, sum], ['h_count', operation, undefined, count]);
      });
      expect(ours).toEqual(values);
    }),
  );
});

it('counts a figure that is not finite nowhere', () => {
  const tally = new DistributionTally([1]);
  tally.add('chat', Number.NaN);
  tally.add('chat', Number.POSITIVE_INFINITY);
  tally.each(() => expect.unreachable());
});
