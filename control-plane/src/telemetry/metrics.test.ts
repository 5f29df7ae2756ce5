import { expect, it } from 'vitest';
import { createMetrics } from './metrics.ts';

it('a gauge shows the labels that there are at the scrape, and none of before', async () => {
  const metrics = createMetrics();
  let held: Record<string, number> = { nano_usd: 7, images: 3 };
  metrics.gauge('held', 'What is held', () => held);
  metrics.gauge('streams', 'Open streams', () => 2);
  const shown = async () => (await metrics.registry.metrics()).split('\n').filter((line) => /^(held|streams)\b/.test(line));
  expect(await shown()).toEqual(['held{label="nano_usd"} 7', 'held{label="images"} 3', 'streams 2']);
  held = { nano_usd: 5 };
  expect(await shown()).toEqual(['held{label="nano_usd"} 5', 'streams 2']);
});
