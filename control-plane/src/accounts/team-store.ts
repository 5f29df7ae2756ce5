/** The SQL of teams and of invites to them. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import type { Transaction } from '../database/transaction.ts';
import type { MemberRow } from './account.ts';
import type { InviteRow } from './invite.ts';
import type { TeamRow } from './team.ts';

type Reader = Database | Transaction;

/** Serialises what members of an account do to each other. Keys, usage and balances go on beside it. */
export async function lockAccount(trx: Transaction, accountId: string): Promise<'active' | 'disabled' | undefined> {
  const row = await trx.selectFrom('account').select('status').where('id', '=', accountId).forNoKeyUpdate().executeTakeFirst();
  return row?.status;
}

/** Serialises what makes a person an owner of accounts. */
export async function lockPerson(trx: Transaction, personId: string): Promise<void> {
  await trx.selectFrom('person').select('id').where('id', '=', personId).forNoKeyUpdate().execute();
}

export async function countOwned(trx: Transaction, personId: string): Promise<number> {
  const { count } = await members(trx)
    .select((eb) => eb.fn.countAll<bigint>().as('count'))
    .where('person_id', '=', personId)
    .where('role', '=', 'owner')
    .executeTakeFirstOrThrow();
  return Number(count);
}

export async function countMembers(trx: Transaction, accountId: string): Promise<number> {
  const { count } = await members(trx)
    .select((eb) => eb.fn.countAll<bigint>().as('count'))
    .where('account_id', '=', accountId)
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** Owners who can act, but for that one. */
export async function countOtherOwners(trx: Transaction, accountId: string, memberId: string): Promise<number> {
  const { count } = await members(trx)
    .select((eb) => eb.fn.countAll<bigint>().as('count'))
    .where('account_id', '=', accountId)
    .where('role', '=', 'owner')
    .where('status', '=', 'active')
    .where('id', '!=', memberId)
    .executeTakeFirstOrThrow();
  return Number(count);
}

export function findMembership(trx: Transaction, accountId: string, personId: string): Promise<MemberRow | undefined> {
  return members(trx).selectAll().where('account_id', '=', accountId).where('person_id', '=', personId).executeTakeFirst();
}

/** By id; one row more than the page holds, if there is one. */
export function listMembers(db: Database, accountId: string, page: Page): Promise<MemberRow[]> {
  let query = members(db)
    .selectAll()
    .where('account_id', '=', accountId)
    .orderBy('id')
    .limit(page.limit + 1);
  if (page.after !== undefined) query = query.where('id', '>', page.after);
  return query.execute();
}

/** The accounts that a person can act in, newest first; one row more than the page holds, if there is one. */
export function listTeams(db: Database, personId: string, page: Page): Promise<TeamRow[]> {
  let query = teams(db)
    .where('member.person_id', '=', personId)
    .orderBy('account.id', 'desc')
    .limit(page.limit + 1);
  if (page.after !== undefined) query = query.where('account.id', '<', page.after);
  return query.execute();
}

export function findTeam(db: Database, memberId: string): Promise<TeamRow | undefined> {
  return teams(db).where('member.id', '=', memberId).executeTakeFirst();
}

export async function insertInvite(
  trx: Transaction,
  invite: Pick<InviteRow, 'id' | 'account_id' | 'role' | 'email' | 'token_hash' | 'invited_by' | 'created_at' | 'expires_at'>,
): Promise<void> {
  await trx.insertInto('invite').values(invite).execute();
}

/** Invites that can still be accepted. */
export async function countOpenInvites(trx: Transaction, accountId: string, now: Date): Promise<number> {
  const { count } = await invites(trx)
    .clearSelect()
    .select((eb) => eb.fn.countAll<bigint>().as('count'))
    .where('invite.account_id', '=', accountId)
    .where('invite.accepted_at', 'is', null)
    .where('invite.revoked_at', 'is', null)
    .where('invite.expires_at', '>', now)
    .where(INVITER_MAY)
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** When the account's invite was made after which `count - 1` more followed; undefined when there were not as many. */
export async function nthNewestInviteAt(trx: Transaction, accountId: string, count: number): Promise<Date | undefined> {
  const row = await trx
    .selectFrom('invite')
    .select('created_at')
    .where('account_id', '=', accountId)
    .orderBy('id', 'desc')
    .offset(count - 1)
    .limit(1)
    .executeTakeFirst();
  return row?.created_at;
}

/** Newest first; one row more than the page holds, if there is one. */
export function listInvites(db: Database, accountId: string, page: Page): Promise<InviteRow[]> {
  let query = invites(db)
    .where('invite.account_id', '=', accountId)
    .orderBy('invite.id', 'desc')
    .limit(page.limit + 1);
  if (page.after !== undefined) query = query.where('invite.id', '<', page.after);
  return query.execute();
}

export function findInvite(db: Reader, accountId: string, id: string): Promise<InviteRow | undefined> {
  return invites(db).where('invite.account_id', '=', accountId).where('invite.id', '=', id).executeTakeFirst();
}

export function findInviteByHash(db: Reader, tokenHash: string): Promise<InviteRow | undefined> {
  return invites(db).where('invite.token_hash', '=', tokenHash).executeTakeFirst();
}

/** Only what is neither used nor revoked changes. */
export async function endInvite(
  trx: Transaction,
  id: string,
  end: { readonly revoked_at: Date } | { readonly accepted_at: Date; readonly member_id: string },
): Promise<void> {
  await trx.updateTable('invite').set(end).where('id', '=', id).where('accepted_at', 'is', null).where('revoked_at', 'is', null).execute();
}

/** Members who are there. */
function members(db: Reader) {
  return db.selectFrom('member').where('removed_at', 'is', null);
}

function teams(db: Reader) {
  return db
    .selectFrom('member')
    .innerJoin('account', 'account.id', 'member.account_id')
    .where('member.removed_at', 'is', null)
    .where('member.status', '=', 'active')
    .where('account.status', '=', 'active')
    .select([
      ...(['account.id', 'account.name', 'account.plan_id', 'account.status', 'account.created_at'] as const),
      ...(['member.id as member_id', 'member.role'] as const),
    ]);
}

const INVITER_MAY = sql<boolean>`inviter.status = 'active' AND inviter.role IN ('owner', 'admin')`;

function invites(db: Reader) {
  return db
    .selectFrom('invite')
    .innerJoin('member as inviter', 'inviter.id', 'invite.invited_by')
    .selectAll('invite')
    .select(INVITER_MAY.as('inviter_may'));
}
