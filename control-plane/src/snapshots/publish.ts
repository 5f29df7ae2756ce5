/** How a feature hands on what its transaction changed; `snapshots/service` satisfies it. */
import type { ConfigEntry, Lane } from '@meridian/domain/snapshot';
import type { Transaction } from '../database/transaction.ts';

/**
 * Appends the entries to the lane's log at the next rev, which is returned. It locks the lane's head, so it must
 * be the last thing a transaction does; a transaction that publishes on several lanes does so in lane order.
 */
export type Publish = (trx: Transaction, lane: Lane, entries: readonly ConfigEntry[]) => Promise<{ readonly rev: number }>;
