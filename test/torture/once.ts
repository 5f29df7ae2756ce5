/**
 * What an idempotency key promises, held against the calls that providers have had: after one that was charged there is no other, whatever
 * was killed. It may be broken where the store has lost the record meanwhile, and only there:
 *
 * - Redis was started anew, empty, after the charged request was admitted;
 * - Redis was away at the end of the charged request, so that its record was owed to it, and the node that owed it ended before it was
 *   back for good;
 * - without a Redis, the node that remembered it ended.
 */
import type { Sent } from './clients.ts';

/** What the store of idempotency keys may have forgotten (ms since 1970). */
export interface StoreLosses {
  readonly hasRedis: boolean;
  readonly redisEmptied: readonly number[];
  readonly redisAway: readonly { readonly fromMs: number; readonly untilMs: number }[];
  readonly nodeEnded: readonly { readonly region: string; readonly atMs: number }[];
}

/** A call to a provider, with the request it was made for. */
export interface Served {
  readonly ref: string;
  readonly region: string;
  readonly requestId: string;
  readonly chargeNano: bigint;
  readonly admittedAtMs: number;
  readonly t_start: number;
  readonly t_end: number;
}

export interface KeyedVerdict {
  readonly keys: number;
  readonly doubled: readonly string[];
  /** Second calls that the losses of the store excuse. */
  readonly servedAgain: number;
}

/** A node may take that long to see that Redis is away or back, and to write what it owes. */
const NOTICED_WITHIN_MS = 6_000;

export function judgeKeyed(sent: readonly Sent[], served: readonly Served[], losses: StoreLosses): KeyedVerdict {
  const keyed = new Set(sent.filter(({ idempotencyKey }) => idempotencyKey !== undefined).map(({ ref }) => ref));
  const doubled: string[] = [];
  let servedAgain = 0;
  for (const [ref, calls] of Map.groupBy(served, (call) => call.ref)) {
    if (!keyed.has(ref)) continue;
    const inOrder = calls.toSorted((a, b) => a.t_start - b.t_start);
    for (const [index, call] of inOrder.entries()) {
      const charged = inOrder.slice(0, index).find(({ chargeNano }) => chargeNano > 0n);
      if (charged === undefined) continue;
      if (isForgotten(charged, call, losses)) servedAgain++;
      else
        doubled.push(
          `${ref} was charged ${charged.chargeNano} as ${charged.requestId}, and served again as ${call.requestId} (${call.chargeNano}) ${call.t_start - charged.t_end} ms after its end`,
        );
    }
  }
  return { keys: keyed.size, doubled, servedAgain };
}

function isForgotten(charged: Served, again: Served, { hasRedis, redisEmptied, redisAway, nodeEnded }: StoreLosses): boolean {
  const ended = nodeEnded.filter(({ region, atMs }) => region === charged.region && atMs >= charged.admittedAtMs && atMs <= again.t_start);
  if (!hasRedis) return ended.length > 0;
  if (redisEmptied.some((atMs) => atMs >= charged.admittedAtMs && atMs <= again.t_start)) return true;
  return redisAway.some(
    ({ fromMs, untilMs }) =>
      fromMs <= charged.t_end + NOTICED_WITHIN_MS &&
      untilMs + NOTICED_WITHIN_MS >= charged.admittedAtMs &&
      ended.some(({ atMs }) => atMs <= untilMs + NOTICED_WITHIN_MS),
  );
}
