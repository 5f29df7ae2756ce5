/** Usage as operators read it. Nothing here writes; operators have one question answered at a time, beside those of accounts. */
import { GatewayError } from '@meridian/domain/error';
import { correctionsOf } from '../ledger/corrections.ts';
import {
  type BookQuery,
  type BookRow,
  type DeadLetterRow,
  type MismatchRow,
  type OperatorReceipt,
  type RecordPlace,
  unchargedCost,
} from './operator-reading.ts';
import * as store from './operator-store.ts';
import { spanOfRequest } from './reading.ts';
import { nameTimeout, priceOf, receiptOf, type UsageReadingDependencies } from './reading-service.ts';
import { Turns } from './turns.ts';

/** On one replica. */
const MAX_WAITING = 20;

/** Each throws `overloaded` for a question that takes longer than it may, and `rate_limit_exceeded` for too many at once. */
export interface OperatorReading {
  /** Sums over all accounts, in the order of their dimensions; at most `limit` rows. */
  listBooks(query: BookQuery): Promise<BookRow[]>;
  /** Throws `not_found` where nobody made such a request, or its usage has not arrived yet. */
  operatorReceipt(requestId: string): Promise<OperatorReceipt>;
  /** Newest first; at most `limit` rows. */
  listDeadLetters(limit: number, after: RecordPlace | undefined): Promise<DeadLetterRow[]>;
  /** Newest first; at most `limit` rows. */
  listMismatches(limit: number, after: RecordPlace | undefined): Promise<MismatchRow[]>;
}

export function createOperatorReading({ db, prices }: UsageReadingDependencies): OperatorReading {
  const turns = new Turns(MAX_WAITING);
  const ask = <T>(work: () => Promise<T>): Promise<T> => turns.take('operators', () => work().catch(nameTimeout));
  return {
    listBooks: (query) => ask(() => store.selectBooks(db, query)),
    operatorReceipt: (requestId) =>
      ask(async () => {
        const span = spanOfRequest(requestId);
        const event = span === undefined ? undefined : await store.selectAnyEvent(db, requestId, span);
        if (event === undefined) throw new GatewayError('not_found', { message: 'There is no usage of such a request.' });
        const receipt = receiptOf(event, await priceOf(prices, event));
        return {
          ...receipt,
          corrections: await correctionsOf(db, event.account_id, [requestId]),
          accountId: event.account_id,
          clientDialect: event.client_dialect,
          nodeId: event.node_id,
          ingestedAtMs: event.ingested_at.getTime(),
          listNano: event.list_nano,
          costNano: event.cost_nano,
          unchargedCostNano: unchargedCost(receipt.attempts, event.charge_nano),
          varianceNano: event.variance_nano,
          writtenOffNano: event.written_off_nano,
        };
      }),
    listDeadLetters: (limit, after) => ask(() => store.selectDeadLetters(db, limit, after)),
    listMismatches: (limit, after) => ask(() => store.selectMismatches(db, limit, after)),
  };
}
