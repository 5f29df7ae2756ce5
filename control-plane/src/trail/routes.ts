/** Who changed what: all of it for operators, what concerns their account for owners. */
import { z } from 'zod';
import { ID, TIME, TIME_OUT, time } from '../http/field.ts';
import { listed, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { callerOf } from '../http/session.ts';
import type { TrailService } from './service.ts';
import type { TrailEntry } from './trail.ts';

const COLUMNS = z.record(z.string(), z.unknown());
const OBJECT = z.object({ kind: z.string(), id: z.string().nullable() });
const EVENT = z.object({
  id: z.string(),
  object: z.literal('trail_event'),
  at: TIME_OUT,
  request_id: z.string().describe('Empty where a file said it, at a start.'),
  actor: z
    .object({ kind: z.enum(['operator', 'member', 'file']), id: z.string().nullable() })
    .describe('An operator or a file by name, a member by id; null for somebody who is not of this account.'),
  network: z
    .string()
    .nullable()
    .describe('Where the request came from: the first 24 bits of an IPv4 address, the first 48 of an IPv6 one.'),
  route: z.string().describe('`PATCH /v1/keys/:id`, or `start` for what a file says.'),
  account_id: z.string().nullable(),
  subject: OBJECT.describe('What the request was about; the id is null where it was made by it.'),
  note: COLUMNS.nullable().describe('Fields of the request that no change tells of; of a file its hash.'),
  changes: z
    .array(OBJECT.extend({ before: COLUMNS, after: COLUMNS }))
    .describe('The columns that differ. Nothing before: it was made. Nothing after: it was removed. Secrets are not told.'),
  change_count: z.int().describe('How many there are; a list shows the first 20.'),
});
const FILTER_FIELDS = {
  object_kind: ID.optional(),
  object_id: ID.optional().describe('Of what the request was about, or of what it changed.'),
  actor: ID.optional().describe('The name of an operator or of a file, or the id of a member.'),
  request_id: ID.optional(),
  from: TIME.optional(),
  to: TIME.optional(),
};

/** Routes for members. */
export function trailRoutes(trail: TrailService): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/account/trail',
        summary: 'Who changed what in the account, newest first.',
        query: z.strictObject({ ...PAGE_FIELDS, ...FILTER_FIELDS }),
        answer: listOf(EVENT),
      },
      async ({ request, query }) => {
        const page = pageOf(query);
        return listed(await trail.listOfAccount(callerOf(request).accountId, filterOf(query), page), page, present);
      },
    );
  };
}

/** Routes for operators. */
export function trailOperatorRoutes(trail: TrailService): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/trail',
        summary: 'Who changed what, newest first.',
        query: z.strictObject({ ...PAGE_FIELDS, ...FILTER_FIELDS, account_id: ID.optional() }),
        answer: listOf(EVENT),
      },
      async ({ query }) => {
        const page = pageOf(query);
        return listed(await trail.list({ ...filterOf(query), accountId: query.account_id }, page), page, present);
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/trail/:id',
        summary: 'Read what one request changed, all of it.',
        params: z.strictObject({ id: ID }),
        answer: EVENT,
      },
      async ({ params }) => present(await trail.get(params.id)),
    );
  };
}

interface FilterQuery {
  readonly object_kind?: string | undefined;
  readonly object_id?: string | undefined;
  readonly actor?: string | undefined;
  readonly request_id?: string | undefined;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

function filterOf(query: FilterQuery) {
  return {
    ...{ objectKind: query.object_kind, objectId: query.object_id, actorId: query.actor, requestId: query.request_id },
    ...{ fromMs: query.from, toMs: query.to },
  };
}

function present({ event, changes, changeCount }: TrailEntry): z.infer<typeof EVENT> {
  return {
    id: event.id,
    object: 'trail_event',
    at: time(event.at),
    request_id: event.request_id,
    actor: { kind: event.actor_kind, id: event.actor_id === '' ? null : event.actor_id },
    network: event.address === '' ? null : event.address,
    route: event.route,
    account_id: event.account_id,
    subject: { kind: event.object_kind, id: event.object_id },
    note: event.note,
    changes: changes.map(({ object_kind, object_id, before, after }) => ({ kind: object_kind, id: object_id, before, after })),
    change_count: changeCount,
  };
}
