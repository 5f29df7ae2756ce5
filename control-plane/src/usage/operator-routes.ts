/** `/admin/v1/usage`, `/admin/v1/requests`: what usage comes to for customers and for us, and which records of it need an operator. */
import { z } from 'zod';
import { ID, money, NANO_OUT, REGION, TIME_OUT, time, USD_OUT } from '../http/field.ts';
import { listed, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { AS_TABLE, answerPart, partOf } from '../http/table.ts';
import {
  asksProviders,
  BOOK_DIMENSIONS,
  type BookDimension,
  type BookRow,
  type DeadLetterRow,
  type MismatchRow,
  type OperatorReceipt,
  type RecordPlace,
} from './operator-reading.ts';
import type { OperatorReading } from './operator-service.ts';
import { idOfGroup } from './reading.ts';
import { dimensionsOf, FORMAT, groupAfter, MOMENT, ROW_ID, spanOf } from './reading-field.ts';
import { RECEIPT_FIELDS, receiptFields } from './request-routes.ts';

const SPAN = { defaultDays: 30, maxDays: 366 };
/** Of what is read from the requests themselves. */
const PROVIDERS_SPAN = { defaultDays: 1, maxDays: 31 };

const AMOUNTS = {
  list_usd: USD_OUT.describe('What was charged, without the markup.'),
  list_nano: NANO_OUT,
  charge_usd: USD_OUT.describe('What customers pay.'),
  charge_nano: NANO_OUT,
  cost_usd: USD_OUT.describe('What providers are paid.'),
  cost_nano: NANO_OUT,
  margin_usd: USD_OUT.describe('charge_usd − cost_usd.'),
  margin_nano: NANO_OUT,
  variance_usd: USD_OUT.describe('Usage above what was set aside, which nobody is charged for.'),
  variance_nano: NANO_OUT,
  written_off_usd: USD_OUT.describe('Charges that no lease could pay, which nobody is charged for.'),
  written_off_nano: NANO_OUT,
};

const ROW = z.object({
  id: z.string().describe('What `after` takes; the same for the same group whenever it is asked for.'),
  object: z.literal('usage'),
  day: z.string().optional(),
  model: z.string().optional(),
  provider: z.string().optional(),
  account: z.string().optional(),
  region: z.string().optional(),
  requests: z.int(),
  charged_requests: z.int(),
  estimated_requests: z.int(),
  attempts: z.int().nullable().describe('Calls to providers; null where neither `group_by` nor a filter names providers.'),
  ...AMOUNTS,
  uncharged_cost_usd: USD_OUT.nullable().describe(
    'The part of cost_usd that no charge pays for; null by model or region, unless providers are asked for too.',
  ),
  uncharged_cost_nano: NANO_OUT.nullable(),
});

const GROUP_BY = dimensionsOf(BOOK_DIMENSIONS);

const QUERY = z.strictObject({
  from: MOMENT.optional().describe(
    `${SPAN.defaultDays} days before \`to\` unless told, with providers ${PROVIDERS_SPAN.defaultDays}; the day (UTC) that holds it counts whole.`,
  ),
  to: MOMENT.optional().describe(
    `Now unless told; the day that holds it counts whole, unless it begins there. At most ${SPAN.maxDays} days after \`from\`, with providers ${PROVIDERS_SPAN.maxDays}.`,
  ),
  group_by: GROUP_BY.optional().describe('`day` unless told.'),
  model: ID.optional().describe('The model that answered.'),
  provider: ID.optional(),
  account: ID.optional(),
  region: REGION.optional(),
  format: FORMAT.optional(),
  ...PAGE_FIELDS,
  after: ROW_ID.optional(),
});

const OPERATORS_RECEIPT = z.object({
  object: z.literal('request'),
  ...RECEIPT_FIELDS,
  account_id: z.string(),
  client_dialect: z.string(),
  node_id: z.string(),
  ingested_at: TIME_OUT,
  ...AMOUNTS,
  uncharged_cost_usd: USD_OUT.describe('The part of cost_usd that no charge pays for.'),
  uncharged_cost_nano: NANO_OUT,
  attempts: z.array(
    z.object({
      provider: z.string(),
      endpoint_id: z.string(),
      model: z.string(),
      status: z.int(),
      error_code: z.string().nullable(),
      upstream_request_id: z.string().nullable(),
      cost_usd: USD_OUT,
      cost_nano: NANO_OUT,
      cost_version: z.int(),
      duration_ms: z.int(),
    }),
  ),
});

const RECORD_ID = /^(\d{1,18})\.(\d{1,18})$/;
const RECORDS_QUERY = z.strictObject({
  ...PAGE_FIELDS,
  after: z.string().regex(RECORD_ID, 'must be the id of a record of this list').optional(),
});

const DEAD_LETTER = z.object({
  id: z.string(),
  object: z.literal('dead_letter'),
  reason: z.string(),
  account_id: z.string().nullable(),
  request_id: z.string().nullable(),
  charge_usd: USD_OUT.nullable().describe('What the node said; it is charged to nobody.'),
  charge_nano: NANO_OUT.nullable(),
  node_id: z.string(),
  spool_id: z.string(),
  ingested_at: TIME_OUT,
});

const MISMATCH = z.object({
  id: z.string(),
  object: z.literal('rating_mismatch'),
  account_id: z.string(),
  request_id: z.string(),
  admitted_at: TIME_OUT,
  charge_usd: USD_OUT.describe("The node's figure, which stands."),
  charge_nano: NANO_OUT,
  rated_usd: USD_OUT.nullable().describe('Ours; null where the price version was not known.'),
  rated_nano: NANO_OUT.nullable(),
  node_id: z.string(),
});

/** Routes for operators. */
export function usageOperatorRoutes(usage: OperatorReading, clock: { nowMs(): number }): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/usage',
        summary: `What usage comes to, in charges and in cost, by day (UTC), model, provider, account and region, in pages; ${AS_TABLE}.`,
        query: QUERY,
        answer: listOf(ROW),
        alsoProduces: 'text/csv',
      },
      async ({ request, query }) => {
        const groupBy = query.group_by ?? ['day'];
        const filters = { modelId: query.model, providerId: query.provider, accountId: query.account, region: query.region };
        const part = partOf(query, request.headers.accept);
        const { after, limit } = part.page;
        const rows = await usage.listBooks({
          ...spanOf(query, clock.nowMs(), asksProviders({ groupBy, filters }) ? PROVIDERS_SPAN : SPAN),
          filters,
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
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/requests/:id',
        summary: "What became of anybody's request, by its x-request-id: its receipt, what it cost us, and each attempt.",
        params: z.strictObject({ id: ID }),
        answer: OPERATORS_RECEIPT,
      },
      async ({ params }) => presentReceipt(await usage.operatorReceipt(params.id)),
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/dead-letters',
        summary: 'Records of nodes that could not be ingested, newest first. They are charged to nobody.',
        query: RECORDS_QUERY,
        answer: listOf(DEAD_LETTER),
      },
      async ({ query }) => {
        const page = pageOf(query);
        return listed(await usage.listDeadLetters(page.limit + 1, placeOf(page.after)), page, presentLetter);
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/rating-mismatches',
        summary: 'Charges of nodes that our own rating does not confirm, newest first.',
        query: RECORDS_QUERY,
        answer: listOf(MISMATCH),
      },
      async ({ query }) => {
        const page = pageOf(query);
        return listed(await usage.listMismatches(page.limit + 1, placeOf(page.after)), page, presentMismatch);
      },
    );
  };
}

type Amounts = Pick<BookRow, 'listNano' | 'chargeNano' | 'costNano' | 'varianceNano' | 'writtenOffNano'>;

function presentAmounts({ listNano, chargeNano, costNano, varianceNano, writtenOffNano }: Amounts) {
  return {
    ...money('list', listNano),
    ...money('charge', chargeNano),
    ...money('cost', costNano),
    ...money('margin', chargeNano - costNano),
    ...money('variance', varianceNano),
    ...money('written_off', writtenOffNano),
  };
}

function presentRow(row: BookRow, groupBy: readonly BookDimension[]): z.infer<typeof ROW> {
  const { unchargedCostNano } = row;
  return {
    id: rowId(row, groupBy),
    object: 'usage',
    ...row.group,
    requests: Number(row.requests),
    charged_requests: Number(row.chargedRequests),
    estimated_requests: Number(row.estimatedRequests),
    attempts: row.attempts === undefined ? null : Number(row.attempts),
    ...presentAmounts(row),
    ...(unchargedCostNano === undefined
      ? { uncharged_cost_usd: null, uncharged_cost_nano: null }
      : money('uncharged_cost', unchargedCostNano)),
  };
}

function rowId(row: BookRow, groupBy: readonly BookDimension[]): string {
  return idOfGroup(groupBy.map((dimension) => row.group[dimension] ?? ''));
}

/** The same columns as the fields of a row. */
function tableOf(rows: readonly BookRow[], groupBy: readonly BookDimension[]): string[][] {
  const absent = BOOK_DIMENSIONS.filter((dimension) => !groupBy.includes(dimension));
  const names = Object.keys(ROW.shape).filter((name) => name !== 'object' && !absent.some((dimension) => dimension === name));
  const cells = (row: BookRow): string[] => {
    const fields: Record<string, string | number | null | undefined> = presentRow(row, groupBy);
    return names.map((name) => String(fields[name] ?? ''));
  };
  return [names, ...rows.map(cells)];
}

function presentReceipt(receipt: OperatorReceipt): z.infer<typeof OPERATORS_RECEIPT> {
  return {
    ...receiptFields(receipt),
    object: 'request',
    account_id: receipt.accountId,
    client_dialect: receipt.clientDialect,
    node_id: receipt.nodeId,
    ingested_at: time(receipt.ingestedAtMs),
    ...presentAmounts(receipt),
    ...money('uncharged_cost', receipt.unchargedCostNano),
    attempts: receipt.attempts.map((attempt) => ({
      provider: attempt.providerId,
      endpoint_id: attempt.endpointId,
      model: attempt.modelId,
      status: attempt.status,
      error_code: attempt.errorCode ?? null,
      upstream_request_id: attempt.upstreamRequestId ?? null,
      ...money('cost', attempt.costNano),
      cost_version: attempt.costVersion,
      duration_ms: attempt.durationMs,
    })),
  };
}

function idOfPlace({ batchId, seq }: RecordPlace): string {
  return `${batchId}.${seq}`;
}

function placeOf(id: string | undefined): RecordPlace | undefined {
  const [, batchId, seq] = RECORD_ID.exec(id ?? '') ?? [];
  return batchId === undefined || seq === undefined ? undefined : { batchId: BigInt(batchId), seq: BigInt(seq) };
}

function presentLetter(row: DeadLetterRow): z.infer<typeof DEAD_LETTER> {
  return {
    id: idOfPlace(row),
    object: 'dead_letter',
    reason: row.reason,
    account_id: row.accountId ?? null,
    request_id: row.requestId ?? null,
    ...(row.chargeNano === undefined ? { charge_usd: null, charge_nano: null } : money('charge', row.chargeNano)),
    node_id: row.nodeId,
    spool_id: row.spoolId,
    ingested_at: time(row.ingestedAtMs),
  };
}

function presentMismatch(row: MismatchRow): z.infer<typeof MISMATCH> {
  return {
    id: idOfPlace(row),
    object: 'rating_mismatch',
    account_id: row.accountId,
    request_id: row.requestId,
    admitted_at: time(row.admittedAtMs),
    ...money('charge', row.chargeNano),
    ...(row.ratedNano === undefined ? { rated_usd: null, rated_nano: null } : money('rated', row.ratedNano)),
    node_id: row.nodeId,
  };
}
