/** Leases and usage put beside budgets by hand, for tests of what becomes of them. */
import { randomBytes } from 'node:crypto';
import type { Database } from '../database/connect.ts';
import { transaction } from '../database/transaction.ts';
import { escrowOf, putSpool, writeBack } from './store.ts';

/** Grants from a budget to a spool, on its open lease there or on a new one; undefined where the limit leaves no room. */
export async function grantTo(
  db: Database,
  spoolId: string,
  grant: { readonly budgetId: string; readonly amount: number; readonly nowMs: number },
): Promise<string | undefined> {
  const { budgetId, amount, nowMs } = grant;
  await putSpool(db, { spoolId, nodeId: `nod_${spoolId}`, region: 'us' }, nowMs);
  return transaction(db, async (trx) => {
    const escrow = await escrowOf(trx, { budgetIds: [budgetId], spoolId }, { nowMs });
    if (escrow.budget(budgetId) === undefined) return undefined;
    const own = [...escrow.leases()][0]?.id;
    const leaseId = own ?? randomBytes(16).toString('hex');
    if (own === undefined) escrow.open({ id: leaseId, budgetId, spoolId });
    if (!escrow.grant(leaseId, amount)) return undefined;
    await writeBack(trx, escrow.changes(), nowMs);
    return leaseId;
  });
}

/** Charges leases as ingest does; whether all could pay. */
export async function chargeLeases(db: Database, amounts: Readonly<Record<string, bigint>>, nowMs: number): Promise<boolean> {
  return transaction(db, async (trx) => {
    const escrow = await escrowOf(trx, { leaseIds: Object.keys(amounts) }, { nowMs });
    const verdict = escrow.charge(Object.entries(amounts).map(([leaseId, amount]) => ({ leaseId, amount })));
    await writeBack(trx, escrow.changes(), nowMs);
    return verdict.charged;
  });
}

/** An hour's charges of one key. */
export async function addHourlyCharge(
  db: Database,
  usage: {
    readonly accountId: string;
    readonly memberId: string;
    readonly keyId: string;
    readonly hourMs: number;
    readonly chargeNano: bigint;
  },
): Promise<void> {
  const none = { input: 0n, cached_input: 0n, cache_write_5m: 0n, cache_write_1h: 0n, output: 0n, reasoning: 0n };
  const noMedia = {
    audio_in: 0n,
    audio_out: 0n,
    image_in: 0n,
    image_out: 0n,
    per_image: 0n,
    per_second: 0n,
    per_request: 0n,
    per_tool_call: 0n,
  };
  await db
    .insertInto('usage_hourly')
    .values({
      account_id: usage.accountId,
      hour: new Date(usage.hourMs),
      model_id: 'gpt-test',
      key_id: usage.keyId,
      member_id: usage.memberId,
      region: 'us',
      price_version: 1,
      tier_id: 'starter',
      ...none,
      ...noMedia,
      requests: 1n,
      charged_requests: 1n,
      estimated_requests: 0n,
      charge_nano: usage.chargeNano,
      list_nano: 0n,
      variance_nano: 0n,
      cost_nano: 0n,
    })
    .execute();
}
