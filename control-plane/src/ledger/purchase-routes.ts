/** Packages and purchases: what members can buy and have bought; what operators sell and enter. */
import { GatewayError } from '@meridian/domain/error';
import { z } from 'zod';
import { ID, money, NANO_OUT, TIME_OUT, text, time, USD, USD_OUT } from '../http/field.ts';
import { listed, listedWhole, listOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { callerOf } from '../http/session.ts';
import { IDEMPOTENCY_HEADERS, NUMBERED_PAGE_QUERY, numberedPageOf } from './credit-fields.ts';
import { bonusOf, type CreditPackage } from './purchase.ts';
import type { Purchases, PurchaseView } from './purchases.ts';

const BASIS_POINTS_A_PERCENT = 100;

const PACKAGE_FIELDS = {
  object: z.literal('credit_package'),
  id: z.string(),
  price_usd: USD_OUT,
  price_nano: NANO_OUT,
  bonus_percent: z.number(),
  bonus_usd: USD_OUT,
  bonus_nano: NANO_OUT,
};
const PACKAGE = z.object(PACKAGE_FIELDS);
const OWN_PACKAGE = z.object({ ...PACKAGE_FIELDS, active: z.boolean() });

const PURCHASE = z.object({
  id: z.string(),
  object: z.literal('purchase'),
  account_id: z.string(),
  package_id: z.string().nullable(),
  price_usd: USD_OUT,
  price_nano: NANO_OUT,
  bonus_usd: USD_OUT,
  bonus_nano: NANO_OUT,
  unspent_usd: USD_OUT,
  unspent_nano: NANO_OUT,
  bonus_unspent_usd: USD_OUT,
  bonus_unspent_nano: NANO_OUT,
  refunded_usd: USD_OUT,
  refunded_nano: NANO_OUT,
  charged_back_usd: USD_OUT,
  charged_back_nano: NANO_OUT,
  dispute_open: z.boolean(),
  refundable_usd: USD_OUT,
  refundable_nano: NANO_OUT,
  refundable_until: TIME_OUT,
  reference: z.string().nullable(),
  purchased_at: TIME_OUT,
});

/** Routes for members. */
export function purchaseRoutes(purchases: Purchases): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/credits/packages',
        summary: 'The packages of credit on sale, cheapest first.',
        answer: listOf(PACKAGE),
      },
      async () => listedWhole((await purchases.packages()).filter((one) => one.active).map(presentPackage)),
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/credits/purchases',
        summary: 'What was bought, newest first: what is unspent of each, and what a refund would pay back.',
        query: NUMBERED_PAGE_QUERY,
        answer: listOf(PURCHASE),
      },
      async ({ request, query }) => {
        const { page, asked } = numberedPageOf(query);
        return listed(await purchases.list(callerOf(request).accountId, asked), page, presentPurchase);
      },
    );
  };
}

/** Routes for operators. `requireAccount` throws `not_found` for an account that does not exist. */
export function purchaseOperatorRoutes(purchases: Purchases, requireAccount: (accountId: string) => Promise<unknown>): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/packages',
        summary: 'The packages of credit, cheapest first.',
        answer: listOf(OWN_PACKAGE),
      },
      async () => listedWhole((await purchases.packages()).map(presentOwnPackage)),
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/packages',
        trail: { kind: 'credit_package' },
        summary: 'Make a package of credit, or change it for purchases to come.',
        status: 201,
        body: z.strictObject({
          id: ID,
          price_usd: USD,
          bonus_percent: z.number().min(0).max(100).multipleOf(0.01),
          active: z.boolean().default(true),
        }),
        answer: OWN_PACKAGE,
      },
      async ({ body }) => {
        const bonusBasisPoints = Math.round(body.bonus_percent * BASIS_POINTS_A_PERCENT);
        return presentOwnPackage(
          await purchases.savePackage({ id: body.id, priceNano: body.price_usd, bonusBasisPoints, active: body.active }),
        );
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/accounts/:id/purchases',
        summary: 'What an account bought, newest first.',
        params: z.strictObject({ id: ID }),
        query: NUMBERED_PAGE_QUERY,
        answer: listOf(PURCHASE),
      },
      async ({ params, query }) => {
        await requireAccount(params.id);
        const { page, asked } = numberedPageOf(query);
        return listed(await purchases.list(params.id, asked), page, presentPurchase);
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/accounts/:id/purchases',
        trail: { kind: 'credit_purchase', account: 'id' },
        summary: 'Enter a payment: a package, or an amount without a bonus; once for each idempotency key.',
        status: 201,
        params: z.strictObject({ id: ID }),
        headers: IDEMPOTENCY_HEADERS,
        body: z.strictObject({
          package_id: ID.optional(),
          amount_usd: USD.optional(),
          promotion: ID.optional().describe('A promotion that gives a share of a purchase.'),
          reference: text(500).optional().describe('The payment, as its processor names it.'),
        }),
        answer: PURCHASE,
      },
      async ({ params, headers, body }) => {
        const { package_id: packageId, amount_usd: amountNano } = body;
        await requireAccount(params.id);
        return presentPurchase(
          await purchases.buy({
            idempotencyKey: headers['idempotency-key'],
            accountId: params.id,
            what: whatOf(packageId, amountNano),
            promotionId: body.promotion,
            reference: body.reference,
          }),
        );
      },
    );
  };
}

function whatOf(packageId: string | undefined, amountNano: bigint | undefined): { packageId: string } | { amountNano: bigint } {
  if (packageId !== undefined && amountNano === undefined) return { packageId };
  if (packageId === undefined && amountNano !== undefined) return { amountNano };
  throw new GatewayError('invalid_request_error', { message: 'Give either a package or an amount.', param: 'package_id' });
}

function presentPackage(one: CreditPackage): z.infer<typeof PACKAGE> {
  return {
    object: 'credit_package',
    id: one.id,
    ...money('price', one.priceNano),
    bonus_percent: one.bonusBasisPoints / BASIS_POINTS_A_PERCENT,
    ...money('bonus', bonusOf(one.priceNano, one.bonusBasisPoints)),
  };
}

function presentOwnPackage(one: CreditPackage): z.infer<typeof OWN_PACKAGE> {
  return { ...presentPackage(one), active: one.active };
}

function presentPurchase(purchase: PurchaseView): z.infer<typeof PURCHASE> {
  return {
    id: purchase.id.toString(),
    object: 'purchase',
    account_id: purchase.accountId,
    package_id: purchase.packageId ?? null,
    ...money('price', purchase.priceNano),
    ...money('bonus', purchase.bonusNano),
    ...money('unspent', purchase.unspentNano),
    ...money('bonus_unspent', purchase.bonusUnspentNano),
    ...money('refunded', purchase.refundedNano),
    ...money('charged_back', purchase.chargedBackNano),
    dispute_open: purchase.disputeOpen,
    ...money('refundable', purchase.refundableNano),
    refundable_until: time(purchase.refundableUntilMs),
    reference: purchase.reference ?? null,
    purchased_at: time(purchase.purchasedAtMs),
  };
}
