/** `/v1/usage`: sums over the hours, and the receipt of one request. */
import { GatewayError } from '@meridian/domain/error';
import { nanoToUsd } from '@meridian/domain/money';
import { COMPONENTS } from '@meridian/domain/usage';
import { OUTCOMES } from '@meridian/domain/usage-record';
import { z } from 'zod';
import { csv } from '../http/csv.ts';
import { ID, money, NANO_OUT, TIME_OUT, time, USD_OUT } from '../http/field.ts';
import { listOf } from '../http/paginate.ts';
import { addRoute, RawAnswer } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { callerOf } from '../http/session.ts';
import type { Receipt, UsageService } from './service.ts';
import { USAGE_DIMENSIONS, type UsageDimension, type UsageRow } from './usage.ts';

const MAX_ROWS = 1_000;
const MAX_CSV_ROWS = 10_000;
const MAX_RANGE_DAYS = 366;
const DEFAULT_RANGE_DAYS = 30;
const DAY_MS = 86_400_000;

const UNITS = z.partialRecord(z.literal([...COMPONENTS]), z.string());
const ROW_FIELDS = {
  object: z.literal('usage'),
  day: z.string().optional(),
  model: z.string().optional(),
  key: z.string().optional(),
  member: z.string().optional(),
  region: z.string().optional(),
  requests: z.int(),
  charged_requests: z.int(),
  estimated_requests: z.int(),
  units: UNITS.describe('Integers as text, by component; those that are zero are left out.'),
  cost_usd: USD_OUT,
  cost_nano: NANO_OUT,
};
const ROW = z.object(ROW_FIELDS);

/** A day (`2026-01-31`, its beginning in UTC) or a moment. */
const MOMENT = z
  .union([z.iso.date(), z.iso.datetime({ offset: true })], 'must be a date such as 2026-01-31 or an RFC 3339 time')
  .transform((text) => Date.parse(text));

const GROUP_BY = z.string().transform((text, context): UsageDimension[] => {
  const names = text === '' ? [] : text.split(',');
  const dimensions = names.flatMap((name) => USAGE_DIMENSIONS.filter((dimension) => dimension === name));
  if (dimensions.length === names.length && new Set(names).size === names.length) return dimensions;
  context.addIssue({ code: 'custom', message: `must be some of ${USAGE_DIMENSIONS.join(', ')}, separated by commas` });
  return z.NEVER;
});

const RECEIPT = z.object({
  object: z.literal('receipt'),
  id: z.string(),
  admitted_at: TIME_OUT,
  region: z.string(),
  key_id: z.string(),
  member_id: z.string(),
  operation: z.string(),
  asked_model: z.string(),
  model: z.string().nullable(),
  outcome: z.enum(OUTCOMES as [(typeof OUTCOMES)[number]]),
  exactness: z.enum(['exact', 'estimated']),
  units: z.partialRecord(z.literal([...COMPONENTS]), z.int()),
  service_tier: z.string(),
  list_price_version: z.int(),
  tier: z.string(),
  markup_percent: z.number(),
  max_cost_usd: USD_OUT,
  max_cost_nano: NANO_OUT,
  cost_usd: USD_OUT,
  cost_nano: NANO_OUT,
  stream: z.boolean(),
  status: z.int(),
  error_code: z.string().nullable(),
  first_byte_ms: z.int(),
  duration_ms: z.int(),
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

/** Routes for members. */
export function usageRoutes(usage: UsageService, clock: { nowMs(): number }): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/usage',
        summary: 'Usage and cost by day, model, key, member and region; CSV with `format=csv` or `Accept: text/csv`.',
        query: z.strictObject({
          from: MOMENT.optional().describe(`${DEFAULT_RANGE_DAYS} days before \`to\` unless told.`),
          to: MOMENT.optional().describe('Now unless told.'),
          group_by: GROUP_BY.optional().describe('`day` unless told.'),
          format: z.enum(['json', 'csv']).optional(),
        }),
        answer: listOf(ROW),
        alsoProduces: 'text/csv',
      },
      async ({ request, query }) => {
        const caller = callerOf(request);
        const toMs = query.to ?? clock.nowMs();
        const fromMs = query.from ?? toMs - DEFAULT_RANGE_DAYS * DAY_MS;
        requireRange(fromMs, toMs);
        const groupBy = query.group_by ?? ['day'];
        const wantsCsv = query.format === 'csv' || (query.format === undefined && /\btext\/csv\b/i.test(request.headers.accept ?? ''));
        const maxRows = wantsCsv ? MAX_CSV_ROWS : MAX_ROWS;
        const rows = await usage.listUsage({
          accountId: caller.accountId,
          ...(caller.reach === 'own' ? { memberId: caller.memberId } : {}),
          fromMs,
          toMs,
          groupBy,
          limit: maxRows + 1,
        });
        if (wantsCsv && rows.length > maxRows) throw tooManyRows();
        if (wantsCsv) return new RawAnswer('text/csv; charset=utf-8', csv(tableOf(rows, groupBy)));
        return { object: 'list', data: rows.slice(0, maxRows).map(presentRow), has_more: rows.length > maxRows };
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

/** A table that ends without a word would be taken for the whole. */
function tooManyRows(): GatewayError {
  const message = `This is more than ${MAX_CSV_ROWS} rows: ask for a shorter time or fewer dimensions.`;
  return new GatewayError('invalid_request_error', { message, param: 'from' });
}

function requireRange(fromMs: number, toMs: number): void {
  const problem =
    fromMs >= toMs
      ? 'from must be earlier than to'
      : toMs - fromMs > MAX_RANGE_DAYS * DAY_MS
        ? `the time from from to to must be at most ${MAX_RANGE_DAYS} days`
        : undefined;
  if (problem !== undefined) throw new GatewayError('invalid_request_error', { message: `${problem}.`, param: 'from' });
}

function presentRow(row: UsageRow): z.infer<typeof ROW> {
  const units = COMPONENTS.filter((component) => row.units[component] > 0n);
  return {
    object: 'usage',
    ...row.group,
    requests: Number(row.requests),
    charged_requests: Number(row.chargedRequests),
    estimated_requests: Number(row.estimatedRequests),
    units: Object.fromEntries(units.map((component) => [component, row.units[component].toString()])),
    ...money('cost', row.chargeNano),
  };
}

function tableOf(rows: readonly UsageRow[], groupBy: readonly UsageDimension[]): string[][] {
  return [
    [...groupBy, 'requests', 'charged_requests', 'estimated_requests', ...COMPONENTS, 'cost_usd', 'cost_nano'],
    ...rows.map((row) => [
      ...groupBy.map((dimension) => row.group[dimension] ?? ''),
      ...[row.requests, row.chargedRequests, row.estimatedRequests].map(String),
      ...COMPONENTS.map((component) => row.units[component].toString()),
      nanoToUsd(row.chargeNano),
      row.chargeNano.toString(),
    ]),
  ];
}

function presentReceipt(receipt: Receipt): z.infer<typeof RECEIPT> {
  return {
    object: 'receipt',
    id: receipt.requestId,
    admitted_at: time(receipt.admittedAtMs),
    region: receipt.region,
    key_id: receipt.keyId,
    member_id: receipt.memberId,
    operation: receipt.operation,
    asked_model: receipt.askedModel,
    model: receipt.answeringModelId ?? null,
    outcome: receipt.outcome,
    exactness: receipt.exactness,
    units: receipt.units,
    service_tier: receipt.serviceTier,
    list_price_version: receipt.listPriceVersion,
    tier: receipt.tierId,
    markup_percent: receipt.markupBasisPoints / 100,
    ...money('max_cost', receipt.maxCostNano),
    ...money('cost', receipt.chargeNano),
    stream: receipt.stream,
    status: receipt.status,
    error_code: receipt.errorCode ?? null,
    first_byte_ms: receipt.firstByteMs,
    duration_ms: receipt.durationMs,
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
