/** Aliases of models, for operators. */
import { z } from 'zod';
import { oneOrMany } from '../http/bulk.ts';
import { ID } from '../http/field.ts';
import { listed, listedWhole, listOf, PAGE_QUERY, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import type { AliasRow } from './catalog.ts';
import { MODEL_NAME } from './model-name-field.ts';
import type { CatalogService } from './service.ts';

const ID_PARAMS = z.strictObject({ id: ID });
const ALIAS = z.object({ id: z.string(), object: z.literal('alias'), name: z.string(), model_id: z.string() });

/** Routes for operators. */
export function aliasRoutes(catalog: CatalogService): Routes {
  return (app) => {
    addRoute(
      app,
      { method: 'GET', url: '/admin/v1/aliases', summary: 'List aliases by name.', query: PAGE_QUERY, answer: listOf(ALIAS) },
      async ({ query }) => {
        const page = pageOf(query);
        return listed(await catalog.listAliases(page), page, presentAlias);
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
        body: oneOrMany(z.strictObject({ name: MODEL_NAME, model_id: ID })),
        answer: listOf(ALIAS),
      },
      async ({ body }) => {
        const rows = await catalog.createAliases(body.map((alias) => ({ name: alias.name, modelId: alias.model_id })));
        return listedWhole(rows.map(presentAlias));
      },
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
      async ({ params }) => ({ id: (await catalog.deleteAlias(params.id)).name, object: 'alias', deleted: true }),
    );
  };
}

function presentAlias(row: AliasRow): z.infer<typeof ALIAS> {
  return { id: row.name, object: 'alias', name: row.written, model_id: row.model_id };
}
