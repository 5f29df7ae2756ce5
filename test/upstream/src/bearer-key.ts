// The key of a call that carries it as a bearer's.

import type { Call } from './wire.ts';

/** The key of an Authorization header; null where there is none. */
export function bearerKey(headers: Call['headers']): string | null {
  const value = headers.authorization;
  return typeof value === 'string' ? (/^Bearer\s+(\S+)$/i.exec(value)?.[1] ?? null) : null;
}
