/** Waiting until a stream of a call takes more. */
import type { Writable } from 'node:stream';

/**
 * Resolves true when the stream drains; false when it is over, or does not drain within the time (ms). A write after a cancel never
 * calls back, so the end of the call must be listened for as well.
 */
export function drained(stream: Writable, timeoutMs: number): Promise<boolean> {
  if (stream.destroyed) return Promise.resolve(false);
  if (!stream.writableNeedDrain) return Promise.resolve(true);
  return new Promise((resolve) => {
    const finish = (more: boolean) => {
      clearTimeout(timer);
      stream.off('drain', onDrain);
      for (const event of ENDS) stream.off(event, onEnd);
      resolve(more);
    };
    const onDrain = () => finish(true);
    const onEnd = () => finish(false);
    const timer = setTimeout(onEnd, timeoutMs);
    stream.on('drain', onDrain);
    for (const event of ENDS) stream.on(event, onEnd);
  });
}

const ENDS = ['cancelled', 'close', 'error'] as const;
