/** What admission needs to know of the configuration; the picture in `control/` satisfies it. All lookups are in memory. */
import type { Cap } from '@meridian/domain/budget';
import type { Account, ApiKey, Member, Plan } from '@meridian/domain/snapshot';
import type { Ladder, Tier } from '@meridian/domain/tier';

export interface TierStanding {
  readonly tier: Tier;
  readonly spend30dNano: bigint;
}

export interface KeyTable {
  /** By `hashApiKey`'s text. A key of any status: revoked ones are kept so that they are refused as such. */
  keyByHash(hash: string): ApiKey | undefined;
  account(id: string): Account | undefined;
  member(id: string): Member | undefined;
  plan(id: string): Plan | undefined;
  /** Of a key, a member or an account; empty for one without. */
  capsOf(scopeId: string): readonly Cap[];
  ladder(): Ladder;
  /** The account's assigned tier, else the ladder's first; undefined only while there is no ladder. */
  tierOf(accountId: string): TierStanding | undefined;
}
