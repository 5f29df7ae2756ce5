/** Finals as a node settles them, rated by the shared function, for tests of what becomes of them. */
import { hash, randomBytes } from 'node:crypto';
import { budgetId, prepaidCapId } from '@meridian/domain/budget';
import { newId } from '@meridian/domain/ids';
import type { ListPrice } from '@meridian/domain/price';
import { rate } from '@meridian/domain/rating';
import { type Final, isCharged } from '@meridian/domain/usage-record';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { UsageBatch } from './batch.ts';

/** 2 USD a million tokens in, 10 USD out. */
export const TEST_PRICE: ListPrice = {
  modelId: 'gpt-test',
  version: 3,
  effectiveFromMs: 0,
  cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 2_000_000_000n, output: 10_000_000_000n } }],
};

export const TEST_PRICES = {
  find: async (wanted: readonly { readonly modelId: string; readonly version: number }[]) =>
    wanted.some(({ modelId, version }) => modelId === TEST_PRICE.modelId && version === TEST_PRICE.version) ? [TEST_PRICE] : [],
};

export const ADMITTED_AT_MS = Date.UTC(2026, 4, 4, 12, 30);

/** The id that a node gives a request at that moment; without `nowMs` one admitted at ADMITTED_AT_MS. */
export function requestIdAt(nowMs: number = ADMITTED_AT_MS): string {
  return newId('req', { nowMs: () => nowMs, randomBytes: (count) => randomBytes(count) });
}

/** What the hourly rows of an account come to. */
export async function hourlySums(db: Database, accountId: string) {
  const { rows } = await sql<{
    requests: bigint;
    chargedRequests: bigint;
    chargeNano: bigint;
    listNano: bigint;
    writtenOffNano: bigint;
    costNano: bigint;
  }>`
    SELECT sum(requests)::bigint AS requests, sum(charged_requests)::bigint AS "chargedRequests", sum(charge_nano)::bigint AS "chargeNano",
      sum(list_nano)::bigint AS "listNano", sum(written_off_nano)::bigint AS "writtenOffNano", sum(cost_nano)::bigint AS "costNano"
    FROM usage_hourly WHERE account_id = ${accountId}`.execute(db);
  return rows[0];
}

/** A successful call of 100 tokens in and 50 out at a markup of 40 %: list 700,000, charge 980,000, cost 500,000 nano-USD. */
export function settledFinal(change: Partial<Final> & { readonly requestId: string }): Final {
  const usage = change.usage ?? { input: 100, output: 50 };
  const { outcome = 'success' } = change;
  const charge = () => rate(usage, TEST_PRICE.cards, { serviceTier: 'standard', markupBasisPoints: 4000 }).amountNano;
  return {
    admittedAtMs: ADMITTED_AT_MS,
    accountId: 'acc_1',
    memberId: 'mem_1',
    keyId: 'key_1',
    operation: 'chat',
    clientDialect: 'openai-chat',
    askedModel: 'GPT-Test',
    tierId: 'starter',
    markupBasisPoints: 4000,
    maxCostNano: 10_000_000n,
    leases: [],
    outcome,
    exactness: 'exact',
    answeringModelId: TEST_PRICE.modelId,
    askedPriceVersion: TEST_PRICE.version,
    answeringPriceVersion: TEST_PRICE.version,
    serviceTier: 'standard',
    usage,
    chargeNano: change.chargeNano ?? (isCharged({ ...change, outcome }) ? charge() : 0n),
    varianceNano: 0n,
    attempts: [
      {
        endpointId: 'end_1',
        providerId: 'openai',
        modelId: TEST_PRICE.modelId,
        status: 200,
        errorCode: undefined,
        costNano: 500_000n,
        costVersion: 1,
        durationMs: 80,
        upstreamRequestId: 'up-1',
      },
    ],
    stream: false,
    status: 200,
    errorCode: undefined,
    firstByteMs: 70,
    durationMs: 90,
    ...change,
  };
}

/** The lease that `openCredit` opens for a spool on an account's credit. */
export function creditLeaseId(spoolId: string, accountId: string): string {
  return hash('sha256', `${spoolId} ${accountId}`, 'hex').slice(0, 32);
}

/** Gives a spool a lease on the credit of each account, unless it has one. Nothing is said of the limit. */
export async function openCredit(db: Database, spoolId: string, accountIds: readonly string[], granted = 10 ** 11): Promise<void> {
  const accounts = [...new Set(accountIds)].toSorted();
  const capIds = accounts.map(prepaidCapId);
  const budgetIds = capIds.map((capId) => budgetId({ capId, windowStartMs: 0 }));
  await sql`
    INSERT INTO lease_spool (spool_id, node_id, region, last_seen_at) VALUES (${spoolId}, 'nod_1', 'us', now())
    ON CONFLICT DO NOTHING`.execute(db);
  await sql`
    INSERT INTO budget (id, cap_id, window_start_ms, account_id, unit, limit_amount)
    SELECT id, cap_id, 0, account_id, 'nano_usd', 0
    FROM unnest(${budgetIds}::text[], ${capIds}::text[], ${accounts}::text[]) AS given (id, cap_id, account_id)
    ON CONFLICT DO NOTHING`.execute(db);
  await sql`
    WITH opened AS (
      INSERT INTO lease (id, budget_id, spool_id, node_id, region, granted, returned, used, written_off, opened_at)
      SELECT id, budget_id, ${spoolId}, 'nod_1', 'us', ${granted}, 0, 0, 0, now()
      FROM unnest(${accounts.map((accountId) => creditLeaseId(spoolId, accountId))}::text[], ${budgetIds}::text[]) AS given (id, budget_id)
      ON CONFLICT DO NOTHING RETURNING budget_id)
    UPDATE budget SET held = held + ${granted} FROM opened WHERE id = budget_id`.execute(db);
}

/** The final as a node writes it that has a lease on the account's credit. */
export function paidFromCredit(spoolId: string, final: Final): Final {
  return { ...final, leases: [{ leaseId: creditLeaseId(spoolId, final.accountId), amount: final.chargeNano }] };
}

/** The batch with every charge that names no lease taken from a lease of its spool, which is opened first. */
export async function withCredit(db: Database, batch: UsageBatch): Promise<UsageBatch> {
  const accountIds: string[] = [];
  const records = batch.records.map((record) => {
    if (!('final' in record) || record.final.chargeNano <= 0n || record.final.leases.length > 0) return record;
    accountIds.push(record.final.accountId);
    return { ...record, final: paidFromCredit(batch.spoolId, record.final) };
  });
  if (accountIds.length > 0) await openCredit(db, batch.spoolId, accountIds);
  return { ...batch, records };
}
