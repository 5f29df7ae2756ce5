/**
 * Use cases of corrections: a settled charge goes down, never up, by a reversing transfer. It gives credit back and raises the limit of
 * prepaid credit; what is settled of a day or a month stays, and so does the request's receipt, which shows its corrections.
 */
import { GatewayError } from '@meridian/domain/error';
import type { Nano } from '@meridian/domain/money';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import { assertPositive, assertReference, type CreditDependencies, changeCreditOnce, type KeyedRequest, requireNumber } from './change.ts';
import * as store from './corrections-store.ts';

const MAX_PAGE_ROWS = 1_001;

export interface Correction {
  readonly id: bigint;
  readonly accountId: string;
  readonly requestId: string;
  /** paid + bonus + covered */
  readonly amountNano: Nano;
  /** What went back to the customer's credit. */
  readonly paidNano: Nano;
  readonly bonusNano: Nano;
  /** What write-offs had paid of it, and which is theirs again. */
  readonly coveredNano: Nano;
  readonly reason: string | undefined;
  readonly createdAtMs: number;
}

export interface CorrectionDependencies extends CreditDependencies {
  /** What an account was charged for a request, which never changes. Throws `not_found` when it has no such request. */
  readonly chargeOf: (accountId: string, requestId: string) => Promise<Nano>;
}

export interface CorrectionRequest extends KeyedRequest {
  readonly accountId: string;
  readonly requestId: string;
  /** > 0; with the corrections before it at most the request's charge. */
  readonly amountNano: Nano;
  readonly reason?: string | undefined;
}

export interface Corrections {
  /** Throws `not_found` for a request that was not charged to the account, `invalid_state` for more than is left of its charge. */
  correct(request: CorrectionRequest): Promise<Correction>;
  /** Newest first; `after` is the number of the last one already seen. */
  list(accountId: string, page: { readonly limit: number; readonly after?: bigint | undefined }): Promise<Correction[]>;
}

export function createCorrections(dependencies: CorrectionDependencies): Corrections {
  const { db, chargeOf } = dependencies;
  return {
    correct: async (request) => {
      const { accountId, requestId, amountNano, reason } = request;
      assertPositive(amountNano);
      assertReference(reason, 'reason');
      const chargeNano = await chargeOf(accountId, requestId);
      const content = ['correction', accountId, requestId, amountNano, reason];
      const { subjectId } = await changeCreditOnce(dependencies, { ...request, content }, async ({ trx, book, nowMs }) => {
        const leftNano = chargeNano - (await store.sumCorrections(trx, accountId, requestId));
        if (amountNano > leftNano) {
          throw new GatewayError('invalid_state', {
            message: 'This is more than is left of what the request was charged.',
            param: 'amount_usd',
          });
        }
        const parts = book.unspend({ code: 'correction', counterpart: 'revenue', reference: requestId }, amountNano);
        book.post({ code: 'correction', debit: 'revenue', credit: 'write_off', amountNano: parts.coveredNano, reference: requestId });
        return store.insertCorrection(trx, { accountId, requestId, amountNano, ...parts, reason, createdAtMs: nowMs });
      });
      const correction = await store.findCorrection(db, requireNumber(subjectId));
      if (correction === undefined) throw new Error('a correction was made and is not there');
      return correction;
    },
    list: (accountId, { limit, after }) =>
      store.selectCorrections(db, accountId, { limit: Math.min(Math.max(limit, 1), MAX_PAGE_ROWS), beforeId: after }),
  };
}

/** The corrections of an account's requests, for their receipts, oldest first. */
export async function correctionsOf(db: Database | Transaction, accountId: string, requestIds: readonly string[]): Promise<Correction[]> {
  return store.selectCorrectionsOf(db, accountId, requestIds);
}
