/** Ids of answers, and of what stands in them, in the form that the clients of a dialect know: made of our request's id. */

const OWN_PREFIX = 'req_';

/**
 * The request's id, with `prefix` in place of its own; `place` tells several of one answer apart. Joined and not concatenated: a text that
 * is one piece in memory is written by JSON.stringify in half the time.
 */
export function answerId(prefix: string, requestId: string, place?: number): string {
  const id = requestId.startsWith(OWN_PREFIX) ? requestId.slice(OWN_PREFIX.length) : requestId;
  return place === undefined ? [prefix, id].join('') : [prefix, id, '_', place].join('');
}
