/** The SQL of tiers. */
import type { TierAssignment } from '@meridian/domain/snapshot';
import type { Ladder } from '@meridian/domain/tier';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import { LADDER_ID } from './tier.ts';

type Reader = Database | Transaction;

export interface AssignmentRow {
  readonly assignment: TierAssignment;
  readonly version: number;
}

/** Ascending by spend. */
export async function selectLadder(db: Reader): Promise<Ladder> {
  return db
    .selectFrom('tier')
    .select(['id', 'name', 'from_spend_nano as fromSpendNano', 'markup_basis_points as markupBasisPoints'])
    .where('ladder_id', '=', LADDER_ID)
    .orderBy('from_spend_nano')
    .execute();
}

/** Marks the ladder as published and returns its version, or undefined when nodes know that version already. */
export async function takeUnpublishedLadder(trx: Transaction): Promise<number | undefined> {
  const { rows } = await sql<{ version: number }>`
    UPDATE tier_ladder SET published_version = version
    WHERE id = ${LADDER_ID} AND published_version IS DISTINCT FROM version RETURNING version`.execute(trx);
  return rows[0]?.version;
}

/** Puts accounts that have no tier on this one, and returns those. */
export async function insertAssignments(
  trx: Transaction,
  accountIds: readonly string[],
  tierId: string,
  windowToMs: number,
): Promise<AssignmentRow[]> {
  const rows = await trx
    .insertInto('tier_assignment')
    .values(accountIds.toSorted().map((accountId) => ({ account_id: accountId, tier_id: tierId, window_to: new Date(windowToMs) })))
    .onConflict((conflict) => conflict.column('account_id').doNothing())
    .returningAll()
    .execute();
  return rows.map(assignmentOf);
}

export async function selectAssignment(db: Reader, accountId: string): Promise<AssignmentRow | undefined> {
  const row = await db.selectFrom('tier_assignment').selectAll().where('account_id', '=', accountId).executeTakeFirst();
  return row === undefined ? undefined : assignmentOf(row);
}

function assignmentOf(row: {
  account_id: string;
  tier_id: string;
  spend_30d_nano: bigint;
  window_to: Date;
  version: number;
}): AssignmentRow {
  return {
    assignment: {
      accountId: row.account_id,
      tierId: row.tier_id,
      spend30dNano: row.spend_30d_nano,
      windowToMs: row.window_to.getTime(),
    },
    version: row.version,
  };
}
