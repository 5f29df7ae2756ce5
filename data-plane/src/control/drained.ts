/** Waiting for a stream of gRPC to take more. */
import type { Writable } from 'node:stream';

/** Resolves when the stream takes more, or takes nothing any more: a cancelled stream never drains. */
export function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      stream.off('drain', finish);
      stream.off('close', finish);
      stream.off('error', finish);
      resolve();
    };
    stream.on('drain', finish);
    stream.on('close', finish);
    stream.on('error', finish);
  });
}
