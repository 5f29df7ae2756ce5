/** Which tier an account is on, and the ladder it climbs. */
import type { ConfigEntry, TierAssignment } from '@meridian/domain/snapshot';
import { type Ladder, nextTier, type Tier } from '@meridian/domain/tier';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { Publish } from '../snapshots/publish.ts';
import * as store from './store.ts';
import { assignmentEntry, firstTier, ladderEntry, lowestMarkup } from './tier.ts';

export interface TierDependencies {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  readonly publish: Publish;
}

export interface TierStanding {
  readonly tier: Tier;
  readonly spend30dNano: bigint;
  /** The end of the 30 days that were last counted; undefined before the account was ever assigned. */
  readonly windowToMs: number | undefined;
  /** Undefined at the top of the ladder. */
  readonly next: Tier | undefined;
}

export interface TierService {
  ladder(): Promise<Ladder>;
  /** In basis points: what the best customer pays on top of the list price. */
  lowestMarkupBasisPoints(): Promise<number>;
  /** Publishes the ladder on CATALOG unless nodes know this version of it. For the start of each replica; says whether it did. */
  publishLadder(): Promise<boolean>;
  /**
   * Puts accounts that have no tier yet on the first one, within a transaction of the caller, who publishes the entries on
   * CUSTOMER. An account that has a tier keeps it and yields no entry.
   */
  assignFirstIn(trx: Transaction, accountIds: readonly string[]): Promise<ConfigEntry[]>;
  /** The same in a transaction of its own. Returns how many were assigned. */
  assignFirst(accountIds: readonly string[]): Promise<number>;
  /** An account without an assignment stands on the first tier. */
  standing(accountId: string): Promise<TierStanding>;
}

export function createTierService({ db, clock, publish }: TierDependencies): TierService {
  const assignFirstIn = async (trx: Transaction, accountIds: readonly string[]): Promise<ConfigEntry[]> => {
    if (accountIds.length === 0) return [];
    const first = firstTier(await store.selectLadder(trx));
    const rows = await store.insertAssignments(trx, accountIds, first.id, clock.nowMs());
    return rows.map(({ assignment, version }) => assignmentEntry(assignment, version));
  };
  return {
    ladder: () => store.selectLadder(db),
    lowestMarkupBasisPoints: async () => lowestMarkup(await store.selectLadder(db)),
    publishLadder: () =>
      transaction(db, async (trx) => {
        const version = await store.takeUnpublishedLadder(trx);
        if (version === undefined) return false;
        await publish(trx, 'catalog', [ladderEntry(await store.selectLadder(trx), version)]);
        return true;
      }),
    assignFirstIn,
    assignFirst: (accountIds) =>
      transaction(db, async (trx) => {
        const entries = await assignFirstIn(trx, accountIds);
        if (entries.length > 0) await publish(trx, 'customer', entries);
        return entries.length;
      }),
    standing: async (accountId) => {
      const [ladder, row] = await Promise.all([store.selectLadder(db), store.selectAssignment(db, accountId)]);
      return standingOf(ladder, row?.assignment);
    },
  };
}

function standingOf(ladder: Ladder, assignment: TierAssignment | undefined): TierStanding {
  // A tier that was taken out of the ladder falls back to the first.
  const tier = ladder.find((each) => each.id === assignment?.tierId) ?? firstTier(ladder);
  return {
    tier,
    spend30dNano: assignment?.spend30dNano ?? 0n,
    windowToMs: assignment?.windowToMs,
    next: nextTier(ladder, tier.id),
  };
}
