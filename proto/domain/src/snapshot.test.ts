import { expect, it } from 'vitest';
import type { ListPrice } from './price.ts';
import { CONFIG_KINDS, LANES, priceInForce } from './snapshot.ts';

const version = (number: number, effectiveFromMs: number): ListPrice => ({ modelId: 'm', version: number, effectiveFromMs, cards: [] });

it('has the newest price whose time has come in force, in whatever order they stand', () => {
  const versions = [version(2, 200), version(3, 300), version(1, 100)];
  const at = (ms: number) => priceInForce({ modelId: 'm', versions }, ms)?.version;
  expect([99, 100, 199, 200, 299, 300, 10_000].map(at)).toEqual([undefined, 1, 1, 2, 2, 3, 3]);
});

it('lets a later version correct an earlier one that starts after it', () => {
  const versions = [version(1, 100), version(2, 300), version(3, 200)];
  expect(priceInForce({ modelId: 'm', versions }, 400)?.version).toBe(3);
});

it('has no price in force in an empty book', () => {
  expect(priceInForce({ modelId: 'm', versions: [] }, 1)).toBeUndefined();
});

it('names each lane and kind once, the lane of revocations first', () => {
  expect(new Set(CONFIG_KINDS).size).toBe(CONFIG_KINDS.length);
  expect(LANES[0]).toBe('security');
  expect(new Set(LANES).size).toBe(LANES.length);
});
