import { expect, it } from 'vitest';
import { checkNodeName } from './node-name.ts';

it('names what of the name is at fault', () => {
  expect(() => checkNodeName({ nodeId: 'node-us', region: 'us' })).not.toThrow();
  expect(() => checkNodeName({ nodeId: 'node us', region: 'us' })).toThrow('node_id must be 1 to 64 letters, digits, dots, dashes');
  expect(() => checkNodeName({ nodeId: 'node-us', region: 'US' })).toThrow('region is not a region');
});
