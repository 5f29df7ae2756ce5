/** The rules of volume tiers, and what is published of them. */
import type { ConfigEntry, TierAssignment } from '@meridian/domain/snapshot';
import type { Ladder, Tier } from '@meridian/domain/tier';

/** There is one ladder. */
export const LADDER_ID = 'standard';

/** The tier of an account that has spent nothing yet. */
export function firstTier(ladder: Ladder): Tier {
  const [first] = ladder;
  if (first === undefined || first.fromSpendNano !== 0n) throw new Error('a ladder starts with a tier from spend 0');
  return first;
}

/** The lowest markup that any account can have, in basis points. */
export function lowestMarkup(ladder: Ladder): number {
  return Math.min(...ladder.map((tier) => tier.markupBasisPoints));
}

export function ladderEntry(ladder: Ladder, version: number): ConfigEntry {
  return { kind: 'ladder', id: LADDER_ID, version, body: { kind: 'ladder', value: { id: LADDER_ID, tiers: ladder } } };
}

export function assignmentEntry(assignment: TierAssignment, version: number): ConfigEntry {
  return { kind: 'tier_assignment', id: assignment.accountId, version, body: { kind: 'tier_assignment', value: assignment } };
}
