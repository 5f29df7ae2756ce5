/** `/v1/keys`: a member's API keys. */
import { z } from 'zod';
import { CAPS } from '../budgets/cap-field.ts';
import type { CapStanding } from '../budgets/caps.ts';
import { ID, NAME, REGION, TIME } from '../http/field.ts';
import { listed, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { type Caller, callerOf } from '../http/session.ts';
import { RATE_LIMITS, rateLimitsOf } from '../plans/rate-limits.ts';
import { type KeyRow, MAX_MODELS_PER_KEY, MAX_REGIONS_PER_KEY } from './key.ts';
import { KEY, KEY_FIELDS, presentKey } from './key-field.ts';
import type { KeyScope, KeyService } from './service.ts';

const MODELS = z.array(ID).max(MAX_MODELS_PER_KEY);
const REGIONS = z.array(REGION).max(MAX_REGIONS_PER_KEY);
const ID_PARAMS = z.strictObject({ id: ID });

export function keyRoutes(keys: KeyService, clock: { nowMs(): number }): Routes {
  const present = (row: KeyRow, caps: ReadonlyMap<string, readonly CapStanding[]>) =>
    presentKey(row, caps.get(row.id) ?? [], clock.nowMs());
  const presentOne = async (row: KeyRow) => present(row, await keys.capsOf([row]));
  return (app) => {
    addRoute(
      app,
      {
        method: 'POST',
        url: '/v1/keys',
        trail: { kind: 'api_key' },
        summary: 'Make an API key; the answer is the only place where it is ever shown.',
        status: 201,
        body: z.strictObject({
          name: NAME,
          expires_at: TIME.nullish(),
          models: MODELS.nullish(),
          regions: REGIONS.nullish(),
          rate_limits: RATE_LIMITS.nullish(),
          model_rate_limits: RATE_LIMITS.nullish(),
          caps: CAPS.optional(),
        }),
        answer: z.object({ ...KEY_FIELDS, key: z.string() }),
      },
      async ({ request, body }) => {
        const { row, key } = await keys.create(callerOf(request), {
          name: body.name,
          expiresAtMs: body.expires_at ?? undefined,
          models: body.models ?? [],
          regions: body.regions ?? [],
          rateLimits: rateLimitsOf(body.rate_limits),
          modelRateLimits: rateLimitsOf(body.model_rate_limits),
          caps: body.caps,
        });
        return { ...(await presentOne(row)), key };
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/keys',
        summary: 'List API keys, newest first.',
        query: z.strictObject({ ...PAGE_FIELDS, include_revoked: z.enum(['true', 'false']).optional() }),
        answer: listOf(KEY),
      },
      async ({ request, query }) => {
        const page = pageOf(query);
        const rows = await keys.list(scopeOf(callerOf(request)), page, query.include_revoked === 'true');
        const caps = await keys.capsOf(rows);
        return listed(rows, page, (row) => present(row, caps));
      },
    );
    addRoute(
      app,
      { method: 'GET', url: '/v1/keys/:id', summary: 'Read an API key.', params: ID_PARAMS, answer: KEY },
      async ({ request, params }) => presentOne(await keys.get(scopeOf(callerOf(request)), params.id)),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/v1/keys/:id',
        trail: { kind: 'api_key', id: 'id' },
        summary: 'Change the name or the terms of an API key.',
        params: ID_PARAMS,
        body: z.strictObject({
          name: NAME.optional(),
          expires_at: TIME.nullish(),
          models: MODELS.optional(),
          regions: REGIONS.optional(),
          rate_limits: RATE_LIMITS.nullish(),
          model_rate_limits: RATE_LIMITS.nullish(),
          caps: CAPS.optional(),
        }),
        answer: KEY,
      },
      async ({ request, params, body }) => {
        const { expires_at, rate_limits, model_rate_limits, ...rest } = body;
        const change = {
          ...rest,
          expiresAtMs: expires_at,
          rateLimits: rate_limits === undefined ? undefined : (rateLimitsOf(rate_limits) ?? null),
          modelRateLimits: model_rate_limits === undefined ? undefined : (rateLimitsOf(model_rate_limits) ?? null),
        };
        return presentOne(await keys.change(scopeOf(callerOf(request)), params.id, change));
      },
    );
    addRoute(
      app,
      {
        method: 'DELETE',
        url: '/v1/keys/:id',
        trail: { kind: 'api_key', id: 'id' },
        summary: 'Revoke an API key for good; `rev` on the SECURITY lane tells when nodes have heard of it.',
        params: ID_PARAMS,
        answer: z.object({ id: z.string(), object: z.literal('api_key'), deleted: z.literal(true), rev: z.int() }),
      },
      async ({ request, params }) => {
        const { row, rev } = await keys.revoke(scopeOf(callerOf(request)), params.id);
        return { id: row.id, object: 'api_key', deleted: true, rev };
      },
    );
  };
}

function scopeOf(caller: Caller): KeyScope {
  return { accountId: caller.accountId, memberId: caller.reach === 'own' ? caller.memberId : undefined };
}
