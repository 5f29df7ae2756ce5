/**
 * What an idempotency key promises, held against the calls that providers have had: beside one that was charged there is no other, but
 * those that came to nothing before it, whatever was killed. It may be broken where the store has lost the record, and only there:
 *
 * - Redis was started anew, empty, after the provider had answered the charged request, which says then that it will be charged; or before,
 *   and Redis was away when it, or the other one, would have said so;
 * - Redis was away at the end of the charged request, so that its record was owed to it, and the node that owed it ended;
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

/** A provider may note the end of a call that much later than its node has it. */
const NOTED_WITHIN_MS = 250;
/** A node may take that long to see that Redis is away or back, and to write what it owes. */
const NOTICED_WITHIN_MS = 6_000;

export function judgeKeyed(sent: readonly Sent[], served: readonly Served[], losses: StoreLosses): KeyedVerdict {
  const keyed = new Set(sent.filter(({ idempotencyKey }) => idempotencyKey !== undefined).map(({ ref }) => ref));
  const doubled: string[] = [];
  let servedAgain = 0;
  for (const [ref, calls] of Map.groupBy(served, (call) => call.ref)) {
    if (!keyed.has(ref)) continue;
    for (const again of calls) {
      const first = calls.find((one) => one !== again && one.chargeNano > 0n && isBefore(one, again));
      if (first === undefined) continue;
      if (isForgotten(first, again, losses)) servedAgain++;
      else
        doubled.push(
          `${ref} was charged ${first.chargeNano} as ${first.requestId}, and served again as ${again.requestId} (${again.chargeNano}), begun ${again.t_start - first.t_end} ms after its end`,
        );
    }
  }
  return { keys: keyed.size, doubled, servedAgain };
}

/** Of two that were charged the one that ended first is the one that counts; of those that were not, any that began later is one too many. */
function isBefore(charged: Served, again: Served): boolean {
  return again.chargeNano > 0n ? charged.t_end < again.t_end : charged.t_start < again.t_start;
}

function isForgotten(first: Served, again: Served, { hasRedis, redisEmptied, redisAway, nodeEnded }: StoreLosses): boolean {
  const ended = nodeEnded.filter(({ region, atMs }) => region === first.region && atMs >= first.admittedAtMs && atMs <= again.t_end);
  if (!hasRedis) return ended.length > 0;
  const wasAway = (atMs: number): boolean =>
    redisAway.some(({ fromMs, untilMs }) => fromMs <= atMs + NOTICED_WITHIN_MS && untilMs + NOTICED_WITHIN_MS >= atMs);
  // Whoever heard nothing of the store at its end knows only of what the store had at its beginning.
  const since = Math.min(
    wasAway(first.t_end) ? first.admittedAtMs : first.t_end - NOTED_WITHIN_MS,
    again.chargeNano > 0n && !wasAway(again.t_end) ? Number.POSITIVE_INFINITY : again.admittedAtMs,
  );
  if (redisEmptied.some((atMs) => atMs >= since && atMs <= again.t_end)) return true;
  return wasAway(first.t_end) && ended.length > 0;
}
