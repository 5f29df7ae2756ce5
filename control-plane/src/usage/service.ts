/** Usage as nodes report it: ingested exactly once, charged, summed, and read back by customers and jobs. */
import type { Nano } from '@meridian/domain/money';
import type { ListPrice } from '@meridian/domain/price';
import type { LimitListener } from '../budgets/caps.ts';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { SignOfRestore, UsageAlarm } from './alarm.ts';
import { assertBatch, type UsageBatch } from './batch.ts';
import { ingestUnlessBehind, type Prices, sortRecords } from './ingest.ts';
import { createOperatorReading, type OperatorReading } from './operator-service.ts';
import { createUsageReading, type UsageReading } from './reading-service.ts';
import * as store from './store.ts';

export type { SignOfRestore, UsageAlarm } from './alarm.ts';

const MAX_CACHED_PRICES = 10_000;
const PARTITION_DAYS_AHEAD = 7;
const DAY_MS = 86_400_000;

/** Where list prices are looked up; the price book satisfies it. */
export interface ListPrices {
  /** The versions that exist among those asked for. They never change, so they are remembered. */
  find(wanted: readonly { readonly modelId: string; readonly version: number }[]): Promise<readonly ListPrice[]>;
}

export interface UsageDependencies {
  readonly db: Database;
  /** Where customers read; `db` unless told. */
  readonly readingDb?: Database;
  readonly clock: { nowMs(): number };
  readonly prices: ListPrices;
  /** Called after the commit. */
  readonly onAlarm: (alarm: UsageAlarm) => void;
  /**
   * Told of budgets whose limit was lowered below what is settled and held: what was set aside for requests under way could
   * not be called back then, and what they left of it is free now.
   */
  readonly onLimitChanged?: LimitListener;
  /** Told, after the commit, of accounts that may have passed their ceiling of uncharged cost in a day. */
  readonly onUncharged?: (days: readonly store.UnchargedDay[]) => void;
  /** Told that a node knows what the database does not. True: the database is taken for a restored one, and the batch is refused. */
  readonly onBehind?: (sign: SignOfRestore) => Promise<boolean>;
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

export interface UsageService extends UsageReading, OperatorReading {
  /**
   * Ingests a batch in one transaction and returns, once it is committed, what is acknowledged. A batch that was ingested before, or
   * partly, is skipped as far as it was. Throws `SequenceGapError` when records before it are missing: close the stream.
   * It never fails on money or on a bad record (those become dead letters). `dbEpoch` is the epoch in which the spool was
   * admitted: throws `overloaded` when it is over, for the spool has to be admitted again.
   */
  ingestBatch(batch: UsageBatch, dbEpoch?: string): Promise<{ readonly ackedSeq: number }>;
  /**
   * What is acknowledged of each incarnation that a spool still holds (0 for a new one). Where its oldest record is beyond the next
   * one awaited, the records between are lost: that is recorded, and the cursor moves on.
   */
  open(spool: Pick<UsageBatch, 'spoolId' | 'nodeId' | 'region'> & { readonly retained: readonly Retained[] }): Promise<Acked[]>;
  /** All cursors of a spool. */
  cursors(spoolId: string): Promise<Acked[]>;
  /** List amount of charged calls by account over whole hours: spend before any markup, what volume tiers are valued from. */
  listSpend(window: { readonly fromMs: number; readonly toMs: number }): Promise<{ accountId: string; listNano: Nano }[]>;
  /** What an account's calls cost us without a charge, by day (UTC). */
  unchargedCost(accountId: string, fromMs: number): Promise<{ day: string; costNano: Nano }[]>;
  /** Makes the partitions of the next seven days. Call it at the start and hourly; a lack is survived by a default partition, and alarms. */
  makePartitions(): Promise<number>;
}

export function createUsageService(dependencies: UsageDependencies): UsageService {
  const { db, clock } = dependencies;
  const prices = rememberPrices(dependencies.prices);
  const reading = { db: dependencies.readingDb ?? db, prices: dependencies.prices };
  return {
    ...createUsageReading(reading),
    ...createOperatorReading(reading),
    ingestBatch: async (batch, dbEpoch) => {
      assertBatch(batch);
      const sorted = await sortRecords(batch.records, prices);
      const work = { batch, sorted, dbEpoch, nowMs: clock.nowMs() };
      const { ackedSeq, alarms, uncharged, overdrawn } = await ingestUnlessBehind(db, work, dependencies.onBehind);
      for (const alarm of alarms) dependencies.onAlarm(alarm);
      if (overdrawn.length > 0) dependencies.onLimitChanged?.(overdrawn, 'lowered');
      if (uncharged.length > 0) dependencies.onUncharged?.(uncharged);
      return { ackedSeq };
    },
    open: async ({ retained, ...spool }) => {
      const opened = await transaction(db, (trx) => open(trx, clock.nowMs(), spool, retained));
      for (const alarm of opened.flatMap((each) => each.alarms)) dependencies.onAlarm(alarm);
      return opened.map(({ incarnation, ackedSeq }) => ({ incarnation, ackedSeq }));
    },
    cursors: (spoolId) => store.selectCursors(db, spoolId),
    listSpend: (window) => store.selectListSpend(db, window),
    unchargedCost: (accountId, fromMs) => store.selectUncharged(db, accountId, fromMs),
    makePartitions: async () => {
      const nowMs = clock.nowMs();
      // Before they are made, which takes the strays in.
      const events = await store.countStrays(db, nowMs - DAY_MS, nowMs + DAY_MS);
      if (events > 0) dependencies.onAlarm({ kind: 'partition_missing', events });
      return store.makePartitions(db, nowMs, PARTITION_DAYS_AHEAD);
    },
  };
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
    const { ackedSeq: acked } = await store.lockCursor(trx, span, nowMs);
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
