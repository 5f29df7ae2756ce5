/** Promotions: redeemed by members, kept by operators; and the trial. */
import { GatewayError } from '@meridian/domain/error';
import type { Nano } from '@meridian/domain/money';
import { nanoToUsd } from '@meridian/domain/money';
import { z } from 'zod';
import { ID, money, NANO_OUT, TIME, TIME_OUT, time, USD, USD_OUT } from '../http/field.ts';
import { listedWhole, listOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { callerOf } from '../http/session.ts';
import { MEMBER_IDEMPOTENCY_HEADERS, memberKey } from './credit-fields.ts';
import type { Promotion, PromotionTerms } from './promotion.ts';
import type { Promotions } from './promotions.ts';
import { CREDIT_ANSWER, presentCredit } from './routes.ts';

const BASIS_POINTS_A_PERCENT = 100;
const MAX_ADDRESS_CHARS = 254;

const PROMOTION = z.object({
  object: z.literal('promotion'),
  id: z.string(),
  kind: z.enum(['trial', 'code']),
  amount_usd: USD_OUT.nullable(),
  percent: z.number().nullable(),
  starts_at: TIME_OUT.nullable(),
  ends_at: TIME_OUT.nullable(),
  budget_usd: USD_OUT.nullable(),
  given_usd: USD_OUT,
  given_nano: NANO_OUT,
  active: z.boolean(),
});

/** Routes for members. */
export function promotionRoutes(promotions: Promotions): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'POST',
        url: '/v1/credits/promotions',
        trail: { kind: 'credit_redemption', note: ['promotion'] },
        summary: 'Redeem a promotion by its name, once an account.',
        status: 201,
        headers: MEMBER_IDEMPOTENCY_HEADERS,
        body: z.strictObject({ promotion: ID }),
        answer: CREDIT_ANSWER,
      },
      async ({ request, headers, body }) => {
        const { accountId } = callerOf(request);
        const idempotencyKey = memberKey(accountId, headers['idempotency-key']);
        return presentCredit(await promotions.redeem({ idempotencyKey, accountId, promotionId: body.promotion }));
      },
    );
  };
}

/** Routes for operators. `requireAccount` throws `not_found` for an account that does not exist. */
export function promotionOperatorRoutes(promotions: Promotions, requireAccount: (accountId: string) => Promise<unknown>): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/promotions',
        summary: 'The promotions, by name; the trial is one of them.',
        answer: listOf(PROMOTION),
      },
      async () => listedWhole((await promotions.list()).map(presentPromotion)),
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/promotions',
        trail: { kind: 'credit_promotion' },
        summary: 'Make or change a promotion: an amount, or a share of the purchase that is made with it.',
        status: 201,
        body: z.strictObject({
          id: ID.describe('The name that customers give.'),
          amount_usd: USD.optional(),
          percent: z.number().min(0.01).max(100).multipleOf(0.01).optional(),
          starts_at: TIME.optional(),
          ends_at: TIME.optional(),
          budget_usd: USD.optional().describe('What it may give to all accounts together.'),
          active: z.boolean().default(true),
        }),
        answer: PROMOTION,
      },
      async ({ body }) =>
        presentPromotion(
          await promotions.save({
            id: body.id,
            gives: givesOf(body.amount_usd, body.percent),
            startsAtMs: body.starts_at,
            endsAtMs: body.ends_at,
            budgetNano: body.budget_usd,
            active: body.active,
          }),
        ),
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/accounts/:id/trial',
        trail: { kind: 'credit_redemption', account: 'id' },
        summary: 'Give the trial to an account whose e-mail address was verified: once for each address and each account.',
        status: 201,
        params: z.strictObject({ id: ID }),
        body: z.strictObject({ email: z.string().min(3).max(MAX_ADDRESS_CHARS) }),
        answer: CREDIT_ANSWER,
      },
      async ({ params, body }) => {
        await requireAccount(params.id);
        return presentCredit(await promotions.grantTrial(params.id, body.email));
      },
    );
  };
}

function givesOf(amountNano: Nano | undefined, percent: number | undefined): PromotionTerms['gives'] {
  if (amountNano !== undefined && percent === undefined) return { amountNano };
  if (amountNano === undefined && percent !== undefined) return { basisPoints: Math.round(percent * BASIS_POINTS_A_PERCENT) };
  throw new GatewayError('invalid_request_error', { message: 'Give either an amount or a percentage.', param: 'amount_usd' });
}

function presentPromotion(promotion: Promotion): z.infer<typeof PROMOTION> {
  const { gives } = promotion;
  return {
    object: 'promotion',
    id: promotion.id,
    kind: promotion.kind,
    amount_usd: 'amountNano' in gives ? nanoToUsd(gives.amountNano) : null,
    percent: 'basisPoints' in gives ? gives.basisPoints / BASIS_POINTS_A_PERCENT : null,
    starts_at: promotion.startsAtMs === undefined ? null : time(promotion.startsAtMs),
    ends_at: promotion.endsAtMs === undefined ? null : time(promotion.endsAtMs),
    budget_usd: promotion.budgetNano === undefined ? null : nanoToUsd(promotion.budgetNano),
    ...money('given', promotion.givenNano),
    active: promotion.active,
  };
}
