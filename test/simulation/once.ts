/**
 * The idempotency keys of clients, in the Redis of each region: records change by the node's own state machine, each step is a message that
 * takes its time or is not answered, and the store is away for some seconds or forgets all that it knows. Who holds a key renews its claim,
 * asks before it may be charged, and owes to the store what it could not tell it, for as long as its process lives.
 *
 * Held: of the requests with one key, one is charged. Another may be where the store was emptied after the first had said that it will be
 * charged, or before, and the store was away when one of them did; and where the process that owed the record died.
 */
import {
  type Claim,
  claim,
  type Finding,
  type IdempotencyRecord,
  keep,
  LEASE_MS,
  mayRelease,
  settle,
} from '@meridian/data-plane/idempotency/record';
import type { Dice } from './dice.ts';
import type { Life } from './life.ts';
import type { Timeline } from './timeline.ts';
import { Violation } from './violation.ts';

/** How long a node waits for the store. */
const ANSWER_WITHIN_MS = 1_000;
const TRY_EVERY_MS = 1_000;
/** Claims are renewed often enough to outlive an absence of this length. */
const MOST_AWAY_MS = 8_000;

/** One request that holds, or has held, a key. */
export interface Held {
  readonly name: string;
  readonly by: Claim;
  readonly life: Life;
  /** When it asked for it. */
  readonly claimedAtMs: number;
  /** When it asked whether it may be charged; undefined: it never did. */
  askedAtMs: number | undefined;
  /** Whether the store answered that, and when it was known. */
  answered: boolean;
  heardAtMs: number;
  /** It owes its record to the store. */
  owes: boolean;
  over: boolean;
}

export class OnceStore {
  readonly #timeline: Timeline;
  readonly #dice: Dice;
  readonly #records = new Map<string, IdempotencyRecord>();
  readonly #emptiedAtMs: number[] = [];
  readonly #owing = new Map<Life, Map<string, Held>>();
  #awayUntilMs = 0;
  /** Claims that found the answer or the receipt of an earlier request. */
  repeats = 0;

  constructor(timeline: Timeline, dice: Dice) {
    this.#timeline = timeline;
    this.#dice = dice;
  }

  /** Killed and started anew. */
  empty(): void {
    this.#records.clear();
    this.#emptiedAtMs.push(this.#timeline.nowMs);
  }

  goAway(): void {
    this.#awayUntilMs = this.#timeline.nowMs + this.#dice.between(100, MOST_AWAY_MS);
  }

  /** Claims a key for a request; undefined where the store is away, and the request is refused. */
  claim(life: Life, name: string, requestId: string, done: (held: Held | Exclude<Finding, { kind: 'claimed' }> | undefined) => void): void {
    const by = { owner: `${requestId} ${this.#dice.hex(8)}`, fingerprint: name, requestId, accountId: name };
    const owed = this.#owing.get(life)?.get(name);
    if (owed !== undefined) {
      // What it owes to this key comes first.
      this.#save(owed, (saved) => (saved ? this.claim(life, name, requestId, done) : done(undefined)));
      return;
    }
    const claimedAtMs = this.#timeline.nowMs;
    this.#tell(
      life,
      () => this.#claim(name, by),
      (finding) => {
        if (finding === undefined) {
          // It may have been claimed all the same.
          this.#tell(
            life,
            () => this.#release(name, by.owner),
            () => undefined,
          );
          done(undefined);
        } else if (finding.kind === 'claimed') {
          const held: Held = {
            ...{ name, by, life, claimedAtMs, askedAtMs: undefined, heardAtMs: claimedAtMs },
            ...{ answered: false, owes: false, over: false },
          };
          this.#renewLater(held);
          done(held);
        } else {
          if (finding.kind !== 'running') this.repeats++;
          done(finding);
        }
      },
    );
  }

  /** Before it may be charged. False: another has its place. Where the store is away it may. */
  settle(held: Held, done: (mine: boolean) => void): void {
    const { life, name, by } = held;
    held.over = true;
    held.askedAtMs = this.#timeline.nowMs;
    const change = (): boolean => {
      const record = settle(this.#records.get(name), by, this.#timeline.nowMs);
      if (record !== undefined) this.#records.set(name, record);
      return record !== undefined;
    };
    this.#tell(life, change, (mine) => {
      held.answered = mine !== undefined;
      held.heardAtMs = this.#timeline.nowMs;
      done(mine ?? true);
    });
  }

  /** It was charged, and leaves its answer. */
  keep(held: Held): void {
    held.over = true;
    this.#save(held, (saved) => {
      if (saved) return;
      const owing = this.#owing.get(held.life) ?? new Map<string, Held>();
      this.#owing.set(held.life, owing.set(held.name, held));
      held.owes = true;
      this.#saveLater(held);
    });
  }

  /** It came to nothing. */
  release(held: Held): void {
    held.over = true;
    this.#tell(
      held.life,
      () => this.#release(held.name, held.by.owner),
      () => undefined,
    );
  }

  /** Throws where more than one of the requests with a key was charged without an excuse. */
  judge(charged: readonly Held[]): void {
    for (const [name, all] of Map.groupBy(charged, (held) => held.name)) {
      const inOrder = all.toSorted((a, b) => askedAt(a) - askedAt(b));
      for (const [index, again] of inOrder.entries()) {
        const first = inOrder[index - 1];
        if (first === undefined || this.#isForgotten(first, again)) continue;
        throw new Violation(
          'of the requests with one idempotency key one is charged',
          `${name}: ${first.by.requestId}, settled at ${askedAt(first)}, and ${again.by.requestId}, settled at ${askedAt(again)}`,
        );
      }
    }
  }

  /** Whoever heard nothing of the store when it settled knows only of what the store had when it claimed. */
  #isForgotten(first: Held, again: Held): boolean {
    const since = Math.min(
      first.answered ? askedAt(first) : first.claimedAtMs,
      again.answered ? Number.POSITIVE_INFINITY : again.claimedAtMs,
    );
    if (this.#emptiedAtMs.some((atMs) => atMs >= since && atMs <= again.heardAtMs)) return true;
    return first.owes && !first.life.alive;
  }

  #claim(name: string, by: Claim): Finding {
    const { finding, record } = claim(this.#records.get(name), by, this.#timeline.nowMs);
    if (record !== undefined) this.#records.set(name, record);
    return finding;
  }

  #release(name: string, owner: string): void {
    if (mayRelease(this.#records.get(name), owner)) this.#records.delete(name);
  }

  #save(held: Held, done: (saved: boolean) => void): void {
    const { life, name, by } = held;
    const change = (): true => {
      const record = keep(this.#records.get(name), by, { kind: 'receipt', reason: 'too_large' }, this.#timeline.nowMs);
      if (record !== undefined) this.#records.set(name, record);
      return true;
    };
    this.#tell(life, change, (saved) => {
      if (saved === true) {
        held.owes = false;
        if (this.#owing.get(life)?.get(name) === held) this.#owing.get(life)?.delete(name);
      }
      done(saved === true);
    });
  }

  #saveLater(held: Held): void {
    held.life.after(TRY_EVERY_MS, 'owes a record', () => {
      if (held.owes)
        this.#save(held, (saved) => {
          if (!saved) this.#saveLater(held);
        });
    });
  }

  #renewLater(held: Held): void {
    held.life.after(LEASE_MS / 3, 'renews a claim', () => {
      if (held.over) return;
      this.#tell(
        held.life,
        () => this.#claim(held.name, held.by),
        () => undefined,
      );
      this.#renewLater(held);
    });
  }

  /** A message to the store and its answer; undefined where none comes in time, whatever became of the message. */
  #tell<T>(life: Life, change: () => T, done: (answer: T | undefined) => void): void {
    const { nowMs } = this.#timeline;
    const sentMs = this.#dice.between(1, 20);
    const isAway = nowMs + sentMs < this.#awayUntilMs;
    const isLost = isAway || this.#dice.chance(0.01);
    if (isLost) {
      // It waits until the store is back, or never arrives.
      if (this.#dice.chance(0.5))
        this.#timeline.at(Math.max(this.#awayUntilMs, nowMs + sentMs), 'a late message reaches the store', change);
      life.after(ANSWER_WITHIN_MS, 'hears nothing of the store', () => done(undefined));
      return;
    }
    this.#timeline.after(sentMs, 'a message reaches the store', () => {
      const answer = change();
      life.after(this.#dice.between(1, 20), 'hears of the store', () => done(answer));
    });
  }
}

function askedAt(held: Held): number {
  return held.askedAtMs ?? held.claimedAtMs;
}
