/** The rules of volume tiers, and what is published of them. */
import type { ConfigEntry, TierAssignment } from '@meridian/domain/snapshot';
import { type Ladder, type Tier, tierAtSpend } from '@meridian/domain/tier';

/** There is one ladder. */
export const LADDER_ID = 'standard';

const HOUR_MS = 3_600_000;
/** Tiers are reckoned anew at 00, 06, 12 and 18 UTC. */
const RUN_INTERVAL_MS = 6 * HOUR_MS;
const WINDOW_MS = 30 * 24 * HOUR_MS;
/** A tier goes down a step, and stays there for this long at least. */
const STEP_DOWN_INTERVAL_MS = 7 * 24 * HOUR_MS;
const MAX_TIERS = 20;
const MAX_MARKUP_BASIS_POINTS = 100_000;

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

/** Where an account stands on the ladder. */
export interface Rung {
  readonly tierId: string;
  /** The end of the 30 days that last brought it a step down; undefined when none did. */
  readonly loweredAtMs: number | undefined;
}

/**
 * Where an account stands after its spend of the 30 days before `windowToMs` was counted: on the tier that the spend reaches at
 * once when that is higher, a step down when it is lower and the last step down is a week ago. Deciding twice for the same
 * `windowToMs` changes nothing. A tier that the ladder does not have counts as the first.
 */
export function nextRung(ladder: Ladder, rung: Rung, spendNano: bigint, windowToMs: number): Rung {
  const place = Math.max(
    0,
    ladder.findIndex((tier) => tier.id === rung.tierId),
  );
  const reached = tierAtSpend(ladder, spendNano);
  if (ladder.indexOf(reached) >= place) return reached.id === rung.tierId ? rung : { ...rung, tierId: reached.id };
  if (rung.loweredAtMs !== undefined && windowToMs - rung.loweredAtMs < STEP_DOWN_INTERVAL_MS) return rung;
  return { tierId: ladder[place - 1]?.id ?? reached.id, loweredAtMs: windowToMs };
}

/** The moment of the newest run that is due: 00, 06, 12 or 18 UTC. */
export function windowToAt(nowMs: number): number {
  return Math.floor(nowMs / RUN_INTERVAL_MS) * RUN_INTERVAL_MS;
}

/** Where the 30 days begin that end at `windowToMs`. */
export function windowFrom(windowToMs: number): number {
  return windowToMs - WINDOW_MS;
}

/**
 * The run that comes after the one of `lastMs`, or the newest that is due where there was none; undefined when it is not due yet. A run
 * that was missed for as long as 30 days counts nothing that a later one counts, and is left out.
 */
export function windowAfter(lastMs: number | undefined, nowMs: number): number | undefined {
  const newest = windowToAt(nowMs);
  const next = lastMs === undefined ? newest : Math.max(lastMs + RUN_INTERVAL_MS, newest - WINDOW_MS + RUN_INTERVAL_MS);
  return next <= newest ? next : undefined;
}

/** What is wrong with a ladder that an operator sets, or undefined. */
export function ladderProblem(ladder: Ladder): string | undefined {
  if (ladder.length === 0 || ladder.length > MAX_TIERS) return `a ladder has 1 to ${MAX_TIERS} tiers`;
  if (ladder[0]?.fromSpendNano !== 0n) return 'the first tier is from a spend of 0';
  if (new Set(ladder.map((tier) => tier.id)).size < ladder.length) return 'each tier has an id of its own';
  for (const [index, tier] of ladder.entries()) {
    if (tier.markupBasisPoints < 0 || tier.markupBasisPoints > MAX_MARKUP_BASIS_POINTS) {
      return `a markup is between 0 and ${MAX_MARKUP_BASIS_POINTS / 100} %`;
    }
    const below = ladder[index - 1];
    if (below === undefined) continue;
    if (tier.fromSpendNano <= below.fromSpendNano) return `"${tier.id}" is from a higher spend than "${below.id}"`;
    if (tier.markupBasisPoints > below.markupBasisPoints) return `"${tier.id}" has no higher markup than "${below.id}"`;
  }
  return undefined;
}

export function ladderEntry(ladder: Ladder, version: number): ConfigEntry {
  return { kind: 'ladder', id: LADDER_ID, version, body: { kind: 'ladder', value: { id: LADDER_ID, tiers: ladder } } };
}

export function assignmentEntry(assignment: TierAssignment, version: number): ConfigEntry {
  return { kind: 'tier_assignment', id: assignment.accountId, version, body: { kind: 'tier_assignment', value: assignment } };
}
