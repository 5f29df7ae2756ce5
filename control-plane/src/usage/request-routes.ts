/** `/v1/usage/requests`: the log of requests, without content, and the receipt of one. */
import { GatewayError } from '@meridian/domain/error';
import { MAX_BALANCE_NANO, nanoToUsd } from '@meridian/domain/money';
import { isMeter } from '@meridian/domain/usage';
import { OUTCOMES } from '@meridian/domain/usage-record';
import { z } from 'zod';
import { ID, money, NANO_OUT, TIME_OUT, time, USD, USD_OUT } from '../http/field.ts';
import { listOf, PAGE_FIELDS } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { callerOf } from '../http/session.ts';
import { AS_TABLE, answerPart, partOf } from '../http/table.ts';
import type { Receipt, RequestRow } from './reading.ts';
import { FORMAT, MOMENT, memberAsked, spanOf } from './reading-field.ts';
import type { UsageReading } from './reading-service.ts';

const SPAN = { defaultDays: 1, maxDays: 31 };

const OUTCOME = z.enum(OUTCOMES as [(typeof OUTCOMES)[number]]);
const EXACTNESS = z.enum(['exact', 'estimated']);
const METER = z.string().refine(isMeter);
const UNITS = z.record(METER, z.int());

const REQUEST_FIELDS = {
  id: z.string().describe('The x-request-id of the answer.'),
  admitted_at: TIME_OUT,
  region: z.string(),
  key_id: z.string(),
  member_id: z.string(),
  operation: z.string(),
  asked_model: z.string(),
  model: z.string().nullable().describe('The model that answered.'),
  outcome: OUTCOME,
  exactness: EXACTNESS,
  units: UNITS,
  service_tier: z.string(),
  cost_usd: USD_OUT,
  cost_nano: NANO_OUT,
  stream: z.boolean(),
  status: z.int(),
  error_code: z.string().nullable(),
  first_byte_ms: z.int(),
  duration_ms: z.int(),
};
const REQUEST = z.object({ object: z.literal('request'), ...REQUEST_FIELDS, attempt_count: z.int() });

const EXACT_USD = z.string().regex(/^\d+\.\d{2,21}$/);
const PRICE = z
  .object({
    items: z.array(
      z.object({
        component: METER,
        units: z.int(),
        list_usd_per_million: USD_OUT.nullable().describe('Null where the list has no price for it: nothing is charged for it.'),
        list_usd: EXACT_USD.describe('Units × list price × service_tier_percent: exact.'),
      }),
    ),
    service_tier_percent: z.int(),
    list_usd: EXACT_USD.describe('The sum of the items: exact.'),
    unrounded_usd: EXACT_USD.describe('list_usd × (1 + markup_percent): exact.'),
    rounded_usd: USD_OUT.describe(
      'unrounded_usd rounded once, half to even, to 9 decimals. It is cost_usd, unless the request was charged less: never more than max_cost_usd.',
    ),
  })
  .nullable()
  .describe('What the charge is made of; null where nothing was charged.');

/** What customers and operators are told alike, but that to operators the charge is `charge_usd`, and `cost_usd` what it cost us. */
export const RECEIPT_FIELDS = {
  ...REQUEST_FIELDS,
  list_price_version: z.int(),
  tier: z.string(),
  markup_percent: z.number(),
  max_cost_usd: USD_OUT,
  max_cost_nano: NANO_OUT,
  price: PRICE,
  corrections: z
    .array(z.object({ amount_usd: USD_OUT, amount_nano: NANO_OUT, created_at: TIME_OUT }))
    .describe('What was given back of the charge since, oldest first.'),
};
const RECEIPT = z.object({
  object: z.literal('receipt'),
  ...RECEIPT_FIELDS,
  attempts: z.array(
    z.object({
      provider: z.string(),
      model: z.string(),
      status: z.int(),
      error_code: z.string().nullable(),
      duration_ms: z.int(),
    }),
  ),
});

const QUERY = z.strictObject({
  from: MOMENT.optional().describe('24 hours before `to` unless told.'),
  to: MOMENT.optional().describe(`Now unless told; at most ${SPAN.maxDays} days after \`from\`.`),
  model: ID.optional().describe('The model that answered.'),
  key: ID.optional(),
  member: ID.optional(),
  outcome: OUTCOME.optional(),
  status: z
    .string()
    .regex(/^\d{3}$/, 'must be an HTTP status')
    .transform(Number)
    .optional(),
  min_cost_usd: USD.refine((nano) => nano >= 0n && nano <= MAX_BALANCE_NANO, 'must be an amount that a request can cost').optional(),
  format: FORMAT.optional(),
  ...PAGE_FIELDS,
});

/** Routes for members. */
export function requestRoutes(usage: UsageReading, clock: { nowMs(): number }): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/usage/requests',
        summary: `The log of requests, newest first, without content, in pages; ${AS_TABLE}.`,
        query: QUERY,
        answer: listOf(REQUEST),
        alsoProduces: 'text/csv',
      },
      async ({ request, query }) => {
        const caller = callerOf(request);
        const part = partOf(query, request.headers.accept);
        const rows = await usage.listRequests({
          accountId: caller.accountId,
          ...spanOf(query, clock.nowMs(), SPAN),
          filters: {
            modelId: query.model,
            keyId: query.key,
            memberId: memberAsked(caller, query.member),
            outcome: query.outcome,
            status: query.status,
            minChargeNano: query.min_cost_usd,
          },
          after: part.page.after,
          limit: part.page.limit + 1,
        });
        return answerPart(rows, part, presentRequest, tableOf);
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/usage/requests/:id',
        summary: 'The receipt of a request, by its x-request-id.',
        params: z.strictObject({ id: ID }),
        answer: RECEIPT,
      },
      async ({ request, params }) => {
        const caller = callerOf(request);
        const receipt = await usage.receipt(caller.accountId, params.id);
        if (caller.reach === 'own' && receipt.memberId !== caller.memberId) {
          throw new GatewayError('not_found', { message: 'There is no usage of such a request.' });
        }
        return presentReceipt(receipt);
      },
    );
  };
}

type RequestFields = { [Name in keyof typeof REQUEST_FIELDS]: z.infer<(typeof REQUEST_FIELDS)[Name]> };

function requestFields(row: Omit<RequestRow, 'attemptCount'>): RequestFields {
  return {
    id: row.requestId,
    admitted_at: time(row.admittedAtMs),
    region: row.region,
    key_id: row.keyId,
    member_id: row.memberId,
    operation: row.operation,
    asked_model: row.askedModel,
    model: row.answeringModelId ?? null,
    outcome: row.outcome,
    exactness: row.exactness,
    units: row.units as Record<string, number>,
    service_tier: row.serviceTier,
    ...money('cost', row.chargeNano),
    stream: row.stream,
    status: row.status,
    error_code: row.errorCode ?? null,
    first_byte_ms: row.firstByteMs,
    duration_ms: row.durationMs,
  };
}

function presentRequest(row: RequestRow): z.infer<typeof REQUEST> {
  return { object: 'request', ...requestFields(row), attempt_count: row.attemptCount };
}

/** The same columns as the fields of a row; units as `input=10 output=5`. */
function tableOf(rows: readonly RequestRow[]): string[][] {
  const names = [...Object.keys(REQUEST_FIELDS), 'attempt_count'];
  const cells = (row: RequestRow): string[] => {
    const { units, ...fields } = presentRequest(row);
    const texts: Record<string, string> = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, String(value ?? '')]));
    const used = Object.entries(units).map(([component, count]) => `${component}=${count}`);
    return names.map((name) => (name === 'units' ? used.join(' ') : (texts[name] ?? '')));
  };
  return [names, ...rows.map(cells)];
}

export function receiptFields(receipt: Receipt): { [Name in keyof typeof RECEIPT_FIELDS]: z.infer<(typeof RECEIPT_FIELDS)[Name]> } {
  return {
    ...requestFields(receipt),
    list_price_version: receipt.listPriceVersion,
    tier: receipt.tierId,
    markup_percent: receipt.markupBasisPoints / 100,
    ...money('max_cost', receipt.maxCostNano),
    price: presentPrice(receipt.price),
    corrections: receipt.corrections.map((each) => ({ ...money('amount', each.amountNano), created_at: time(each.createdAtMs) })),
  };
}

function presentReceipt(receipt: Receipt): z.infer<typeof RECEIPT> {
  return {
    object: 'receipt',
    ...receiptFields(receipt),
    // Which endpoint and what it cost us is ours to know.
    attempts: receipt.attempts.map((attempt) => ({
      provider: attempt.providerId,
      model: attempt.modelId,
      status: attempt.status,
      error_code: attempt.errorCode ?? null,
      duration_ms: attempt.durationMs,
    })),
  };
}

function presentPrice(price: Receipt['price']): z.infer<typeof PRICE> {
  if (price === undefined) return null;
  return {
    items: price.items.map((item) => ({
      component: item.meter,
      units: item.units,
      list_usd_per_million: item.listNanoPerMillion === undefined ? null : nanoToUsd(item.listNanoPerMillion),
      list_usd: item.listUsd,
    })),
    service_tier_percent: price.serviceTierPercent,
    list_usd: price.listUsd,
    unrounded_usd: price.unroundedUsd,
    rounded_usd: nanoToUsd(price.amountNano),
  };
}
