/** The SQL of accounts and members. */
import type { Denial } from '@meridian/domain/snapshot';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import type { Transaction } from '../database/transaction.ts';
import { versionAfter } from '../snapshots/version.ts';
import type { AccountRow, MemberRow, MemberStanding } from './account.ts';

const NEXT_VERSION = sql<number>`version + 1`;

export function insertAccount(trx: Transaction, account: Omit<AccountRow, 'version'>): Promise<AccountRow> {
  return trx.insertInto('account').values(account).returningAll().executeTakeFirstOrThrow();
}

/** Somebody who is a member nowhere yet. */
export async function insertPerson(trx: Transaction, id: string, createdAt: Date): Promise<void> {
  await trx.insertInto('person').values({ id, created_at: createdAt }).execute();
}

export async function personExists(trx: Transaction, id: string): Promise<boolean> {
  return (await trx.selectFrom('person').select('id').where('id', '=', id).executeTakeFirst()) !== undefined;
}

export function insertMember(trx: Transaction, member: Omit<MemberRow, 'version' | 'removed_at'>): Promise<MemberRow> {
  return trx.insertInto('member').values(member).returningAll().executeTakeFirstOrThrow();
}

export function findAccount(db: Database, id: string): Promise<AccountRow | undefined> {
  return db.selectFrom('account').selectAll().where('id', '=', id).executeTakeFirst();
}

/** Newest first; one row more than the page holds, if there is one. */
export function listAccounts(db: Database, page: Page): Promise<AccountRow[]> {
  let query = db
    .selectFrom('account')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(page.limit + 1);
  if (page.after !== undefined) query = query.where('id', '<', page.after);
  return query.execute();
}

export function updateAccount(
  trx: Transaction,
  id: string,
  change: { readonly name?: string; readonly plan_id?: string; readonly status?: AccountRow['status'] },
): Promise<AccountRow | undefined> {
  return trx
    .updateTable('account')
    .set({ ...change, version: NEXT_VERSION })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst();
}

/** Undefined where there is no such account, or it is marked until then already. */
export function markUnchargedCeiling(trx: Transaction, id: string, until: Date): Promise<AccountRow | undefined> {
  return trx
    .updateTable('account')
    .set({ uncharged_ceiling_until: until, version: NEXT_VERSION })
    .where('id', '=', id)
    .where(({ eb, or }) => or([eb('uncharged_ceiling_until', 'is', null), eb('uncharged_ceiling_until', '<', until)]))
    .returningAll()
    .executeTakeFirst();
}

/** Disables those accounts that are active, locked in the order of their ids, and returns them. */
export async function disableAccounts(trx: Transaction, denials: readonly Denial[]): Promise<AccountRow[]> {
  const { rows } = await sql<AccountRow>`
    WITH told AS (${told(denials)}),
    locked AS (SELECT id FROM account WHERE id IN (SELECT id FROM told) AND status = 'active' ORDER BY id FOR UPDATE)
    UPDATE account SET status = 'disabled', version = ${versionAfter(sql`account.version`, sql`told.version`)}
    FROM locked JOIN told USING (id) WHERE account.id = locked.id RETURNING account.*`.execute(trx);
  return rows;
}

/** Disables those members that are active, locked in the order of their ids, and returns them. */
export async function disableMembers(trx: Transaction, denials: readonly Denial[]): Promise<MemberRow[]> {
  const { rows } = await sql<MemberRow>`
    WITH told AS (${told(denials)}),
    locked AS (SELECT id FROM member WHERE id IN (SELECT id FROM told) AND status = 'active' ORDER BY id FOR UPDATE)
    UPDATE member SET status = 'disabled', version = ${versionAfter(sql`member.version`, sql`told.version`)}
    FROM locked JOIN told USING (id) WHERE member.id = locked.id RETURNING member.*`.execute(trx);
  return rows;
}

function told(denials: readonly Denial[]) {
  return sql`SELECT * FROM unnest(${denials.map(({ id }) => id)}::text[], ${denials.map(({ version }) => version)}::bigint[]) AS t (id, version)`;
}

/** The next version of each account that exists, but for those that somebody else is changing. */
export async function bumpFreeAccounts(trx: Transaction, ids: readonly string[]): Promise<AccountRow[]> {
  if (ids.length === 0) return [];
  return trx
    .with('locked', (cte) => cte.selectFrom('account').select('id').where('id', 'in', ids).forNoKeyUpdate().skipLocked())
    .updateTable('account')
    .from('locked')
    .set({ version: sql<number>`account.version + 1` })
    .whereRef('account.id', '=', 'locked.id')
    .returningAll('account')
    .execute();
}

export async function existingAccounts(trx: Transaction, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  return (await trx.selectFrom('account').select('id').where('id', 'in', ids).execute()).map(({ id }) => id);
}

/** Those who were not removed. */
export function listMembers(db: Database, accountId: string): Promise<MemberRow[]> {
  return present(db).where('account_id', '=', accountId).orderBy('id').execute();
}

export function findMember(db: Database, accountId: string, memberId: string): Promise<MemberRow | undefined> {
  return present(db).where('account_id', '=', accountId).where('id', '=', memberId).executeTakeFirst();
}

export function lockMember(trx: Transaction, accountId: string, memberId: string): Promise<MemberRow | undefined> {
  return present(trx).where('account_id', '=', accountId).where('id', '=', memberId).forUpdate().executeTakeFirst();
}

function present(db: Database | Transaction) {
  return db.selectFrom('member').selectAll().where('removed_at', 'is', null);
}

export function updateMember(
  trx: Transaction,
  accountId: string,
  memberId: string,
  change: { readonly name?: string; readonly role?: MemberRow['role']; readonly status?: MemberRow['status']; readonly removed_at?: Date },
): Promise<MemberRow | undefined> {
  return trx
    .updateTable('member')
    .set({ ...change, version: NEXT_VERSION })
    .where('id', '=', memberId)
    .where('account_id', '=', accountId)
    .where('removed_at', 'is', null)
    .returningAll()
    .executeTakeFirst();
}

export function memberStanding(db: Database, memberId: string): Promise<MemberStanding | undefined> {
  return standings(db).where('member.id', '=', memberId).executeTakeFirst();
}

/** Of a person in an account that the person was not removed from. */
export function personStanding(db: Database, personId: string, accountId: string): Promise<MemberStanding | undefined> {
  return standings(db)
    .where('member.person_id', '=', personId)
    .where('member.account_id', '=', accountId)
    .where('member.removed_at', 'is', null)
    .executeTakeFirst();
}

function standings(db: Database) {
  return db
    .selectFrom('member')
    .innerJoin('account', 'account.id', 'member.account_id')
    .select([
      'member.person_id as personId',
      'member.id as memberId',
      'member.account_id as accountId',
      'member.role as role',
      'member.status as memberStatus',
      'account.status as accountStatus',
    ]);
}
