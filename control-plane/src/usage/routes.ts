/** `/v1/usage`: sums over the hours. */
import { nanoToUsd } from '@meridian/domain/money';
import { COMPONENTS } from '@meridian/domain/usage';
import { z } from 'zod';
import { ID, money, NANO_OUT, REGION, USD_OUT } from '../http/field.ts';
import { listOf, PAGE_FIELDS } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { callerOf } from '../http/session.ts';
import { AS_TABLE, answerPart, partOf } from '../http/table.ts';
import { idOfGroup, USAGE_DIMENSIONS, type UsageDimension, type UsageRow } from './reading.ts';
import { dimensionsOf, FORMAT, groupAfter, MOMENT, memberAsked, ROW_ID, spanOf } from './reading-field.ts';
import type { UsageReading } from './reading-service.ts';

const SPAN = { defaultDays: 30, maxDays: 366 };

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

const GROUP_BY = dimensionsOf(USAGE_DIMENSIONS);

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
  after: ROW_ID.optional(),
});

/** The route for members. */
export function usageRoutes(usage: UsageReading, clock: { nowMs(): number }): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/usage',
        summary: `Usage and cost by day (UTC), model, key, member and region, in pages; ${AS_TABLE}.`,
        query: QUERY,
        answer: listOf(ROW),
        alsoProduces: 'text/csv',
      },
      async ({ request, query }) => {
        const caller = callerOf(request);
        const groupBy = query.group_by ?? ['day'];
        const part = partOf(query, request.headers.accept);
        const { after, limit } = part.page;
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
          after: after === undefined ? undefined : groupAfter(after, groupBy),
          limit: limit + 1,
        });
        return answerPart(
          rows,
          part,
          (row) => presentRow(row, groupBy),
          (some) => tableOf(some, groupBy),
        );
      },
    );
  };
}

function rowId(row: UsageRow, groupBy: readonly UsageDimension[]): string {
  return idOfGroup(groupBy.map((dimension) => row.group[dimension] ?? ''));
}

function presentRow(row: UsageRow, groupBy: readonly UsageDimension[]): z.infer<typeof ROW> {
  const units = COMPONENTS.filter((component) => row.units[component] > 0n);
  return {
    id: rowId(row, groupBy),
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
    ['id', ...groupBy, 'requests', 'charged_requests', 'estimated_requests', ...COMPONENTS, 'cost_usd', 'cost_nano'],
    ...rows.map((row) => [
      rowId(row, groupBy),
      ...groupBy.map((dimension) => row.group[dimension] ?? ''),
      ...[row.requests, row.chargedRequests, row.estimatedRequests].map(String),
      ...COMPONENTS.map((component) => row.units[component].toString()),
      nanoToUsd(row.chargeNano),
      row.chargeNano.toString(),
    ]),
  ];
}
