/** What ingest has to tell of, beside what it books. */
import type { Nano } from '@meridian/domain/money';
import type { Meter } from '@meridian/domain/usage';
import type { SettlementAlarm } from './settlement.ts';

/** Something that must not happen, found in a batch that was committed all the same. */
export type UsageAlarm =
  | SettlementAlarm
  | { readonly kind: 'rating_mismatch'; readonly requestId: string; readonly chargedNano: Nano; readonly ratedNano: Nano | undefined }
  | { readonly kind: 'duplicate_differs'; readonly requestId: string }
  | { readonly kind: 'dead_letter'; readonly spoolId: string; readonly seq: number; readonly reason: string }
  | { readonly kind: 'shortfall'; readonly accountId: string; readonly shortfallNano: Nano }
  /** Used and charged to nobody: the answer showed what the list price has no price for. */
  | { readonly kind: 'unpriced'; readonly requestId: string; readonly modelId: string; readonly meters: readonly Meter[] }
  | { readonly kind: 'variance'; readonly requestId: string; readonly varianceNano: Nano }
  /** Nobody made partitions in time: so many events of these days went to the default one. */
  | { readonly kind: 'partition_missing'; readonly events: number }
  | { readonly kind: 'records_lost'; readonly spoolId: string; readonly firstSeq: number; readonly lastSeq: number };

/** What only a database that was set back does not know. */
export interface SignOfRestore {
  /** The same sign again has the same key. */
  readonly key: string;
  readonly reason: string;
  /** The epoch in which it was seen. */
  readonly dbEpoch: string;
}
