/** `/v1/usage`: sums over the hours. */
import { GatewayError } from '@meridian/domain/error';
import { nanoToUsd } from '@meridian/domain/money';
import { COMPONENTS } from '@meridian/domain/usage';
import { z } from 'zod';
import { CSV_TYPE, csv, wantsCsv } from '../http/csv.ts';
import { ID, money, NANO_OUT, REGION, text, USD_OUT } from '../http/field.ts';
import { listed, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute, RawAnswer } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { callerOf } from '../http/session.ts';
import { groupOfId, idOfGroup, USAGE_DIMENSIONS, type UsageDimension, type UsageRow } from './reading.ts';
import { FORMAT, MOMENT, memberAsked, spanOf } from './reading-field.ts';
import type { UsageReading } from './reading-service.ts';

const MAX_CSV_ROWS = 10_000;
const SPAN = { defaultDays: 30, maxDays: 366 };
/** Every dimension may be a name of 256 characters, written with percent signs. */
const MAX_ROW_ID_CHARS = 4_096;

const UNITS = z.partialRecord(z.literal([...COMPONENTS]), z.string());
const ROW = z.object({
  id: z.string().describe('What `after` takes; the same for the same group whenever it is asked for.'),
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
});

const GROUP_BY = z.string().transform((names, context): UsageDimension[] => {
  const asked = names === '' ? [] : names.split(',');
  const dimensions = asked.flatMap((name) => USAGE_DIMENSIONS.filter((dimension) => dimension === name));
  if (dimensions.length === asked.length && new Set(asked).size === asked.length) return dimensions;
  context.addIssue({ code: 'custom', message: `must be some of ${USAGE_DIMENSIONS.join(', ')}, separated by commas` });
  return z.NEVER;
});

const QUERY = z.strictObject({
  from: MOMENT.optional().describe(`${SPAN.defaultDays} days before \`to\` unless told; the hour that holds it counts whole.`),
  to: MOMENT.optional().describe('Now unless told; the hour that holds it counts whole, unless it begins there.'),
  group_by: GROUP_BY.optional().describe('`day` unless told.'),
  model: ID.optional().describe('The model that answered.'),
  key: ID.optional(),
  member: ID.optional(),
  region: REGION.optional(),
  tier: ID.optional().describe('The volume tier that was charged by.'),
  format: FORMAT.optional(),
  ...PAGE_FIELDS,
  after: text(MAX_ROW_ID_CHARS).optional(),
});

/** The route for members. */
export function usageRoutes(usage: UsageReading, clock: { nowMs(): number }): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/usage',
        summary: `Usage and cost by day (UTC), model, key, member and region, in pages; with \`format=csv\` or \`Accept: text/csv\` one table of at most ${MAX_CSV_ROWS} rows.`,
        query: QUERY,
        answer: listOf(ROW),
        alsoProduces: 'text/csv',
      },
      async ({ request, query }) => {
        const caller = callerOf(request);
        const groupBy = query.group_by ?? ['day'];
        const page = pageOf(query);
        const asTable = wantsCsv(query.format, request.headers.accept);
        if (asTable && (query.limit ?? query.after) !== undefined) throw noPages();
        const rows = await usage.listUsage({
          accountId: caller.accountId,
          ...spanOf(query, clock.nowMs(), SPAN),
          filters: {
            modelId: query.model,
            keyId: query.key,
            memberId: memberAsked(caller, query.member),
            region: query.region,
            tierId: query.tier,
          },
          groupBy,
          after: page.after === undefined ? undefined : groupAfter(page.after, groupBy),
          limit: (asTable ? MAX_CSV_ROWS : page.limit) + 1,
        });
        if (!asTable) return listed(rows, page, (row) => presentRow(row, groupBy));
        if (rows.length > MAX_CSV_ROWS) throw tooManyRows();
        return new RawAnswer(CSV_TYPE, csv(tableOf(rows, groupBy)));
      },
    );
  };
}

/** A table that ends without a word would be taken for the whole. */
function tooManyRows(): GatewayError {
  const message = `This is more than ${MAX_CSV_ROWS} rows: ask for a shorter time or fewer dimensions.`;
  return new GatewayError('invalid_request_error', { message, param: 'from' });
}

function noPages(): GatewayError {
  return new GatewayError('invalid_request_error', { message: 'limit, after: a table comes whole.', param: 'limit' });
}

function groupAfter(id: string, groupBy: readonly UsageDimension[]): string[] {
  const group = groupOfId(id, groupBy);
  if (group !== undefined) return group;
  throw new GatewayError('invalid_request_error', { message: 'after: must be the id of a row of the same dimensions.', param: 'after' });
}

function presentRow(row: UsageRow, groupBy: readonly UsageDimension[]): z.infer<typeof ROW> {
  const units = COMPONENTS.filter((component) => row.units[component] > 0n);
  return {
    id: idOfGroup(groupBy.map((dimension) => row.group[dimension] ?? '')),
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
