/** The SQL of promotions, of who redeemed them, and of addresses that had their trial. */
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Promotion, PromotionTerms } from './promotion.ts';

/** By name. */
export async function selectPromotions(db: Database): Promise<Promotion[]> {
  return (await db.selectFrom('credit_promotion').selectAll().orderBy('id').execute()).map(promotionOf);
}

/** Locks a promotion: what it gives to all accounts together is counted in its row. After the wallet. */
export async function lockPromotion(trx: Transaction, id: string): Promise<Promotion | undefined> {
  const row = await trx.selectFrom('credit_promotion').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : promotionOf(row);
}

export async function putPromotion(trx: Transaction, terms: PromotionTerms, nowMs: number): Promise<Promotion> {
  const { gives } = terms;
  const content = {
    amount_nano: 'amountNano' in gives ? gives.amountNano : null,
    basis_points: 'basisPoints' in gives ? gives.basisPoints : null,
    starts_at: terms.startsAtMs === undefined ? null : new Date(terms.startsAtMs),
    ends_at: terms.endsAtMs === undefined ? null : new Date(terms.endsAtMs),
    budget_nano: terms.budgetNano ?? null,
    active: terms.active,
    updated_at: new Date(nowMs),
  };
  const row = await trx
    .insertInto('credit_promotion')
    .values({ id: terms.id, kind: 'code', ...content })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(content))
    .returningAll()
    .executeTakeFirstOrThrow();
  return promotionOf(row);
}

/** What a promotion gave to an account; undefined when it gave nothing yet. */
export async function findRedemption(db: Database | Transaction, promotionId: string, accountId: string): Promise<bigint | undefined> {
  const row = await db
    .selectFrom('credit_redemption')
    .select('amount_nano')
    .where('promotion_id', '=', promotionId)
    .where('account_id', '=', accountId)
    .executeTakeFirst();
  return row?.amount_nano;
}

/** Writes down what a locked promotion gave to an account. */
export async function insertRedemption(
  trx: Transaction,
  given: { readonly promotionId: string; readonly accountId: string; readonly amountNano: bigint },
  nowMs: number,
): Promise<void> {
  await trx
    .insertInto('credit_redemption')
    .values({
      promotion_id: given.promotionId,
      account_id: given.accountId,
      amount_nano: given.amountNano,
      redeemed_at: new Date(nowMs),
    })
    .execute();
  await trx
    .updateTable('credit_promotion')
    .set((eb) => ({ given_nano: eb('given_nano', '+', given.amountNano) }))
    .where('id', '=', given.promotionId)
    .execute();
}

/** Whether the address had no trial yet. Waits for a transaction that is claiming it. */
export async function claimAddress(trx: Transaction, hash: Uint8Array, accountId: string, nowMs: number): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await trx
    .insertInto('credit_trial_address')
    .values({ address_hash: hash, account_id: accountId, granted_at: new Date(nowMs) })
    .onConflict((conflict) => conflict.column('address_hash').doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

function promotionOf(row: {
  readonly id: string;
  readonly kind: string;
  readonly amount_nano: bigint | null;
  readonly basis_points: number | null;
  readonly starts_at: Date | null;
  readonly ends_at: Date | null;
  readonly budget_nano: bigint | null;
  readonly given_nano: bigint;
  readonly active: boolean;
}): Promotion {
  return {
    id: row.id,
    kind: row.kind === 'trial' ? 'trial' : 'code',
    // The table holds one of the two.
    gives: row.amount_nano === null ? { basisPoints: row.basis_points ?? 0 } : { amountNano: row.amount_nano },
    startsAtMs: row.starts_at?.getTime(),
    endsAtMs: row.ends_at?.getTime(),
    budgetNano: row.budget_nano ?? undefined,
    givenNano: row.given_nano,
    active: row.active,
  };
}
