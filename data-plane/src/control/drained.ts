/** Waiting for a stream of gRPC to take more. */
import type { Writable } from 'node:stream';

/**
 * Resolves when the stream takes more, or takes nothing any more: one that was cancelled, or that the other side has ended, never
 * drains.
 */
export function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const events = ['drain', 'end', 'close', 'error'] as const;
    const finish = () => {
      for (const event of events) stream.off(event, finish);
      resolve();
    };
    for (const event of events) stream.on(event, finish);
  });
}
