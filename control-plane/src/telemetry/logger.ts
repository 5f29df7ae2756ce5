/** The control plane's log: JSON lines on standard output. Objects are built without secrets, rather than redacted. */
import pino from 'pino';

export type Logger = pino.Logger;

export function createLogger(level: string): Logger {
  return pino({ level, base: { service: 'control-plane' }, timestamp: pino.stdTimeFunctions.isoTime });
}
