/** The SQL of plans, and of whose members they limit. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { PlanRow } from './plan.ts';
import { rateLimitsText } from './rate-limits.ts';
import type { PlanContent } from './service.ts';

export function findPlan(db: Database, id: string): Promise<PlanRow | undefined> {
  return db.selectFrom('plan').selectAll().where('id', '=', id).executeTakeFirst();
}

export function lockPlan(trx: Transaction, id: string): Promise<PlanRow | undefined> {
  return trx.selectFrom('plan').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

/** Keeps the plan as it is while members are capped by it. */
export function holdPlan(trx: Transaction, id: string): Promise<PlanRow | undefined> {
  return trx.selectFrom('plan').selectAll().where('id', '=', id).forShare().executeTakeFirst();
}

export function listPlans(db: Database): Promise<PlanRow[]> {
  return db.selectFrom('plan').selectAll().orderBy('id').execute();
}

export function insertPlan(trx: Transaction, id: string, content: PlanContent, createdAt: Date): Promise<PlanRow | undefined> {
  return trx
    .insertInto('plan')
    .values({ id, ...columns(content), created_at: createdAt })
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst();
}

/** `recap`: its members' caps are to be gone over, from the first. */
export function updatePlan(trx: Transaction, id: string, content: PlanContent, recap: boolean): Promise<PlanRow> {
  return trx
    .updateTable('plan')
    .set({ ...columns(content), ...(recap ? { members_capped_to: '' } : {}), version: sql<number>`version + 1` })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

function columns(content: PlanContent) {
  return {
    name: content.name,
    api_access: content.apiAccess,
    daily_chat_completions: content.dailyChatCompletions === undefined ? null : BigInt(content.dailyChatCompletions),
    daily_images: content.dailyImages === undefined ? null : BigInt(content.dailyImages),
    max_message_characters: content.maxMessageCharacters ?? null,
    allowed_models: [...(content.allowedModels ?? [])],
    rate_limits: rateLimitsText(content.rateLimits),
    model_rate_limits: rateLimitsText(content.modelRateLimits),
  };
}

/** A plan whose members' caps are behind, unless another replica is at it. */
export function takePlanBehind(trx: Transaction): Promise<PlanRow | undefined> {
  return trx
    .selectFrom('plan')
    .selectAll()
    .where('members_capped_to', 'is not', null)
    .orderBy('id')
    .limit(1)
    .forUpdate()
    .skipLocked()
    .executeTakeFirst();
}

/** How far the members' caps have come; null when all are as the plan has them. */
export async function setCappedTo(trx: Transaction, id: string, memberId: string | null): Promise<void> {
  await trx.updateTable('plan').set({ members_capped_to: memberId }).where('id', '=', id).execute();
}

export interface CappedMember {
  readonly id: string;
  readonly accountId: string;
}

/** The next members of accounts on a plan, in the order of their ids; their accounts cannot change plan until the transaction ends. */
export async function nextMembers(trx: Transaction, planId: string, after: string, limit: number): Promise<CappedMember[]> {
  const { rows } = await sql<CappedMember>`
    SELECT m.id, m.account_id AS "accountId" FROM member m JOIN account a ON a.id = m.account_id
    WHERE a.plan_id = ${planId} AND m.id COLLATE "C" > ${after} ORDER BY m.id COLLATE "C" LIMIT ${limit} FOR SHARE OF a`.execute(trx);
  return rows;
}

export async function membersOf(trx: Transaction, accountId: string): Promise<CappedMember[]> {
  const { rows } = await sql<CappedMember>`
    SELECT id, account_id AS "accountId" FROM member WHERE account_id = ${accountId} ORDER BY id`.execute(trx);
  return rows;
}

/** The plan of an account, which cannot change until the transaction ends. */
export async function holdPlanOf(trx: Transaction, accountId: string): Promise<string | undefined> {
  const row = await trx.selectFrom('account').select('plan_id').where('id', '=', accountId).forShare().executeTakeFirst();
  return row?.plan_id;
}

export async function findMember(trx: Transaction, accountId: string, memberId: string): Promise<CappedMember | undefined> {
  const row = await trx
    .selectFrom('member')
    .select(['id', 'account_id as accountId'])
    .where('id', '=', memberId)
    .where('account_id', '=', accountId)
    .executeTakeFirst();
  return row;
}
