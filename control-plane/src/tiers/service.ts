/** Which tier an account is on, and the ladder it climbs. */
import { GatewayError } from '@meridian/domain/error';
import type { ConfigEntry, TierAssignment } from '@meridian/domain/snapshot';
import { type Ladder, nextTier, type Tier } from '@meridian/domain/tier';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { Publish } from '../snapshots/publish.ts';
import * as store from './store.ts';
import { assignmentEntry, firstTier, ladderEntry, ladderProblem, lowestMarkup } from './tier.ts';

export interface TierDependencies {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  readonly publish: Publish;
}

export interface TierStanding {
  readonly tier: Tier;
  readonly spend30dNano: bigint;
  /** The end of the 30 days in which its figures last changed; undefined before the account was ever assigned. */
  readonly windowToMs: number | undefined;
  /** Undefined at the top of the ladder. */
  readonly next: Tier | undefined;
}

export interface LadderVersion {
  readonly tiers: Ladder;
  readonly version: number;
}

export interface TierService {
  ladder(): Promise<Ladder>;
  /** The ladder with the number of its version, which grows with every change. */
  ladderVersion(): Promise<LadderVersion>;
  /**
   * Puts another ladder in the place of the present one, and publishes it on CATALOG: markups hold as soon as nodes have it,
   * thresholds from the next run on. Throws `invalid_request_error` for one that is not a ladder, `conflict` when accounts stand on
   * a tier that it leaves out.
   */
  setLadder(tiers: Ladder): Promise<LadderVersion>;
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
  const ladderVersion = async (reader: Database | Transaction): Promise<LadderVersion> => ({
    tiers: await store.selectLadder(reader),
    version: await store.selectLadderVersion(reader),
  });
  return {
    ladder: () => store.selectLadder(db),
    ladderVersion: () => transaction(db, (trx) => ladderVersion(trx)),
    setLadder: (tiers) =>
      transaction(db, async (trx) => {
        const problem = ladderProblem(tiers);
        if (problem !== undefined)
          throw new GatewayError('invalid_request_error', { message: `Not a ladder: ${problem}.`, param: 'tiers' });
        await store.lockLadder(trx, 'update');
        const present = await ladderVersion(trx);
        if (isSame(present.tiers, tiers)) return present;
        const left = await store.countAssignedElsewhere(
          trx,
          tiers.map((tier) => tier.id),
        );
        if (left > 0n) {
          throw new GatewayError('conflict', { message: `${left} accounts stand on a tier that this ladder leaves out.`, param: 'tiers' });
        }
        const version = await store.replaceLadder(trx, tiers, clock.nowMs());
        await publish(trx, 'catalog', [ladderEntry(tiers, version)]);
        return { tiers, version };
      }),
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

function isSame(one: Ladder, other: Ladder): boolean {
  const text = (ladder: Ladder): string =>
    JSON.stringify(ladder.map((tier) => [tier.id, tier.name, tier.fromSpendNano.toString(), tier.markupBasisPoints]));
  return text(one) === text(other);
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
