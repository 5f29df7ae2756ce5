/** Usage as nodes report it: ingested exactly once, charged, summed, and read back. */
import { GatewayError } from '@meridian/domain/error';
import type { Nano } from '@meridian/domain/money';
import type { ListPrice } from '@meridian/domain/price';
import type { Exactness, Usage } from '@meridian/domain/usage';
import type { Attempt, Outcome } from '@meridian/domain/usage-record';
import type { Database } from '../database/connect.ts';
import { sqlState, type Transaction, transaction } from '../database/transaction.ts';
import type { Posting } from '../ledger/ledger.ts';
import { spend } from '../ledger/service.ts';
import { assertBatch, type BatchRecord, SequenceGapError, type UsageBatch } from './batch.ts';
import * as store from './store.ts';
import { faultOf, faultOfRating, type RatedFinal, rateFinal, sumBatch, type UsageQuery, type UsageRow } from './usage.ts';

const MAX_CACHED_PRICES = 10_000;
/** A table for a spreadsheet, and one row that tells that there are more. */
const MAX_USAGE_ROWS = 10_001;
const PARTITION_DAYS_AHEAD = 7;

/** Where list prices are looked up; the price book satisfies it. */
export interface ListPrices {
  /** The versions that exist among those asked for. They never change, so they are remembered. */
  find(wanted: readonly { readonly modelId: string; readonly version: number }[]): Promise<readonly ListPrice[]>;
}

/** Something that must not happen, found in a batch that was committed all the same. */
export type UsageAlarm =
  | { readonly kind: 'rating_mismatch'; readonly requestId: string; readonly chargedNano: Nano; readonly ratedNano: Nano | undefined }
  | { readonly kind: 'duplicate_differs'; readonly requestId: string }
  | { readonly kind: 'dead_letter'; readonly spoolId: string; readonly seq: number; readonly reason: string }
  | { readonly kind: 'shortfall'; readonly accountId: string; readonly shortfallNano: Nano }
  | { readonly kind: 'variance'; readonly requestId: string; readonly varianceNano: Nano }
  | { readonly kind: 'records_lost'; readonly spoolId: string; readonly firstSeq: number; readonly lastSeq: number };

export interface UsageDependencies {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  readonly prices: ListPrices;
  /** Called after the commit. */
  readonly onAlarm: (alarm: UsageAlarm) => void;
}

/** What a spool folder still holds of one incarnation. */
export interface Retained {
  readonly incarnation: bigint;
  readonly firstSeq: number;
  readonly lastSeq: number;
}

export interface Acked {
  readonly incarnation: bigint;
  readonly ackedSeq: number;
}

/** What became of one request: what the customer may see of it, and our cost. */
export interface Receipt {
  readonly requestId: string;
  readonly admittedAtMs: number;
  readonly region: string;
  readonly keyId: string;
  readonly memberId: string;
  readonly operation: string;
  readonly askedModel: string;
  readonly answeringModelId: string | undefined;
  readonly outcome: Outcome;
  readonly exactness: Exactness;
  readonly units: Usage;
  readonly serviceTier: string;
  /** Of the answering model; 0 where nothing answered. */
  readonly listPriceVersion: number;
  readonly tierId: string;
  readonly markupBasisPoints: number;
  readonly maxCostNano: Nano;
  readonly chargeNano: Nano;
  readonly attempts: readonly Attempt[];
  readonly stream: boolean;
  readonly status: number;
  readonly errorCode: string | undefined;
  readonly firstByteMs: number;
  readonly durationMs: number;
}

export interface UsageService {
  /**
   * Ingests a batch in one transaction and returns, once it is committed, what is acknowledged. A batch that was ingested before, or
   * partly, is skipped as far as it was. Throws `SequenceGapError` when records before it are missing: close the stream.
   * It never fails on money or on a bad record (those become dead letters).
   */
  ingestBatch(batch: UsageBatch): Promise<{ readonly ackedSeq: number }>;
  /**
   * What is acknowledged of each incarnation that a spool still holds (0 for a new one). Where its oldest record is beyond the next
   * one awaited, the records between are lost: that is recorded, and the cursor moves on.
   */
  open(spool: Pick<UsageBatch, 'spoolId' | 'nodeId' | 'region'> & { readonly retained: readonly Retained[] }): Promise<Acked[]>;
  /** All cursors of a spool. */
  cursors(spoolId: string): Promise<Acked[]>;
  /** Sums by day, model, key, member, region, from the hourly rows; at most 10,001 rows. */
  listUsage(query: UsageQuery): Promise<UsageRow[]>;
  /** Throws `not_found` when the account has no such request (or its usage has not arrived yet). */
  receipt(accountId: string, requestId: string): Promise<Receipt>;
  /** List amount of charged calls by account over whole hours: spend before any markup, what volume tiers are valued from. */
  listSpend(window: { readonly fromMs: number; readonly toMs: number }): Promise<{ accountId: string; listNano: Nano }[]>;
  /** What an account's calls cost us without a charge, by day (UTC). */
  unchargedCost(accountId: string, fromMs: number): Promise<{ day: string; costNano: Nano }[]>;
  /** Makes the partitions of the next seven days. Call it at the start and hourly; a lack is survived by a default partition. */
  makePartitions(): Promise<number>;
}

export function createUsageService(dependencies: UsageDependencies): UsageService {
  const { db, clock } = dependencies;
  const prices = rememberPrices(dependencies.prices);
  return {
    ingestBatch: async (batch) => {
      assertBatch(batch);
      const sorted = await sortRecords(batch.records, prices);
      const { ackedSeq, alarms } = await ingest(db, clock.nowMs(), batch, sorted);
      for (const alarm of alarms) dependencies.onAlarm(alarm);
      return { ackedSeq };
    },
    open: async ({ retained, ...spool }) => {
      const opened = await transaction(db, (trx) => open(trx, clock.nowMs(), spool, retained));
      for (const alarm of opened.flatMap((each) => each.alarms)) dependencies.onAlarm(alarm);
      return opened.map(({ incarnation, ackedSeq }) => ({ incarnation, ackedSeq }));
    },
    cursors: (spoolId) => store.selectCursors(db, spoolId),
    listUsage: (query) => store.selectUsage(db, { ...query, limit: Math.min(query.limit, MAX_USAGE_ROWS) }),
    receipt: async (accountId, requestId) => {
      const event = await store.selectEvent(db, accountId, requestId);
      if (event === undefined) throw new GatewayError('not_found', { message: 'There is no usage of such a request.' });
      return receiptOf(event);
    },
    listSpend: (window) => store.selectListSpend(db, window),
    unchargedCost: (accountId, fromMs) => store.selectUncharged(db, accountId, fromMs),
    makePartitions: () => store.makePartitions(db, clock.nowMs(), PARTITION_DAYS_AHEAD),
  };
}

/** A batch's records, told apart before any row is locked. */
interface SortedRecords {
  readonly rated: readonly RatedFinal[];
  readonly letters: readonly store.DeadLetter[];
}

type FindPrice = (modelId: string, version: number) => ListPrice | undefined;
type Prices = (wanted: readonly { readonly modelId: string; readonly version: number }[]) => Promise<FindPrice>;

async function sortRecords(records: readonly BatchRecord[], prices: Prices): Promise<SortedRecords> {
  const letters: store.DeadLetter[] = [];
  const sound: Omit<RatedFinal, 'rating'>[] = [];
  for (const record of records) {
    if ('unreadable' in record) {
      letters.push({ seq: record.seq, ...record.unreadable });
      continue;
    }
    // Leases are not counted yet.
    if ('lease' in record) continue;
    const fault = faultOf(record.final);
    if (fault === undefined) sound.push(record);
    else letters.push(deadLetter(record, fault));
  }
  const named = sound.flatMap(({ final }) =>
    final.answeringModelId === undefined ? [] : [{ modelId: final.answeringModelId, version: final.answeringPriceVersion }],
  );
  const find = await prices(named);
  const rated: RatedFinal[] = [];
  for (const { seq, final } of sound) {
    const price = final.answeringModelId === undefined ? undefined : find(final.answeringModelId, final.answeringPriceVersion);
    const rating = rateFinal(final, price);
    const fault = faultOfRating(rating);
    if (fault === undefined) rated.push({ seq, final, rating });
    else letters.push(deadLetter({ seq, final }, fault));
  }
  return { rated, letters };
}

function deadLetter({ seq, final }: Pick<RatedFinal, 'seq' | 'final'>, reason: string): store.DeadLetter {
  const { accountId, requestId, chargeNano, leases } = final;
  return { seq, reason, accountId, requestId, chargeNano, leases, payload: store.finalPayload(final) };
}

interface Ingested {
  readonly ackedSeq: number;
  readonly alarms: readonly UsageAlarm[];
}

/**
 * If the database refuses the data of the whole, each record is tried alone, so that one that no check of ours foresaw becomes a dead
 * letter and does not stop the spool.
 */
async function ingest(db: Database, nowMs: number, batch: UsageBatch, sorted: SortedRecords): Promise<Ingested> {
  try {
    return await transaction(db, (trx) => ingestIn(trx, nowMs, batch, sorted, false));
  } catch (error) {
    if (!isRefusedData(error)) throw error;
    return transaction(db, (trx) => ingestIn(trx, nowMs, batch, sorted, true));
  }
}

/** SQLSTATE class 22 (data exception), not-null and check violations: the data's own fault, which no repetition cures. */
function isRefusedData(error: unknown): boolean {
  const state = sqlState(error) ?? '';
  return state.startsWith('22') || state === '23502' || state === '23514';
}

/** The one transaction. Locks in the order cursor, balances, hourly rows, each by id. */
async function ingestIn(trx: Transaction, nowMs: number, batch: UsageBatch, sorted: SortedRecords, eachAlone: boolean): Promise<Ingested> {
  const acked = await store.lockCursor(trx, batch, nowMs);
  if (batch.lastSeq <= acked) return { ackedSeq: acked, alarms: [] };
  if (batch.firstSeq > acked + 1) throw new SequenceGapError(acked + 1, batch.firstSeq);
  const step = { kind: 'ingested', firstSeq: acked + 1, lastSeq: batch.lastSeq } as const;
  const batchId = await store.insertBatch(trx, batch, step, nowMs);
  const letters = sorted.letters.filter(({ seq }) => seq > acked);
  let fresh = sorted.rated.filter(({ seq }) => seq > acked);
  if (eachAlone) fresh = await withoutRefused(trx, batchId, batch.region, fresh, letters);

  const inserted = fresh.length > 0 ? await store.insertEvents(trx, batchId, batch.region, fresh) : new Set<number>();
  const counted = fresh.filter(({ seq }) => inserted.has(seq));
  const duplicates = fresh.filter(({ seq }) => !inserted.has(seq));
  const differing = duplicates.length > 0 ? await store.insertDuplicates(trx, batchId, duplicates) : new Set<number>();
  const mismatched = counted.filter(({ final, rating }) => rating.ratedNano !== final.chargeNano);
  if (mismatched.length > 0) await store.insertMismatches(trx, batchId, mismatched);
  if (letters.length > 0) await store.insertDeadLetters(trx, batchId, letters);

  const sums = sumBatch(counted);
  const platform = platformPostings(batchId, sums.costNano, sums.varianceNano);
  const { shortfalls } = await spend(trx, { batchId, postedAtMs: nowMs, charges: sums.charges, platform });
  if (sums.hourly.length > 0) await store.addHourly(trx, batch.region, sums.hourly);
  if (sums.uncharged.length > 0) await store.addUncharged(trx, sums.uncharged);
  await store.advanceCursor(trx, batch, batch.lastSeq, nowMs);

  const alarms: UsageAlarm[] = [
    ...mismatched.map(({ final, rating }) => {
      const { requestId, chargeNano } = final;
      return { kind: 'rating_mismatch' as const, requestId, chargedNano: chargeNano, ratedNano: rating.ratedNano };
    }),
    ...duplicates
      .filter(({ seq }) => differing.has(seq))
      .map(({ final }) => ({ kind: 'duplicate_differs' as const, requestId: final.requestId })),
    ...letters.map(({ seq, reason }) => ({ kind: 'dead_letter' as const, spoolId: batch.spoolId, seq, reason })),
    ...shortfalls.map((shortfall) => ({ kind: 'shortfall' as const, ...shortfall })),
    ...counted
      .filter(({ final }) => final.varianceNano > 0n)
      .map(({ final }) => ({ kind: 'variance' as const, requestId: final.requestId, varianceNano: final.varianceNano })),
  ];
  return { ackedSeq: batch.lastSeq, alarms };
}

/** Tries each final alone; those that the database refuses join the dead letters. */
async function withoutRefused(
  trx: Transaction,
  batchId: bigint,
  region: string,
  finals: readonly RatedFinal[],
  letters: store.DeadLetter[],
): Promise<RatedFinal[]> {
  const accepted: RatedFinal[] = [];
  for (const rated of finals) {
    const refusal = await store.refusalOf(trx, batchId, region, rated);
    if (refusal === undefined) accepted.push(rated);
    else if (isRefusedData(refusal)) letters.push(deadLetter(rated, `refused by the database: ${refusal.message}`));
    else throw refusal;
  }
  return accepted;
}

/** What the batch's calls cost us is owed to the providers; usage above max_cost is revenue that we pay ourselves. */
function platformPostings(batchId: bigint, costNano: Nano, varianceNano: Nano): Posting[] {
  const common = { accountId: undefined, batchId, reference: undefined };
  const cost: Posting = { code: 'upstream_cost', debit: 'upstream_cost', credit: 'provider_payable', amountNano: costNano, ...common };
  const variance: Posting = { code: 'variance', debit: 'variance', credit: 'revenue', amountNano: varianceNano, ...common };
  return [cost, variance].filter((posting) => posting.amountNano > 0n);
}

async function open(
  trx: Transaction,
  nowMs: number,
  spool: Pick<UsageBatch, 'spoolId' | 'nodeId' | 'region'>,
  retained: readonly Retained[],
): Promise<(Acked & { alarms: UsageAlarm[] })[]> {
  const opened: (Acked & { alarms: UsageAlarm[] })[] = [];
  // Cursors are locked in one order, as every set of rows is.
  const inOrder = retained.toSorted((a, b) => (a.incarnation < b.incarnation ? -1 : 1));
  for (const { incarnation, firstSeq } of inOrder) {
    const span = { ...spool, incarnation };
    const acked = await store.lockCursor(trx, span, nowMs);
    if (firstSeq <= acked + 1) {
      opened.push({ incarnation, ackedSeq: acked, alarms: [] });
      continue;
    }
    const lost = { firstSeq: acked + 1, lastSeq: firstSeq - 1 };
    await store.insertBatch(trx, span, { kind: 'lost', ...lost }, nowMs);
    await store.advanceCursor(trx, span, lost.lastSeq, nowMs);
    opened.push({ incarnation, ackedSeq: lost.lastSeq, alarms: [{ kind: 'records_lost', spoolId: spool.spoolId, ...lost }] });
  }
  return opened;
}

/** Remembers the prices it has found, up to a number; what is not found is asked for again next time. */
function rememberPrices(source: ListPrices): Prices {
  const known = new Map<string, ListPrice>();
  const keyOf = (modelId: string, version: number) => `${version} ${modelId}`;
  return async (wanted) => {
    const missing = new Map(
      wanted.filter(({ modelId, version }) => !known.has(keyOf(modelId, version))).map((ref) => [keyOf(ref.modelId, ref.version), ref]),
    );
    if (missing.size > 0) {
      const found = await source.find([...missing.values()].map(({ modelId, version }) => ({ modelId, version })));
      if (known.size + found.length > MAX_CACHED_PRICES) known.clear();
      for (const price of found) known.set(keyOf(price.modelId, price.version), price);
    }
    return (modelId, version) => known.get(keyOf(modelId, version));
  };
}

function receiptOf(event: NonNullable<Awaited<ReturnType<typeof store.selectEvent>>>): Receipt {
  return {
    requestId: event.request_id,
    admittedAtMs: event.admitted_at.getTime(),
    region: event.region,
    keyId: event.key_id,
    memberId: event.member_id,
    operation: event.operation,
    askedModel: event.asked_model,
    answeringModelId: event.answering_model_id ?? undefined,
    // Only ingest writes these columns, from values of these types.
    outcome: event.outcome as Outcome,
    exactness: event.exactness as Exactness,
    units: event.usage as Usage,
    serviceTier: event.service_tier,
    listPriceVersion: event.answering_price_version,
    tierId: event.tier_id,
    markupBasisPoints: event.markup_basis_points,
    maxCostNano: event.max_cost_nano,
    chargeNano: event.charge_nano,
    attempts: store.readAttempts(event.attempts),
    stream: event.stream,
    status: event.status,
    errorCode: event.error_code ?? undefined,
    firstByteMs: Number(event.first_byte_ms),
    durationMs: Number(event.duration_ms),
  };
}
