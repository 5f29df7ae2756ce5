/** The SQL of packages, purchases and what is claimed of them. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { CreditPackage, Purchase, PurchaseClaims } from './purchase.ts';

type Reader = Database | Transaction;

/** Newest first; `beforeId` is the last number of the page before. */
export interface NumberedPage {
  readonly limit: number;
  readonly beforeId: bigint | undefined;
}

/** Cheapest first. */
export async function selectPackages(db: Reader): Promise<CreditPackage[]> {
  return db
    .selectFrom('credit_package')
    .select(['id', 'price_nano as priceNano', 'bonus_basis_points as bonusBasisPoints', 'active'])
    .orderBy('price_nano')
    .orderBy('id')
    .execute();
}

export async function findPackage(db: Reader, id: string): Promise<CreditPackage | undefined> {
  return db
    .selectFrom('credit_package')
    .select(['id', 'price_nano as priceNano', 'bonus_basis_points as bonusBasisPoints', 'active'])
    .where('id', '=', id)
    .executeTakeFirst();
}

export async function putPackage(trx: Transaction, one: CreditPackage, nowMs: number): Promise<void> {
  const content = {
    price_nano: one.priceNano,
    bonus_basis_points: one.bonusBasisPoints,
    active: one.active,
    updated_at: new Date(nowMs),
  };
  await trx
    .insertInto('credit_package')
    .values({ id: one.id, ...content })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(content))
    .execute();
}

export async function insertPurchase(trx: Transaction, purchase: Omit<Purchase, 'id'>): Promise<bigint> {
  const row = await trx
    .insertInto('credit_purchase')
    .values({
      account_id: purchase.accountId,
      package_id: purchase.packageId ?? null,
      price_nano: purchase.priceNano,
      bonus_nano: purchase.bonusNano,
      reference: purchase.reference ?? null,
      purchased_at: new Date(purchase.purchasedAtMs),
    })
    .returning('id')
    .executeTakeFirstOrThrow();
  return row.id;
}

export async function findPurchase(db: Reader, id: bigint): Promise<Purchase | undefined> {
  const row = await db.selectFrom('credit_purchase').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : purchaseOf(row);
}

export async function selectPurchases(db: Reader, accountId: string, page: NumberedPage): Promise<Purchase[]> {
  let query = db.selectFrom('credit_purchase').selectAll().where('account_id', '=', accountId).orderBy('id', 'desc').limit(page.limit);
  if (page.beforeId !== undefined) query = query.where('id', '<', page.beforeId);
  return (await query.execute()).map(purchaseOf);
}

function purchaseOf(row: {
  readonly id: bigint;
  readonly account_id: string;
  readonly package_id: string | null;
  readonly price_nano: bigint;
  readonly bonus_nano: bigint;
  readonly reference: string | null;
  readonly purchased_at: Date;
}): Purchase {
  return {
    id: row.id,
    accountId: row.account_id,
    packageId: row.package_id ?? undefined,
    priceNano: row.price_nano,
    bonusNano: row.bonus_nano,
    reference: row.reference ?? undefined,
    purchasedAtMs: row.purchased_at.getTime(),
  };
}

/** What is claimed of purchases, by purchase. */
export async function selectClaims(db: Reader, purchaseIds: readonly bigint[]): Promise<Map<bigint, PurchaseClaims>> {
  const { rows } = await sql<PurchaseClaims & { readonly id: bigint }>`
    SELECT p.id, coalesce(r.refunded, 0)::bigint AS "refundedNano", coalesce(d.lost, 0)::bigint AS "chargedBackNano",
      coalesce(d.open, false) AS "disputeOpen", coalesce(r.under_way, false) AS "refundUnderWay"
    FROM unnest(${purchaseIds}::bigint[]) AS p (id)
    LEFT JOIN LATERAL (
      SELECT sum(amount_nano) AS refunded, bool_or(state IN ('requested', 'recalling')) AS under_way
      FROM credit_refund WHERE purchase_id = p.id) r ON true
    LEFT JOIN LATERAL (
      SELECT sum(amount_nano) FILTER (WHERE state = 'lost') AS lost, bool_or(state = 'open') AS open
      FROM credit_dispute WHERE purchase_id = p.id) d ON true`.execute(db);
  return new Map(rows.map(({ id, ...claims }) => [id, claims]));
}
