/**
 * What is known of one idempotency key: a pure state machine, which the scripts in Redis repeat.
 *
 * RUNNING: a request with this key is being served. Its owner renews a lease; a node that is killed renews nothing, and the key is free
 * when the lease is over. The dead request was never charged, so running again is right.
 * SETTLING: the request may be charged from now on, so nobody takes its place any more, whatever becomes of its owner.
 * ANSWERED: it was served, and here is its answer.
 * RECEIPT: it was served and charged, and its answer is not kept.
 *
 * From RUNNING and SETTLING the owner alone goes on. What nobody knows of (it was released, it expired, the store was emptied) may be
 * taken by anyone, and by an owner that comes back as well: an answer that exists is worth keeping.
 */

/** An owner that lives renews its claim three times as often. */
export const LEASE_MS = 15_000;
/** Counted from the end of the request. */
export const KEPT_MS = 24 * 60 * 60 * 1000;
/** A charge takes no longer to be written; what is still settling then has lost its owner. */
export const SETTLING_MS = 10_000;

/** One request that wants to be the one of its key. */
export interface Claim {
  /** Unguessable, and of this one attempt to claim. */
  readonly owner: string;
  /** Of operation and body, keyed: the same request has the same. */
  readonly fingerprint: string;
  readonly requestId: string;
  /** Whose it is, where accounts share the room that records take. */
  readonly accountId: string;
}

/**
 * Why a request that was charged has no answer here: it was larger than what is kept, it was cut by its provider, by a limit or
 * behind its client, its node died, or it was kept and had to give way.
 */
export type ReceiptReason = 'too_large' | 'cut' | 'unsettled' | 'no_room';

/** What a request leaves for its retries. */
export type Kept =
  | { readonly kind: 'answer'; readonly sealed: Buffer }
  | { readonly kind: 'receipt'; readonly reason: Exclude<ReceiptReason, 'unsettled'> };

export type IdempotencyRecord = Claim & { readonly expiresAtMs: number } & (
    | { readonly state: 'running' }
    | { readonly state: 'settling' }
    | { readonly state: 'kept'; readonly kept: Kept }
  );

/** What a claim has found. `full`: nothing is known of the key, and there is no room to remember it. */
export type Finding =
  | { readonly kind: 'claimed' }
  | { readonly kind: 'full' }
  | { readonly kind: 'running'; readonly requestId: string }
  | { readonly kind: 'other_body' }
  | { readonly kind: 'answer'; readonly requestId: string; readonly sealed: Buffer }
  | { readonly kind: 'receipt'; readonly requestId: string; readonly reason: ReceiptReason };

/** undefined once its time is over. */
function live(record: IdempotencyRecord | undefined, nowMs: number): IdempotencyRecord | undefined {
  return record !== undefined && record.expiresAtMs > nowMs ? record : undefined;
}

/** Claims a key, or renews a claim: `record` is what comes after, undefined where nothing changes. */
export function claim(
  before: IdempotencyRecord | undefined,
  by: Claim,
  nowMs: number,
): { readonly finding: Finding; readonly record?: IdempotencyRecord } {
  const found = live(before, nowMs);
  if (found === undefined || (found.state === 'running' && found.owner === by.owner)) {
    return { finding: { kind: 'claimed' }, record: { ...by, state: 'running', expiresAtMs: nowMs + LEASE_MS } };
  }
  const { requestId } = found;
  if (found.fingerprint !== by.fingerprint) return { finding: { kind: 'other_body' } };
  switch (found.state) {
    case 'running':
      return { finding: { kind: 'running', requestId } };
    case 'settling':
      return found.expiresAtMs - nowMs > KEPT_MS - SETTLING_MS
        ? { finding: { kind: 'running', requestId } }
        : { finding: { kind: 'receipt', requestId, reason: 'unsettled' } };
    case 'kept':
      return {
        finding:
          found.kept.kind === 'answer'
            ? { kind: 'answer', requestId, sealed: found.kept.sealed }
            : { kind: 'receipt', requestId, reason: found.kept.reason },
      };
    default:
      return found satisfies never;
  }
}

/** Says that the request may be charged from now on. undefined: another has its place, and it must not be. */
export function settle(before: IdempotencyRecord | undefined, by: Claim, nowMs: number): IdempotencyRecord | undefined {
  const found = live(before, nowMs);
  if (found !== undefined && found.owner !== by.owner) return undefined;
  if (found !== undefined && found.state !== 'running') return found;
  return { ...by, state: 'settling', expiresAtMs: nowMs + KEPT_MS };
}

/** Keeps what the request leaves. undefined: another has its place. */
export function keep(before: IdempotencyRecord | undefined, by: Claim, kept: Kept, nowMs: number): IdempotencyRecord | undefined {
  const found = live(before, nowMs);
  if (found !== undefined && found.owner !== by.owner) return undefined;
  if (found?.state === 'kept') return found;
  return { ...by, state: 'kept', kept, expiresAtMs: nowMs + KEPT_MS };
}

/** Whether the owner may take its claim back: it came to nothing. */
export function mayRelease(before: IdempotencyRecord | undefined, owner: string): boolean {
  return before !== undefined && before.owner === owner && before.state !== 'kept';
}
