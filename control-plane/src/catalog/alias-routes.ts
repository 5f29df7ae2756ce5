/** Aliases of models, for operators. */
import { REASONING_EFFORTS } from '@meridian/domain/model';
import { z } from 'zod';
import { oneOrMany } from '../http/bulk.ts';
import { ID } from '../http/field.ts';
import { listed, listedWhole, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import type { AliasInput, AliasRow } from './catalog.ts';
import { MODEL_NAME } from './model-name-field.ts';
import type { CatalogService } from './service.ts';

const ID_PARAMS = z.strictObject({ id: ID });
const EFFORT = z.enum(REASONING_EFFORTS);
const EFFORT_WORDS = 'How much the model thinks under this name, whatever the request asks for; null leaves it to the request.';

const ALIAS = z.object({
  id: z.string(),
  object: z.literal('alias'),
  name: z.string(),
  model_id: z.string(),
  account_id: z.string().nullable().describe('Only for this account; null: see `plan_id`.'),
  plan_id: z.string().nullable().describe('Only for the accounts of this plan; null, as `account_id`: for everybody.'),
  reasoning_effort: EFFORT.nullable().describe(EFFORT_WORDS),
});

const NEW_ALIAS = z
  .strictObject({
    name: MODEL_NAME.describe('For one account or plan it may be the name of another model, which it hides there.'),
    model_id: ID,
    account_id: ID.nullish().describe("Goes before one for the account's plan, and that before one for everybody."),
    plan_id: ID.nullish(),
    reasoning_effort: EFFORT.nullish().describe(EFFORT_WORDS),
  })
  .refine((body) => body.account_id == null || body.plan_id == null, {
    message: 'an alias is for an account or for a plan, not for both',
    path: ['plan_id'],
  })
  .transform(
    (body): AliasInput => ({
      name: body.name,
      modelId: body.model_id,
      accountId: body.account_id ?? undefined,
      planId: body.plan_id ?? undefined,
      reasoningEffort: body.reasoning_effort ?? undefined,
    }),
  );

/** Routes for operators. */
export function aliasRoutes(catalog: CatalogService): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/aliases',
        summary: 'List aliases by id: all, or those made for an account or a plan.',
        query: z.strictObject({ account_id: ID.optional(), plan_id: ID.optional(), ...PAGE_FIELDS }),
        answer: listOf(ALIAS),
      },
      async ({ query }) => {
        const page = pageOf(query);
        return listed(await catalog.listAliases({ accountId: query.account_id, planId: query.plan_id }, page), page, presentAlias);
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/aliases',
        trail: { kind: 'alias' },
        summary: 'Make aliases: one, or many in `data`.',
        status: 201,
        body: oneOrMany(NEW_ALIAS),
        answer: listOf(ALIAS),
      },
      async ({ body }) => listedWhole((await catalog.createAliases(body)).map(presentAlias)),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/admin/v1/aliases/:id',
        trail: { kind: 'alias', id: 'id' },
        summary: 'Change what an alias stands for (slashes as %2F).',
        params: ID_PARAMS,
        body: z.strictObject({ model_id: ID.optional(), reasoning_effort: EFFORT.nullish().describe(EFFORT_WORDS) }),
        answer: ALIAS,
      },
      async ({ params, body }) =>
        presentAlias(await catalog.changeAlias(params.id, { modelId: body.model_id, reasoningEffort: body.reasoning_effort })),
    );
    addRoute(
      app,
      {
        method: 'DELETE',
        url: '/admin/v1/aliases/:id',
        trail: { kind: 'alias', id: 'id' },
        summary: 'Delete an alias (slashes as %2F).',
        params: ID_PARAMS,
        answer: z.object({ id: z.string(), object: z.literal('alias'), deleted: z.literal(true) }),
      },
      async ({ params }) => ({ id: (await catalog.deleteAlias(params.id)).id, object: 'alias', deleted: true }),
    );
  };
}

function presentAlias(row: AliasRow): z.infer<typeof ALIAS> {
  return {
    id: row.id,
    object: 'alias',
    name: row.written,
    model_id: row.model_id,
    account_id: row.account_id,
    plan_id: row.plan_id,
    reasoning_effort: row.reasoning_effort,
  };
}
