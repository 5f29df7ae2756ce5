/** `/v1/credits` for members; the same, top-ups, grants and adjustments for operators. */
import { GatewayError } from '@meridian/domain/error';
import { z } from 'zod';
import { ID, money, NANO_OUT, TIME_OUT, text, time, USD, USD_OUT } from '../http/field.ts';
import { listed, listedWhole, listOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { callerOf } from '../http/session.ts';
import { IDEMPOTENCY_HEADERS, NUMBERED_PAGE_QUERY, numberedPageOf } from './credit-fields.ts';
import { CUSTOMER_CODES, PLATFORM_ACCOUNTS, totalNano } from './ledger.ts';
import type { CreditAnswer, CreditRequest, Ledger, TransferView } from './service.ts';

/** What the ledger lets be read at once, less the one row that tells whether more follow. */
const MAX_TRANSFERS = 199;

const TRANSFER = z.object({
  id: z.string(),
  object: z.literal('transfer'),
  type: z.enum(CUSTOMER_CODES),
  credit: z.enum(['paid', 'bonus']),
  amount_usd: USD_OUT,
  amount_nano: NANO_OUT,
  reference: z.string().nullable(),
  created_at: TIME_OUT,
});

const BALANCE_FIELDS = {
  balance_usd: USD_OUT,
  balance_nano: NANO_OUT,
  paid_usd: USD_OUT,
  paid_nano: NANO_OUT,
  bonus_usd: USD_OUT,
  bonus_nano: NANO_OUT,
};

/** What a movement of credit answers. */
export const CREDIT_ANSWER = z.object({
  object: z.literal('credit'),
  transfer_id: z.string(),
  account_id: z.string(),
  amount_usd: USD_OUT,
  amount_nano: NANO_OUT,
  balance_usd: USD_OUT,
  balance_nano: NANO_OUT,
});

const PLATFORM_BALANCE = z.object({
  object: z.literal('balance'),
  account: z.enum(PLATFORM_ACCOUNTS),
  balance_usd: USD_OUT.describe('Credit less debit: revenue is positive, what was spent on it negative.'),
  balance_nano: NANO_OUT,
});

const STATEMENT = z.intersection(z.object(BALANCE_FIELDS), listOf(TRANSFER));

/** Routes for members. */
export function creditRoutes(ledger: Ledger): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/credits',
        summary: 'The balance, and the transfers that made it, newest first.',
        query: NUMBERED_PAGE_QUERY,
        answer: STATEMENT,
      },
      async ({ request, query }) => statement(ledger, callerOf(request).accountId, query),
    );
  };
}

async function statement(
  ledger: Ledger,
  accountId: string,
  query: z.infer<typeof NUMBERED_PAGE_QUERY>,
): Promise<z.infer<typeof STATEMENT>> {
  const { page, asked } = numberedPageOf(query, MAX_TRANSFERS);
  const [balance, transfers] = await Promise.all([ledger.balanceOf(accountId), ledger.listTransfers(accountId, asked)]);
  return {
    ...listed(transfers, page, presentTransfer),
    ...money('balance', totalNano(balance)),
    ...money('paid', balance.paidNano),
    ...money('bonus', balance.bonusNano),
  };
}

/** Routes for operators. `requireAccount` throws `not_found` for an account that does not exist. */
export function creditOperatorRoutes(ledger: Ledger, requireAccount: (accountId: string) => Promise<unknown>): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/balances',
        summary: "The balances of the company's own accounts: revenue, upstream cost, variance, write-offs and the like.",
        answer: listOf(PLATFORM_BALANCE),
      },
      async () =>
        listedWhole(
          (await ledger.platformBalances()).map(({ account, balanceNano }) => ({
            object: 'balance' as const,
            account,
            ...money('balance', balanceNano),
          })),
        ),
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/accounts/:id/credits',
        summary: 'The balance of an account, and the transfers that made it, newest first.',
        params: z.strictObject({ id: ID }),
        query: NUMBERED_PAGE_QUERY,
        answer: STATEMENT,
      },
      async ({ params, query }) => {
        await requireAccount(params.id);
        return statement(ledger, params.id, query);
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/accounts/:id/credits',
        trail: { kind: 'account', account: 'id', note: ['type', 'amount_usd', 'credit', 'reference'] },
        summary: 'Top up, grant or adjust the credit of an account, once for each idempotency key.',
        status: 201,
        params: z.strictObject({ id: ID }),
        headers: IDEMPOTENCY_HEADERS,
        body: z.strictObject({
          type: z.enum(['topup', 'grant', 'adjustment']),
          amount_usd: USD,
          credit: z.enum(['paid', 'bonus']).optional().describe('Of an adjustment; paid unless told.'),
          reference: text(500).optional(),
        }),
        answer: CREDIT_ANSWER,
      },
      async ({ params, headers, body }) => {
        if (body.credit !== undefined && body.type !== 'adjustment') {
          throw new GatewayError('invalid_request_error', {
            message: `A ${body.type} does not choose its kind of credit.`,
            param: 'credit',
          });
        }
        await requireAccount(params.id);
        const request: CreditRequest = {
          idempotencyKey: headers['idempotency-key'],
          accountId: params.id,
          amountNano: body.amount_usd,
          ...(body.reference === undefined ? {} : { reference: body.reference }),
        };
        return presentCredit(await moveCredit(ledger, body.type, body.credit, request));
      },
    );
  };
}

function moveCredit(
  ledger: Ledger,
  type: 'topup' | 'grant' | 'adjustment',
  credit: 'paid' | 'bonus' | undefined,
  request: CreditRequest,
): Promise<CreditAnswer> {
  switch (type) {
    case 'topup':
      return ledger.topUp(request);
    case 'grant':
      return ledger.grant(request);
    case 'adjustment':
      return ledger.adjust({ ...request, ...(credit === undefined ? {} : { credit }) });
    default:
      return type satisfies never;
  }
}

function presentTransfer(transfer: TransferView): z.infer<typeof TRANSFER> {
  return {
    id: transfer.id.toString(),
    object: 'transfer',
    type: transfer.code,
    credit: transfer.credit,
    ...money('amount', transfer.amountNano),
    reference: transfer.reference ?? null,
    created_at: time(transfer.postedAtMs),
  };
}

export function presentCredit(answer: CreditAnswer): z.infer<typeof CREDIT_ANSWER> {
  return {
    object: 'credit',
    transfer_id: answer.transferId.toString(),
    account_id: answer.accountId,
    ...money('amount', answer.amountNano),
    ...money('balance', answer.balanceNano),
  };
}
