/** One load, made by a process of its own on the generator's core. */
import { once } from 'node:events';
import type { Load, Measured } from './load.ts';
import { LOAD_CORE, startNode, stop } from './target.ts';

export async function measure(load: Load): Promise<Measured> {
  const { child } = await startNode('./load.ts', [], LOAD_CORE);
  try {
    child.send(load);
    const [measured] = (await once(child, 'message')) as [Measured]; // what load.ts answers with
    return measured;
  } finally {
    await stop(child);
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}
