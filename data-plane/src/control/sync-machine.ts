/**
 * The rules of Sync, as a machine without clock, network or disk: `step(input)` gives the effects to carry out.
 *
 * WAITING between connections, a timer running. CONNECTING from `connect` until Welcome, under a watchdog. FOLLOWING
 * after Welcome: deltas apply, acknowledgements go up. FETCHING while a snapshot is fetched and applied; deltas that
 * come meanwhile are left aside, since the control plane goes on from the snapshot's heads. CLOSED for good.
 *
 * A cursor is where the node stands in a lane. It moves when a delta whose prev_rev is the end of what was accepted
 * before has been applied and stored, and to a snapshot's heads; on nothing else: not on a heartbeat, not on silence.
 * A delta that ends at or before the lane's position is a repetition and is acknowledged again. Any other that does not
 * follow on is a hole, which only a snapshot fills: the node says Hello again without cursors.
 */
import { LANES, type Lane } from '@meridian/domain/snapshot';
import type { LaneRevisions } from '@meridian/wire/codec/lane';

/** A connection that says nothing for this long is dead: three heartbeats and a half. */
export const SILENCE_TIMEOUT_MS = 3_500;
/** From the attempt to connect until Welcome. grpc-js waits for ever for a server that accepts and says nothing. */
export const CONNECT_TIMEOUT_MS = 5_000;
export const BACKOFF_BASE_MS = 200;
export const BACKOFF_MAX_MS = 10_000;
/** Deltas that were accepted and not yet applied. The control plane sends 64 in SECURITY, one in each other lane. */
export const MAX_PENDING_DELTAS = 128;

export interface SnapshotReference {
  readonly snapshotId: string;
  readonly dbEpoch: string;
  readonly heads: LaneRevisions;
  /** Of the uncompressed content. */
  readonly sha256: Uint8Array;
}

export type SyncInput =
  | { readonly type: 'start' }
  /** The stream is open to be written to. */
  | { readonly type: 'opened' }
  | { readonly type: 'welcome'; readonly dbEpoch: string }
  | { readonly type: 'delta'; readonly lane: Lane; readonly prevRev: number; readonly rev: number }
  | { readonly type: 'heartbeat'; readonly heads: LaneRevisions; readonly regionNodes: number }
  | { readonly type: 'snapshot_ref'; readonly snapshot: SnapshotReference }
  | { readonly type: 'resync_required'; readonly reason: string }
  | { readonly type: 'goaway'; readonly retryAfterMs: number; readonly reason: string }
  /** A frame that this build does not know or cannot read. */
  | { readonly type: 'unreadable_frame'; readonly detail: string }
  | { readonly type: 'stream_ended'; readonly reason: string }
  /** An accepted delta is in the picture and on the disk. */
  | { readonly type: 'delta_applied'; readonly lane: Lane; readonly rev: number }
  | { readonly type: 'snapshot_applied'; readonly dbEpoch: string; readonly heads: LaneRevisions }
  | { readonly type: 'snapshot_failed'; readonly reason: string }
  | { readonly type: 'silence' }
  | { readonly type: 'connect_timeout' }
  | { readonly type: 'retry' }
  | { readonly type: 'close' };

export type SyncTimer = 'silence' | 'connect_timeout' | 'retry';

export type SyncEffect =
  /** Open a stream on a fresh channel once whatever is being applied is done. */
  | { readonly type: 'connect' }
  /** Drop the stream and its channel, and what was accepted but not yet begun. */
  | { readonly type: 'disconnect' }
  | { readonly type: 'send_hello'; readonly dbEpoch: string; readonly cursors: LaneRevisions }
  | { readonly type: 'send_ack'; readonly lane: Lane; readonly rev: number }
  /** Tell the refusals that were kept over the change of epoch to this one, if there are any. */
  | { readonly type: 'send_denials'; readonly dbEpoch: string }
  /** Apply and store the delta of this input, then say `delta_applied`. */
  | { readonly type: 'apply_delta' }
  | { readonly type: 'fetch_snapshot'; readonly snapshot: SnapshotReference; readonly newEpoch: boolean }
  /** (Re)start a timer, replacing the one of this name; `undefined` stops it. */
  | { readonly type: 'timer'; readonly timer: SyncTimer; readonly delayMs: number | undefined }
  | { readonly type: 'note'; readonly level: 'info' | 'warn'; readonly text: string };

export type SyncState = 'waiting' | 'connecting' | 'following' | 'fetching' | 'closed';

export interface SyncPosition {
  /** Empty: no picture yet. */
  readonly dbEpoch: string;
  readonly cursors: LaneRevisions;
}

export class SyncMachine {
  readonly #random: () => number;
  #state: SyncState = 'waiting';
  #dbEpoch: string;
  #cursors: LaneRevisions;
  /** Where each lane ends once all accepted deltas are applied. */
  #accepted: LaneRevisions;
  #pendingDeltas = 0;
  #needsSnapshot = false;
  #welcomeEpoch: string | undefined;
  #attempts = 0;
  #heads: LaneRevisions | undefined;
  #regionNodes: number | undefined;

  /** `position` is what was found on disk. `random` gives numbers in [0, 1). */
  constructor(position: SyncPosition, random: () => number) {
    this.#dbEpoch = position.dbEpoch;
    this.#cursors = position.cursors;
    this.#accepted = position.cursors;
    this.#random = random;
  }

  get state(): SyncState {
    return this.#state;
  }

  get position(): SyncPosition {
    return { dbEpoch: this.#dbEpoch, cursors: this.#cursors };
  }

  /** As the last heartbeat of this connection told them. */
  get heads(): LaneRevisions | undefined {
    return this.#heads;
  }

  get regionNodes(): number | undefined {
    return this.#regionNodes;
  }

  /** Whether, by the last heartbeat of this connection, nothing is missing here. */
  get isCurrent(): boolean {
    const heads = this.#heads;
    return this.#state === 'following' && heads !== undefined && LANES.every((lane) => (this.#cursors[lane] ?? 0) >= (heads[lane] ?? 0));
  }

  step(input: SyncInput): SyncEffect[] {
    if (this.#state === 'closed') return [];
    switch (input.type) {
      case 'start':
      case 'retry':
        if (this.#state !== 'waiting') return [];
        this.#state = 'connecting';
        return [{ type: 'timer', timer: 'retry', delayMs: undefined }, { type: 'connect' }];
      case 'opened':
        if (this.#state !== 'connecting') return [];
        this.#accepted = this.#cursors;
        this.#pendingDeltas = 0;
        return [
          { type: 'timer', timer: 'connect_timeout', delayMs: CONNECT_TIMEOUT_MS },
          { type: 'send_hello', dbEpoch: this.#dbEpoch, cursors: this.#needsSnapshot ? {} : this.#cursors },
        ];
      case 'connect_timeout':
        return this.#state === 'connecting' ? this.#reconnect('the control plane did not answer in time') : [];
      case 'silence':
        return this.#isConnected() ? this.#reconnect('no heartbeat from the control plane') : [];
      case 'stream_ended':
        return this.#isConnected() || this.#state === 'connecting' ? this.#reconnect(input.reason) : [];
      case 'delta_applied':
        // Also after the connection that brought it is gone: it was applied.
        this.#cursors = { ...this.#cursors, [input.lane]: input.rev };
        this.#pendingDeltas = Math.max(0, this.#pendingDeltas - 1);
        return this.#isConnected() ? [{ type: 'send_ack', lane: input.lane, rev: input.rev }] : [];
      case 'snapshot_applied':
        return this.#snapshotApplied(input.dbEpoch, input.heads);
      case 'snapshot_failed':
        return this.#state === 'fetching' ? this.#reconnect(`the snapshot could not be taken: ${input.reason}`) : [];
      case 'close':
        this.#state = 'closed';
        return [...stopTimers(), { type: 'disconnect' }];
      case 'welcome':
        return this.#welcome(input.dbEpoch);
      case 'delta':
      case 'heartbeat':
      case 'snapshot_ref':
      case 'resync_required':
      case 'goaway':
      case 'unreadable_frame':
        if (this.#state === 'connecting') return this.#goawayBeforeWelcome(input);
        return this.#isConnected() ? [{ type: 'timer', timer: 'silence', delayMs: SILENCE_TIMEOUT_MS }, ...this.#frame(input)] : [];
      default:
        return input satisfies never;
    }
  }

  #frame(input: Frame): SyncEffect[] {
    switch (input.type) {
      case 'delta':
        return this.#delta(input.lane, input.prevRev, input.rev);
      case 'heartbeat':
        this.#heads = input.heads;
        this.#regionNodes = input.regionNodes;
        if (this.#state === 'following' && !this.#needsSnapshot) this.#attempts = 0;
        return [];
      case 'snapshot_ref':
        return this.#snapshotRef(input.snapshot);
      case 'resync_required':
        return this.#resync(`the control plane asks for it: ${input.reason}`);
      case 'goaway':
        return this.#goaway(input.retryAfterMs, input.reason);
      case 'unreadable_frame':
        // A newer control plane may say more; what matters comes again as a heartbeat or a gap.
        return [{ type: 'note', level: 'warn', text: `a frame could not be read: ${input.detail}` }];
      default:
        return input satisfies never;
    }
  }

  #welcome(dbEpoch: string): SyncEffect[] {
    if (this.#state !== 'connecting') return this.#isConnected() ? this.#reconnect('a second Welcome') : [];
    this.#state = 'following';
    this.#welcomeEpoch = dbEpoch;
    const effects: SyncEffect[] = [
      { type: 'timer', timer: 'connect_timeout', delayMs: undefined },
      { type: 'timer', timer: 'silence', delayMs: SILENCE_TIMEOUT_MS },
    ];
    if (this.#dbEpoch !== '' && this.#dbEpoch !== dbEpoch) {
      this.#needsSnapshot = true;
      effects.push({ type: 'note', level: 'warn', text: 'the control plane’s database was restored; its whole picture is needed' });
    } else if (!this.#needsSnapshot) {
      effects.push({ type: 'send_denials', dbEpoch });
    }
    return effects;
  }

  #goawayBeforeWelcome(input: Frame): SyncEffect[] {
    if (input.type === 'goaway') return this.#goaway(input.retryAfterMs, input.reason);
    if (input.type === 'resync_required') return this.#resync(`the control plane asks for it: ${input.reason}`);
    return this.#reconnect(`${input.type} before Welcome`);
  }

  #delta(lane: Lane, prevRev: number, rev: number): SyncEffect[] {
    if (this.#state === 'fetching') return [];
    if (this.#needsSnapshot) return this.#resync('a delta came where a snapshot was needed');
    const accepted = this.#accepted[lane];
    if (accepted !== undefined && rev <= accepted) {
      const cursor = this.#cursors[lane];
      return cursor === undefined ? [] : [{ type: 'send_ack', lane, rev: cursor }];
    }
    if (accepted !== prevRev) {
      return this.#resync(`a hole in lane ${lane}: a delta after ${prevRev}, the node stands at ${accepted ?? 'no position'}`);
    }
    if (this.#pendingDeltas >= MAX_PENDING_DELTAS) return this.#resync(`more than ${MAX_PENDING_DELTAS} deltas are waiting`);
    this.#pendingDeltas++;
    this.#accepted = { ...this.#accepted, [lane]: rev };
    return [{ type: 'apply_delta' }];
  }

  #snapshotRef(snapshot: SnapshotReference): SyncEffect[] {
    if (this.#state !== 'following') return this.#reconnect('a second snapshot while one is being fetched');
    if (snapshot.dbEpoch !== this.#welcomeEpoch) return this.#reconnect('a snapshot of another database than the Welcome’s');
    this.#state = 'fetching';
    this.#needsSnapshot = true;
    return [{ type: 'fetch_snapshot', snapshot, newEpoch: this.#dbEpoch !== '' && this.#dbEpoch !== snapshot.dbEpoch }];
  }

  #snapshotApplied(dbEpoch: string, heads: LaneRevisions): SyncEffect[] {
    this.#dbEpoch = dbEpoch;
    this.#cursors = heads;
    this.#accepted = heads;
    this.#needsSnapshot = false;
    if (this.#state !== 'fetching') return [];
    this.#state = 'following';
    const acks = LANES.flatMap((lane): SyncEffect[] => {
      const rev = heads[lane];
      return rev === undefined ? [] : [{ type: 'send_ack', lane, rev }];
    });
    return [{ type: 'send_denials', dbEpoch }, ...acks];
  }

  #resync(reason: string): SyncEffect[] {
    this.#needsSnapshot = true;
    return this.#reconnect(`resync, ${reason}`);
  }

  #goaway(retryAfterMs: number, reason: string): SyncEffect[] {
    // Spread over half as long again, so that nodes sent away together do not come back together.
    return this.#reconnect(`sent away: ${reason}`, retryAfterMs * (1 + this.#random() / 2));
  }

  #reconnect(reason: string, delayMs = this.#backoffMs()): SyncEffect[] {
    this.#state = 'waiting';
    this.#heads = undefined;
    this.#regionNodes = undefined;
    this.#welcomeEpoch = undefined;
    return [
      ...stopTimers(),
      { type: 'disconnect' },
      { type: 'note', level: 'warn', text: `${reason}; next attempt in ${Math.round(delayMs)} ms` },
      { type: 'timer', timer: 'retry', delayMs },
    ];
  }

  /** Full jitter: anything up to twice as much at each attempt, never less than the base. */
  #backoffMs(): number {
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** ++this.#attempts);
    return BACKOFF_BASE_MS + this.#random() * (ceiling - BACKOFF_BASE_MS);
  }

  #isConnected(): boolean {
    return this.#state === 'following' || this.#state === 'fetching';
  }
}

type Frame = Extract<
  SyncInput,
  { readonly type: 'delta' | 'heartbeat' | 'snapshot_ref' | 'resync_required' | 'goaway' | 'unreadable_frame' }
>;

function stopTimers(): SyncEffect[] {
  return [
    { type: 'timer', timer: 'silence', delayMs: undefined },
    { type: 'timer', timer: 'connect_timeout', delayMs: undefined },
    { type: 'timer', timer: 'retry', delayMs: undefined },
  ];
}
