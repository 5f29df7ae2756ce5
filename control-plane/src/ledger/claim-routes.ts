/** What operators do with credit after it was bought or spent: refunds, disputes, corrections. */
import { z } from 'zod';
import { ID, money, NANO_OUT, TIME_OUT, text, time, USD, USD_OUT } from '../http/field.ts';
import { listed, listOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import type { Correction, Corrections } from './corrections.ts';
import type { CreditServices } from './credit.ts';
import { IDEMPOTENCY_HEADERS, NUMBER, NUMBERED_PAGE_QUERY, numberedPageOf } from './credit-fields.ts';
import type { Dispute, Disputes } from './disputes.ts';
import type { Refund } from './refund.ts';
import type { Refunds } from './refunds.ts';

type RequireAccount = (accountId: string) => Promise<unknown>;

const OF_ACCOUNT = z.strictObject({ id: ID });
const BY_NUMBER = z.strictObject({ id: NUMBER });

const REFUND = z.object({
  id: z.string(),
  object: z.literal('refund'),
  account_id: z.string(),
  purchase_id: z.string(),
  state: z.enum(['requested', 'recalling', 'posted', 'refused']).describe('recalling: nodes are asked for credit that they hold.'),
  amount_usd: USD_OUT,
  amount_nano: NANO_OUT,
  bonus_cancelled_usd: USD_OUT,
  bonus_cancelled_nano: NANO_OUT,
  held_usd: USD_OUT.describe('What nodes held of the credit when it was tried last.'),
  held_nano: NANO_OUT,
  refusal: z.enum(['too_late', 'dispute_open', 'nothing_left', 'held']).nullable(),
  reason: z.string().nullable(),
  requested_at: TIME_OUT,
  closed_at: TIME_OUT.nullable(),
});

const DISPUTE = z.object({
  id: z.string(),
  object: z.literal('dispute'),
  account_id: z.string(),
  purchase_id: z.string(),
  state: z.enum(['open', 'won', 'lost']),
  amount_usd: USD_OUT,
  amount_nano: NANO_OUT,
  taken_usd: USD_OUT.describe('Of what was unspent of the purchase.'),
  taken_nano: NANO_OUT,
  missing_usd: USD_OUT.describe('What was spent already: the customer owes it.'),
  missing_nano: NANO_OUT,
  collected_usd: USD_OUT.describe('Of the missing part, once the dispute is lost: paid by the other credit of the account.'),
  collected_nano: NANO_OUT,
  written_off_usd: USD_OUT,
  written_off_nano: NANO_OUT,
  reference: z.string().nullable(),
  opened_at: TIME_OUT,
  closed_at: TIME_OUT.nullable(),
});

const CORRECTION = z.object({
  id: z.string(),
  object: z.literal('correction'),
  account_id: z.string(),
  request_id: z.string(),
  amount_usd: USD_OUT,
  amount_nano: NANO_OUT,
  paid_usd: USD_OUT,
  paid_nano: NANO_OUT,
  bonus_usd: USD_OUT,
  bonus_nano: NANO_OUT,
  reason: z.string().nullable(),
  created_at: TIME_OUT,
});

/** Routes for operators. `requireAccount` throws `not_found` for an account that does not exist. */
export function claimRoutes(
  { refunds, disputes, corrections }: Pick<CreditServices, 'refunds' | 'disputes' | 'corrections'>,
  requireAccount: RequireAccount,
): Routes {
  return (app) => {
    refundRoutes(refunds, requireAccount)(app);
    disputeRoutes(disputes, requireAccount)(app);
    correctionRoutes(corrections, requireAccount)(app);
  };
}

function refundRoutes(refunds: Refunds, requireAccount: RequireAccount): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/accounts/:id/refunds',
        trail: { kind: 'credit_refund', account: 'id' },
        summary:
          'Refund a purchase: what is unspent of it, at once or when nodes have given back what they hold. Read on until it is closed.',
        status: 201,
        params: OF_ACCOUNT,
        headers: IDEMPOTENCY_HEADERS,
        body: z.strictObject({ purchase_id: NUMBER, reason: text(500).optional() }),
        answer: REFUND,
      },
      async ({ params, headers, body }) => {
        await requireAccount(params.id);
        const idempotencyKey = headers['idempotency-key'];
        return presentRefund(
          await refunds.request({ idempotencyKey, accountId: params.id, purchaseId: body.purchase_id, reason: body.reason }),
        );
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/accounts/:id/refunds',
        summary: 'The refunds of an account, newest first.',
        params: OF_ACCOUNT,
        query: NUMBERED_PAGE_QUERY,
        answer: listOf(REFUND),
      },
      async ({ params, query }) => {
        await requireAccount(params.id);
        const { page, asked } = numberedPageOf(query);
        return listed(await refunds.list(params.id, asked), page, presentRefund);
      },
    );
    addRoute(
      app,
      { method: 'GET', url: '/admin/v1/refunds/:id', summary: 'How far a refund is.', params: BY_NUMBER, answer: REFUND },
      async ({ params }) => presentRefund(await refunds.get(params.id)),
    );
  };
}

function disputeRoutes(disputes: Disputes, requireAccount: RequireAccount): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/accounts/:id/disputes',
        trail: { kind: 'credit_dispute', account: 'id' },
        summary: 'Enter that the payment of a purchase is disputed: its credit is withheld at once.',
        status: 201,
        params: OF_ACCOUNT,
        headers: IDEMPOTENCY_HEADERS,
        body: z.strictObject({
          purchase_id: NUMBER,
          amount_usd: USD.optional().describe('All that was paid and not paid back yet, unless told.'),
          reference: text(500).optional().describe("The dispute, as the payment's processor names it."),
        }),
        answer: DISPUTE,
      },
      async ({ params, headers, body }) => {
        await requireAccount(params.id);
        return presentDispute(
          await disputes.open({
            idempotencyKey: headers['idempotency-key'],
            accountId: params.id,
            purchaseId: body.purchase_id,
            amountNano: body.amount_usd,
            reference: body.reference,
          }),
        );
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/accounts/:id/disputes',
        summary: 'The disputes of an account, newest first.',
        params: OF_ACCOUNT,
        query: NUMBERED_PAGE_QUERY,
        answer: listOf(DISPUTE),
      },
      async ({ params, query }) => {
        await requireAccount(params.id);
        const { page, asked } = numberedPageOf(query);
        return listed(await disputes.list(params.id, asked), page, presentDispute);
      },
    );
    addRoute(
      app,
      { method: 'GET', url: '/admin/v1/disputes/:id', summary: 'A dispute.', params: BY_NUMBER, answer: DISPUTE },
      async ({ params }) => presentDispute(await disputes.get(params.id)),
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/disputes/:id/close',
        trail: { kind: 'credit_dispute', id: 'id' },
        summary: 'Enter what the bank decided: won gives back what was withheld; lost collects what is missing, and writes off the rest.',
        params: BY_NUMBER,
        headers: IDEMPOTENCY_HEADERS,
        body: z.strictObject({ outcome: z.enum(['won', 'lost']) }),
        answer: DISPUTE,
      },
      async ({ params, headers, body }) =>
        presentDispute(await disputes.close({ idempotencyKey: headers['idempotency-key'], disputeId: params.id, outcome: body.outcome })),
    );
  };
}

function correctionRoutes(corrections: Corrections, requireAccount: RequireAccount): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/accounts/:id/corrections',
        trail: { kind: 'ledger_correction', account: 'id' },
        summary: 'Give back a part of what a request was charged, or all of it.',
        status: 201,
        params: OF_ACCOUNT,
        headers: IDEMPOTENCY_HEADERS,
        body: z.strictObject({ request_id: ID, amount_usd: USD, reason: text(500).optional() }),
        answer: CORRECTION,
      },
      async ({ params, headers, body }) => {
        await requireAccount(params.id);
        return presentCorrection(
          await corrections.correct({
            idempotencyKey: headers['idempotency-key'],
            accountId: params.id,
            requestId: body.request_id,
            amountNano: body.amount_usd,
            reason: body.reason,
          }),
        );
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/accounts/:id/corrections',
        summary: 'The corrections of an account, newest first.',
        params: OF_ACCOUNT,
        query: NUMBERED_PAGE_QUERY,
        answer: listOf(CORRECTION),
      },
      async ({ params, query }) => {
        await requireAccount(params.id);
        const { page, asked } = numberedPageOf(query);
        return listed(await corrections.list(params.id, asked), page, presentCorrection);
      },
    );
  };
}

function presentRefund(refund: Refund): z.infer<typeof REFUND> {
  return {
    id: refund.id.toString(),
    object: 'refund',
    account_id: refund.accountId,
    purchase_id: refund.purchaseId.toString(),
    state: refund.state,
    ...money('amount', refund.amountNano),
    ...money('bonus_cancelled', refund.bonusCancelledNano),
    ...money('held', refund.heldNano),
    refusal: refund.refusal ?? null,
    reason: refund.reason ?? null,
    requested_at: time(refund.requestedAtMs),
    closed_at: refund.closedAtMs === undefined ? null : time(refund.closedAtMs),
  };
}

function presentDispute(dispute: Dispute): z.infer<typeof DISPUTE> {
  return {
    id: dispute.id.toString(),
    object: 'dispute',
    account_id: dispute.accountId,
    purchase_id: dispute.purchaseId.toString(),
    state: dispute.state,
    ...money('amount', dispute.amountNano),
    ...money('taken', dispute.takenNano),
    ...money('missing', dispute.missingNano),
    ...money('collected', dispute.collectedNano),
    ...money('written_off', dispute.writtenOffNano),
    reference: dispute.reference ?? null,
    opened_at: time(dispute.openedAtMs),
    closed_at: dispute.closedAtMs === undefined ? null : time(dispute.closedAtMs),
  };
}

function presentCorrection(correction: Correction): z.infer<typeof CORRECTION> {
  return {
    id: correction.id.toString(),
    object: 'correction',
    account_id: correction.accountId,
    request_id: correction.requestId,
    ...money('amount', correction.amountNano),
    ...money('paid', correction.paidNano),
    ...money('bonus', correction.bonusNano),
    reason: correction.reason ?? null,
    created_at: time(correction.createdAtMs),
  };
}
