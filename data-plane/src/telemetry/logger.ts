/** The node's log: JSON lines on standard output, written in blocks so that a line a request costs little. */
import pino from 'pino';

export type Logger = pino.Logger;

export function createLogger(level: string, base: Readonly<Record<string, string>>): Logger {
  const destination = pino.destination({ fd: 1, sync: false, minLength: 4096 });
  // A quiet node still shows its lines within a second.
  setInterval(() => destination.flush(), 1000).unref();
  return pino({ level, base: { ...base }, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}
