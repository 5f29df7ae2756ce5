import { expect, it } from 'vitest';
import { isNodeId } from './node-id.ts';

it.each(['n', 'node-us', 'eu-1.rack_7', 'N'.repeat(64)])('takes %j', (text) => {
  expect(isNodeId(text)).toBe(true);
});

it.each(['', 'N'.repeat(65), 'node us', 'node/us', 'node-us\n', 'knöten'])('refuses %j', (text) => {
  expect(isNodeId(text)).toBe(false);
});
