/** The SQL of API keys. */
import type { Denial } from '@meridian/domain/snapshot';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import type { Transaction } from '../database/transaction.ts';
import { versionAfter } from '../snapshots/version.ts';
import type { KeyRow } from './key.ts';

const NEXT_VERSION = sql<number>`version + 1`;

/** Whose keys are meant: all of an account, or those of one of its members. */
export interface KeyScope {
  readonly accountId: string;
  readonly memberId: string | undefined;
}

/** Serialises the making of a member's keys, so that two requests cannot both be the tenth. False for one who may not act any more. */
export async function lockMember(trx: Transaction, scope: { readonly accountId: string; readonly memberId: string }): Promise<boolean> {
  const row = await trx
    .selectFrom('member')
    .select('id')
    .where('id', '=', scope.memberId)
    .where('account_id', '=', scope.accountId)
    .where('status', '=', 'active')
    .forUpdate()
    .executeTakeFirst();
  return row !== undefined;
}

export async function countActive(trx: Transaction, memberId: string, now: Date): Promise<number> {
  const { count } = await trx
    .selectFrom('api_key')
    .select((eb) => eb.fn.countAll<bigint>().as('count'))
    .where('member_id', '=', memberId)
    .where('status', '=', 'active')
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** Rate limits are JSON text. */
interface RateTexts {
  readonly rate_limits: string | null;
  readonly model_rate_limits: string | null;
}

export function insertKey(trx: Transaction, key: Omit<KeyRow, 'version' | 'revoked_at' | keyof RateTexts> & RateTexts): Promise<KeyRow> {
  return trx.insertInto('api_key').values(key).returningAll().executeTakeFirstOrThrow();
}

export function findKey(db: Database | Transaction, scope: KeyScope, id: string): Promise<KeyRow | undefined> {
  return scoped(db, scope).where('id', '=', id).executeTakeFirst();
}

export function lockKey(trx: Transaction, scope: KeyScope, id: string): Promise<KeyRow | undefined> {
  return scoped(trx, scope).where('id', '=', id).forUpdate().executeTakeFirst();
}

export function findKeyByHash(db: Database, hash: string): Promise<KeyRow | undefined> {
  return db.selectFrom('api_key').selectAll().where('hash', '=', hash).executeTakeFirst();
}

/** Newest first; one row more than the page holds, if there is one. */
export function listKeys(db: Database, scope: KeyScope, page: Page, withRevoked: boolean): Promise<KeyRow[]> {
  let query = scoped(db, scope)
    .orderBy('id', 'desc')
    .limit(page.limit + 1);
  if (page.after !== undefined) query = query.where('id', '<', page.after);
  if (!withRevoked) query = query.where('status', '!=', 'revoked');
  return query.execute();
}

export function updateKey(
  trx: Transaction,
  id: string,
  change: {
    readonly name?: string;
    readonly expires_at?: Date | null;
    readonly allowed_models?: string[];
    readonly allowed_regions?: string[];
    readonly rate_limits?: string | null;
    readonly model_rate_limits?: string | null;
    readonly status?: KeyRow['status'];
    readonly revoked_at?: Date;
  },
): Promise<KeyRow> {
  return trx
    .updateTable('api_key')
    .set({ ...change, version: NEXT_VERSION })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Revokes what is not revoked yet, locked in the order of their ids. */
export async function revokeKeysOfMember(
  trx: Transaction,
  { accountId, memberId }: { readonly accountId: string; readonly memberId: string },
  now: Date,
): Promise<KeyRow[]> {
  return trx
    .with('locked', (cte) =>
      cte
        .selectFrom('api_key')
        .select('id')
        .where('account_id', '=', accountId)
        .where('member_id', '=', memberId)
        .where('status', '!=', 'revoked')
        .orderBy('id')
        .forUpdate(),
    )
    .updateTable('api_key')
    .from('locked')
    .set({ status: 'revoked', revoked_at: now, version: sql<number>`api_key.version + 1` })
    .whereRef('api_key.id', '=', 'locked.id')
    .returningAll('api_key')
    .execute();
}

/** Revokes or disables those keys that are not refused as strictly, locked in the order of their ids, and returns them. */
export async function denyKeys(trx: Transaction, denials: readonly Denial[], now: Date): Promise<KeyRow[]> {
  const { rows } = await sql<KeyRow>`
    WITH told AS (
      SELECT * FROM unnest(${denials.map(({ id }) => id)}::text[], ${denials.map(({ version }) => version)}::bigint[],
        ${denials.map(({ status }) => status)}::text[]) AS t (id, version, status)),
    locked AS (
      SELECT k.id FROM api_key k JOIN told USING (id)
      WHERE k.status = 'active' OR (k.status = 'disabled' AND told.status = 'revoked') ORDER BY k.id FOR UPDATE OF k)
    UPDATE api_key SET status = told.status, version = ${versionAfter(sql`api_key.version`, sql`told.version`)},
      revoked_at = CASE WHEN told.status = 'revoked' THEN ${now}::timestamptz END
    FROM locked JOIN told USING (id) WHERE api_key.id = locked.id RETURNING api_key.*`.execute(trx);
  return rows;
}

function scoped(db: Database | Transaction, scope: KeyScope) {
  const query = db.selectFrom('api_key').selectAll().where('account_id', '=', scope.accountId);
  return scope.memberId === undefined ? query : query.where('member_id', '=', scope.memberId);
}
