/** Endpoints with their cost, for operators. */
import { z } from 'zod';
import { oneOrMany } from '../http/bulk.ts';
import { ID, REGION, TIME_OUT, text, time } from '../http/field.ts';
import { listed, listedWhole, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { DIALECT_NAMES, type EndpointInput, type EndpointRow, OPERATIONS } from './catalog.ts';
import { given } from './given.ts';
import { readCards } from './rate-card.ts';
import { CARDS_OUT, cardsField, presentCards } from './rate-card-field.ts';
import type { CatalogService } from './service.ts';

const ID_PARAMS = z.strictObject({ id: ID });
const PRIORITY = z.int().min(0).max(1_000_000);

const ENDPOINT = z.object({
  id: z.string(),
  object: z.literal('endpoint'),
  model_id: z.string(),
  provider_id: z.string(),
  credential_id: z.string().nullable().describe("Null: the provider's default credential."),
  upstream_model: z.string(),
  dialect: z.enum(DIALECT_NAMES),
  operations: z.array(z.enum(OPERATIONS)),
  regions: z.array(z.string()),
  priority: z.int(),
  enabled: z.boolean(),
  cost: z.object({ version: z.int(), effective_from: TIME_OUT, cards: CARDS_OUT }),
});

const ENDPOINT_TERMS = {
  upstream_model: text(200),
  dialect: z.enum(DIALECT_NAMES),
  operations: z.array(z.enum(OPERATIONS)).min(1),
  regions: z.array(REGION).max(64),
  priority: PRIORITY,
  enabled: z.boolean(),
};

const CONFIRM = z.boolean().default(false).describe('The endpoint may cost more than its model is sold at.');

const NEW_ENDPOINT = z
  .strictObject({
    model_id: ID,
    provider_id: ID,
    credential_id: ID.nullish(),
    upstream_model: ENDPOINT_TERMS.upstream_model,
    dialect: ENDPOINT_TERMS.dialect.default('openai-chat'),
    operations: ENDPOINT_TERMS.operations.default(['chat']),
    regions: ENDPOINT_TERMS.regions.default([]),
    priority: PRIORITY.default(100),
    enabled: z.boolean().default(true),
    cost: cardsField(0),
    confirm: CONFIRM,
  })
  .transform((body): EndpointInput & { readonly confirm: boolean } => ({
    modelId: body.model_id,
    providerId: body.provider_id,
    credentialId: body.credential_id ?? undefined,
    upstreamModel: body.upstream_model,
    dialect: body.dialect,
    operations: body.operations,
    regions: body.regions,
    priority: body.priority,
    enabled: body.enabled,
    cost: body.cost,
    confirm: body.confirm,
  }));

/** Routes for operators. */
export function endpointRoutes(catalog: CatalogService): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/endpoints',
        summary: 'List endpoints, of one model or one provider if asked.',
        query: z.strictObject({ ...PAGE_FIELDS, model_id: ID.optional(), provider_id: ID.optional() }),
        answer: listOf(ENDPOINT),
      },
      async ({ query }) => {
        const page = pageOf(query);
        const filter = given<{ modelId: string; providerId: string }>({ modelId: query.model_id, providerId: query.provider_id });
        return listed(await catalog.listEndpoints(filter, page), page, presentEndpoint);
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/endpoints',
        trail: { kind: 'endpoint' },
        summary:
          'Make endpoints: one, or many in `data`. The same way to the same model is one endpoint. A cost above the price needs `confirm`.',
        status: 201,
        body: oneOrMany(NEW_ENDPOINT),
        answer: listOf(ENDPOINT),
      },
      async ({ body }) => listedWhole((await catalog.createEndpoints(body)).map(presentEndpoint)),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/admin/v1/endpoints/:id',
        trail: { kind: 'endpoint', id: 'id' },
        summary: 'Change an endpoint; a changed cost becomes a new version. A cost above the price needs `confirm`.',
        params: ID_PARAMS,
        body: z.strictObject({
          credential_id: ID.optional(),
          upstream_model: ENDPOINT_TERMS.upstream_model.optional(),
          dialect: ENDPOINT_TERMS.dialect.optional(),
          operations: ENDPOINT_TERMS.operations.optional(),
          regions: ENDPOINT_TERMS.regions.optional(),
          priority: PRIORITY.optional(),
          enabled: z.boolean().optional(),
          cost: cardsField(0).optional(),
          confirm: CONFIRM,
        }),
        answer: ENDPOINT,
      },
      async ({ params, body }) => {
        const { credential_id: credentialId, upstream_model: upstreamModel, confirm, ...rest } = body;
        const change = given<Omit<EndpointInput, 'modelId' | 'providerId'>>({ ...rest, credentialId, upstreamModel });
        return presentEndpoint(await catalog.changeEndpoint(params.id, change, { confirm }));
      },
    );
  };
}

function presentEndpoint(row: EndpointRow): z.infer<typeof ENDPOINT> {
  const { id, model_id, provider_id, credential_id, upstream_model, dialect, operations, regions, priority, enabled } = row;
  return {
    ...{ id, object: 'endpoint', model_id, provider_id, credential_id, upstream_model, dialect, operations, regions, priority, enabled },
    cost: { version: row.cost_version, effective_from: time(row.cost_effective_from), cards: presentCards(readCards(row.cost_cards)) },
  };
}
