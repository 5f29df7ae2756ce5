/** One batch's transaction: from the cursor's lock to what is acknowledged. */
import { type BudgetBook, budgetId } from '@meridian/domain/budget';
import { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Nano } from '@meridian/domain/money';
import type { ListPrice } from '@meridian/domain/price';
import { LEAST_UNCHARGED_CEILING_NANO } from '@meridian/domain/uncharged-ceiling';
import type { LeaseAmount } from '@meridian/domain/usage-record';
import { escrowOf, writeBack } from '../budgets/books.ts';
import { Escrow } from '../budgets/escrow.ts';
import type { Database } from '../database/connect.ts';
import { sqlState, type Transaction, transaction } from '../database/transaction.ts';
import type { Posting } from '../ledger/ledger.ts';
import { spend } from '../ledger/service.ts';
import type { SignOfRestore, UsageAlarm } from './alarm.ts';
import { type BatchRecord, SequenceGapError, type UsageBatch } from './batch.ts';
import { type Settlement, type SettlementAlarm, type SettlementRecord, settle } from './settlement.ts';
import * as store from './store.ts';
import { type CountedFinal, faultOf, type RatedFinal, rateFinal, sumBatch } from './usage.ts';

/** Tries to find which finals can be charged while others change the same leases. */
const MAX_SETTLEMENTS = 5;
const LEASE_ID = /^[0-9a-f]{32}$/;

/** A batch's records, told apart before any row is locked; each list in the order of its seqs. */
export interface SortedRecords {
  readonly rated: readonly RatedFinal[];
  readonly letters: readonly store.DeadLetter[];
  readonly leases: readonly LeaseRecordAt[];
}

export interface LeaseRecordAt {
  readonly seq: number;
  readonly lease: LeaseRecord;
}

export type FindPrice = (modelId: string, version: number) => ListPrice | undefined;
export type Prices = (wanted: readonly { readonly modelId: string; readonly version: number }[]) => Promise<FindPrice>;

export async function sortRecords(records: readonly BatchRecord[], prices: Prices): Promise<SortedRecords> {
  const letters: store.DeadLetter[] = [];
  const leases: LeaseRecordAt[] = [];
  const sound: Omit<RatedFinal, 'rating'>[] = [];
  for (const record of records) {
    if ('unreadable' in record) {
      letters.push({ seq: record.seq, ...record.unreadable });
      continue;
    }
    if ('lease' in record) {
      leases.push(record);
      continue;
    }
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
    rated.push({ seq, final, rating: rateFinal(final, price) });
  }
  return { rated, letters, leases };
}

function deadLetter({ seq, final }: Pick<RatedFinal, 'seq' | 'final'>, reason: string): store.DeadLetter {
  const { accountId, requestId, chargeNano, leases } = final;
  return { seq, reason, accountId, requestId, chargeNano, leases, payload: store.finalPayload(final) };
}

/** What one transaction has to do. */
export interface Work {
  readonly batch: UsageBatch;
  readonly sorted: SortedRecords;
  readonly dbEpoch: string | undefined;
  readonly nowMs: number;
}

export interface Ingested {
  readonly ackedSeq: number;
  readonly alarms: readonly UsageAlarm[];
  /** Accounts whose uncharged cost of a day this raised, and that may be above their ceiling of it. */
  readonly uncharged: readonly store.UnchargedDay[];
  /** Budgets that this changed, on which more is settled and held than their limit allows now; by `budgetId`. */
  readonly overdrawn: readonly string[];
}

/** Rolls back a batch which says more of a lease than the database knows. */
class BehindError extends Error {
  readonly sign: SignOfRestore;

  constructor(sign: SignOfRestore) {
    super(sign.reason);
    this.name = 'BehindError';
    this.sign = sign;
  }
}

/** A node that was granted what is not known here had it from a database that was set back since: nothing is charged before that is said. */
export async function ingestUnlessBehind(
  db: Database,
  work: Work,
  onBehind: ((sign: SignOfRestore) => Promise<boolean>) | undefined,
): Promise<Ingested> {
  if (onBehind === undefined) return ingest(db, work, { watchful: false });
  try {
    return await ingest(db, work, { watchful: true });
  } catch (error) {
    if (!(error instanceof BehindError)) throw error;
    if (await onBehind(error.sign)) throw new GatewayError('overloaded', { message: error.message, retryAfterSeconds: 1 });
    return ingest(db, work, { watchful: false });
  }
}

/**
 * If the database refuses the data of the whole, each record is tried alone, so that one that no check of ours foresaw becomes a dead
 * letter and does not stop the spool.
 */
async function ingest(db: Database, work: Work, { watchful }: { readonly watchful: boolean }): Promise<Ingested> {
  try {
    return await transaction(db, (trx) => ingestIn(trx, work, { watchful, eachAlone: false }));
  } catch (error) {
    if (!isRefusedData(error)) throw error;
    return transaction(db, (trx) => ingestIn(trx, work, { watchful, eachAlone: true }));
  }
}

/** SQLSTATE class 22 (data exception), not-null and check violations: the data's own fault, which no repetition cures. */
function isRefusedData(error: unknown): boolean {
  const state = sqlState(error) ?? '';
  return state.startsWith('22') || state === '23502' || state === '23514';
}

/**
 * The one transaction. Locks in the order cursor, events, budgets with their leases, balances, hourly rows, each by id. A busy
 * account's rows are locked late, so that what its nodes ask for meanwhile does not wait for a batch to be inserted.
 */
async function ingestIn(
  trx: Transaction,
  { batch, sorted, dbEpoch, nowMs }: Work,
  how: { readonly watchful: boolean; readonly eachAlone: boolean },
): Promise<Ingested> {
  const cursor = await store.lockCursor(trx, batch, nowMs);
  if (dbEpoch !== undefined && cursor.dbEpoch !== dbEpoch) {
    throw new GatewayError('overloaded', { message: 'The database was restored since.', retryAfterSeconds: 1 });
  }
  const acked = cursor.ackedSeq;
  if (batch.lastSeq <= acked) return { ackedSeq: acked, alarms: [], uncharged: [], overdrawn: [] };
  if (batch.firstSeq > acked + 1) throw new SequenceGapError(acked + 1, batch.firstSeq);
  const step = { kind: 'ingested', firstSeq: acked + 1, lastSeq: batch.lastSeq } as const;
  const batchId = await store.insertBatch(trx, batch, step, nowMs);
  const letters = sorted.letters.filter(({ seq }) => seq > acked);
  const leases = sorted.leases.filter(({ seq }) => seq > acked);
  let fresh = sorted.rated.filter(({ seq }) => seq > acked);
  if (how.eachAlone) fresh = await withoutRefused(trx, batchId, batch.region, fresh, letters);

  const { counted, duplicates, escrow, settlement } = await settleBatch(trx, { batch, batchId, nowMs, fresh, letters, leases });
  const ahead = settlement.alarms.find((alarm) => alarm.kind === 'lease_ahead');
  if (how.watchful && ahead !== undefined) throw new BehindError({ ...signOf(ahead), dbEpoch: cursor.dbEpoch });
  const differing = duplicates.length > 0 ? await store.insertDuplicates(trx, batchId, duplicates) : new Set<number>();
  const mismatched = counted.filter(({ final, rating }) => rating.ratedNano !== final.chargeNano);
  if (mismatched.length > 0) await store.insertMismatches(trx, batchId, mismatched);
  if (letters.length > 0) await store.insertDeadLetters(trx, batchId, letters);

  const changes = escrow.changes();
  await writeBack(trx, changes, nowMs);
  const sums = sumBatch(counted);
  const { shortfalls } = await spend(trx, {
    batchId,
    postedAtMs: nowMs,
    charges: sums.charges,
    platform: platformPostings(batchId, sums),
  });
  if (sums.hourly.length > 0) await store.addHourly(trx, batch.region, sums.hourly);
  const uncharged = sums.uncharged.length > 0 ? await store.addUncharged(trx, sums.uncharged) : [];
  await store.advanceCursor(trx, batch, batch.lastSeq, nowMs);

  const alarms: UsageAlarm[] = [
    ...settlement.alarms,
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
    ...counted
      .filter(({ rating }) => rating.unpriced.length > 0)
      .map(({ final, rating }) => {
        const { requestId, answeringModelId: modelId = '' } = final;
        return { kind: 'unpriced' as const, requestId, modelId, meters: rating.unpriced };
      }),
  ];
  const overdrawn = changes.budgets.filter(isOverdrawn).map(({ ref }) => budgetId(ref));
  return {
    ...{ ackedSeq: batch.lastSeq, alarms, overdrawn },
    uncharged: uncharged.filter(({ costNano }) => costNano > LEAST_UNCHARGED_CEILING_NANO),
  };
}

function isOverdrawn({ limit, settled, held }: BudgetBook): boolean {
  return held > 0 && settled + held > limit;
}

function signOf({ leaseId, nodeGranted, granted }: Extract<SettlementAlarm, { kind: 'lease_ahead' }>) {
  return { key: `lease ${leaseId} ${nodeGranted}`, reason: `lease ${leaseId} was granted ${nodeGranted}, and ${granted} is known` };
}

interface ToSettle {
  readonly batch: UsageBatch;
  readonly batchId: bigint;
  readonly nowMs: number;
  readonly fresh: readonly RatedFinal[];
  readonly letters: readonly store.DeadLetter[];
  readonly leases: readonly LeaseRecordAt[];
}

interface Settled {
  readonly counted: readonly CountedFinal[];
  readonly duplicates: readonly RatedFinal[];
  /** Changed, and not written back. */
  readonly escrow: Escrow;
  readonly settlement: Settlement;
}

/**
 * Inserts the events and settles them on their leases. An event is never changed, and only the locked leases tell which are charged to
 * nobody, which is almost none: so all are inserted as charged, and if that was wrong, once more as it has come out.
 */
async function settleBatch(trx: Transaction, work: ToSettle): Promise<Settled> {
  let refusals: ReadonlyMap<number, string> = new Map();
  for (let attempt = 1; attempt <= MAX_SETTLEMENTS; attempt++) {
    await store.markBeforeEvents(trx);
    const finals = work.fresh.map((rated) => ({ ...rated, refusal: refusals.get(rated.seq) }));
    const inserted = finals.length > 0 ? await store.insertEvents(trx, work.batchId, work.batch.region, finals) : new Set<number>();
    const counted = finals.filter(({ seq }) => inserted.has(seq));
    const duplicates = work.fresh.filter(({ seq }) => !inserted.has(seq));
    const records = [
      ...counted.map(({ seq, final }) => ({ seq, kind: 'first' as const, ...final })),
      ...(duplicates.length > 0 ? await duplicatesOf(trx, duplicates) : []),
      ...work.letters.map(({ seq, leases }) => ({ seq, kind: 'letter' as const, leases })),
      ...work.leases.map(({ seq, lease }) => ({ seq, kind: 'lease' as const, lease })),
    ].toSorted((a, b) => a.seq - b.seq);
    const escrow = await lockNamedLeases(trx, records, work.nowMs);
    const { spoolId, replacesSpoolId = spoolId } = work.batch;
    const settlement = settle(escrow, new Set([spoolId, replacesSpoolId]), records);
    if (hasSameKeys(settlement.writtenOff, refusals)) return { counted, duplicates, escrow, settlement };
    refusals = settlement.writtenOff;
    await store.undoEvents(trx);
  }
  throw new GatewayError('overloaded', { message: 'The leases of this batch do not stand still.', retryAfterSeconds: 1 });
}

function hasSameKeys(a: ReadonlyMap<number, string>, b: ReadonlyMap<number, string>): boolean {
  return a.size === b.size && [...a.keys()].every((key) => b.has(key));
}

/** Later finals, each with what its request was counted with before it. */
async function duplicatesOf(trx: Transaction, duplicates: readonly RatedFinal[]): Promise<SettlementRecord[]> {
  const keyOf = (request: store.RequestRef) => `${request.admittedAtMs} ${request.requestId}`;
  const most = new Map<string, Map<string, bigint>>();
  const note = (request: store.RequestRef, { leaseId, amount }: LeaseAmount): void => {
    const amounts = most.get(keyOf(request)) ?? new Map<string, bigint>();
    amounts.set(leaseId, amount > (amounts.get(leaseId) ?? 0n) ? amount : (amounts.get(leaseId) ?? 0n));
    most.set(keyOf(request), amounts);
  };
  const stored = await store.selectLeaseAmounts(
    trx,
    duplicates.map(({ final }) => final),
  );
  for (const row of stored) note(row, row);
  return duplicates.map(({ seq, final }) => {
    const counted = new Map(most.get(keyOf(final)));
    for (const lease of final.leases) note(final, lease);
    return { seq, kind: 'duplicate', leases: final.leases, counted };
  });
}

/** All leases that the records name, closed ones as well. */
async function lockNamedLeases(trx: Transaction, records: readonly SettlementRecord[], nowMs: number): Promise<Escrow> {
  const named = new Set<string>();
  for (const record of records) {
    if (record.kind === 'lease') named.add(record.lease.leaseId);
    else for (const { leaseId } of record.leases) named.add(leaseId);
  }
  // A dead letter may name anything.
  const leaseIds = [...named].filter((id) => LEASE_ID.test(id));
  return leaseIds.length === 0 ? new Escrow([], []) : escrowOf(trx, { leaseIds }, { nowMs });
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

/**
 * What the batch's calls cost us is owed to the providers; usage above max_cost, and usage that no lease can pay, is revenue that we
 * pay ourselves.
 */
function platformPostings(batchId: bigint, sums: { readonly costNano: Nano; readonly varianceNano: Nano; readonly writtenOffNano: Nano }) {
  const common = { accountId: undefined, batchId, reference: undefined };
  const postings: Posting[] = [
    { code: 'upstream_cost', debit: 'upstream_cost', credit: 'provider_payable', amountNano: sums.costNano, ...common },
    { code: 'variance', debit: 'variance', credit: 'revenue', amountNano: sums.varianceNano, ...common },
    { code: 'written_off', debit: 'write_off', credit: 'revenue', amountNano: sums.writtenOffNano, ...common },
  ];
  return postings.filter((posting) => posting.amountNano > 0n);
}
