/** `/admin/v1/accounts/{id}/keys`: the API keys of any account, for operators. */
import { z } from 'zod';
import type { CapStanding } from '../budgets/caps.ts';
import { ID } from '../http/field.ts';
import { listed, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { RATE_LIMITS, rateLimitsOf } from '../plans/rate-limits.ts';
import type { KeyRow } from './key.ts';
import { KEY, KEY_FIELDS, presentKey } from './key-field.ts';
import type { KeyService } from './service.ts';

/** Routes for operators. `requireAccount` throws `not_found` for an account that does not exist. */
export function keyOperatorRoutes(
  keys: KeyService,
  requireAccount: (accountId: string) => Promise<unknown>,
  clock: { nowMs(): number },
): Routes {
  const present = (row: KeyRow, caps: ReadonlyMap<string, readonly CapStanding[]>) =>
    presentKey(row, caps.get(row.id) ?? [], clock.nowMs());
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/accounts/:id/keys',
        summary: 'List the API keys of an account, newest first.',
        params: z.strictObject({ id: ID }),
        query: z.strictObject({ ...PAGE_FIELDS, member: ID.optional(), include_revoked: z.enum(['true', 'false']).optional() }),
        answer: listOf(KEY),
      },
      async ({ params, query }) => {
        await requireAccount(params.id);
        const page = pageOf(query);
        const rows = await keys.list({ accountId: params.id, memberId: query.member }, page, query.include_revoked === 'true');
        const caps = await keys.capsOf(rows);
        return listed(rows, page, (row) => present(row, caps));
      },
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/admin/v1/accounts/:id/keys/:key_id',
        trail: { kind: 'api_key', id: 'key_id', account: 'id' },
        summary:
          'Revoke a key for good, disable it or enable it again, or set its rate limits; `rev` is on the SECURITY lane where the key is refused from now on, else on CUSTOMER.',
        params: z.strictObject({ id: ID, key_id: ID }),
        body: z.strictObject({
          status: z.enum(['active', 'disabled', 'revoked']).optional(),
          rate_limits: RATE_LIMITS.nullish().describe('Besides those of the plan; whoever may change the key may change them too.'),
          model_rate_limits: RATE_LIMITS.nullish(),
        }),
        answer: z.object({ ...KEY_FIELDS, rev: z.int() }),
      },
      async ({ params, body }) => {
        await requireAccount(params.id);
        const { row, rev } = await keys.administer(params.id, params.key_id, {
          status: body.status,
          rateLimits: body.rate_limits === undefined ? undefined : (rateLimitsOf(body.rate_limits) ?? null),
          modelRateLimits: body.model_rate_limits === undefined ? undefined : (rateLimitsOf(body.model_rate_limits) ?? null),
        });
        return { ...present(row, await keys.capsOf([row])), rev };
      },
    );
  };
}
