/** Providers, models, aliases and endpoints, for operators. */
import { z } from 'zod';
import { oneOrMany } from '../http/bulk.ts';
import { ID, NAME, REGION, TIME_OUT, text, time } from '../http/field.ts';
import { listed, listedWhole, listOf, PAGE_FIELDS, PAGE_QUERY, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import {
  type AliasRow,
  DIALECT_NAMES,
  type EndpointInput,
  type EndpointRow,
  MODALITIES,
  MODEL_MODES,
  type ModelInput,
  type ModelRow,
  OPERATIONS,
  type ProviderInput,
  type ProviderRow,
} from './catalog.ts';
import { readCards } from './rate-card.ts';
import { CARDS, CARDS_OUT, presentCards } from './rate-card-field.ts';
import type { CatalogService } from './service.ts';

const ID_PARAMS = z.strictObject({ id: ID });
const MODEL_ID = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]*(\/[A-Za-z0-9][A-Za-z0-9._:-]*)*$/, 'must be a model id such as gpt-5.4')
  .max(200);
const ORIGIN = z
  .string()
  .refine(
    (text) => /^https?:/.test(text) && URL.canParse(text) && new URL(text).origin === text,
    'must be an origin such as https://api.example.com',
  );
const BASE_PATH = z
  .string()
  .max(200)
  .regex(/^(\/[A-Za-z0-9._~-]+)*$/, 'must be empty or a path such as /v1');
const ADAPTER = z.string().regex(/^[a-z][a-z0-9-]{0,63}$/, 'must be the name of an adapter such as openai-compatible');
const CAPABILITIES = z.array(text(64)).max(64);
const TOKENS = z
  .int()
  .positive()
  .max(2 ** 31 - 1);
const PRIORITY = z.int().min(0).max(1_000_000);

const PROVIDER = z.object({
  id: z.string(),
  object: z.literal('provider'),
  name: z.string(),
  origin: z.string(),
  base_path: z.string(),
  adapter: z.string(),
  enabled: z.boolean(),
  default_credential_id: z.string().nullable(),
});

const MODEL = z.object({
  id: z.string(),
  object: z.literal('model'),
  vendor: z.string(),
  name: z.string(),
  mode: z.enum(MODEL_MODES),
  context_tokens: z.int().nullable(),
  max_output_tokens: z.int().nullable(),
  input: z.array(z.enum(MODALITIES)),
  output: z.array(z.enum(MODALITIES)),
  capabilities: z.array(z.string()),
  hides_reasoning: z.boolean(),
  enabled: z.boolean(),
  created_at: TIME_OUT,
});

const NEW_MODEL = z
  .strictObject({
    id: MODEL_ID,
    vendor: z.string().regex(/^[a-z][a-z0-9-]{0,63}$/, 'must be a vendor such as openai'),
    name: NAME.optional(),
    mode: z.enum(MODEL_MODES).default('chat'),
    context_tokens: TOKENS.nullish(),
    max_output_tokens: TOKENS.nullish(),
    input: z.array(z.enum(MODALITIES)).default(['text']),
    output: z.array(z.enum(MODALITIES)).default(['text']),
    capabilities: CAPABILITIES.default([]),
    hides_reasoning: z.boolean().default(false),
    enabled: z.boolean().default(true),
  })
  .transform(
    (body): ModelInput => ({
      id: body.id,
      vendor: body.vendor,
      displayName: body.name ?? body.id,
      mode: body.mode,
      contextTokens: body.context_tokens ?? undefined,
      maxOutputTokens: body.max_output_tokens ?? undefined,
      inputModalities: body.input,
      outputModalities: body.output,
      capabilities: body.capabilities,
      hidesReasoning: body.hides_reasoning,
      enabled: body.enabled,
    }),
  );

const ALIAS = z.object({ id: z.string(), object: z.literal('alias'), name: z.string(), model_id: z.string() });

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
    cost: CARDS,
  })
  .transform(
    (body): EndpointInput => ({
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
    }),
  );

/** Routes for operators. */
export function catalogRoutes(catalog: CatalogService): Routes {
  return (app) => {
    providerRoutes(catalog)(app);
    modelRoutes(catalog)(app);
    endpointRoutes(catalog)(app);
  };
}

function providerRoutes(catalog: CatalogService): Routes {
  return (app) => {
    addRoute(app, { method: 'GET', url: '/admin/v1/providers', summary: 'List providers.', answer: listOf(PROVIDER) }, async () =>
      listedWhole((await catalog.listProviders()).map(presentProvider)),
    );
    addRoute(
      app,
      { method: 'GET', url: '/admin/v1/providers/:id', summary: 'Read a provider.', params: ID_PARAMS, answer: PROVIDER },
      async ({ params }) => presentProvider(await catalog.provider(params.id)),
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/providers',
        summary: 'Make a provider: any origin that speaks one of our dialects.',
        status: 201,
        body: z.strictObject({
          id: z.string().regex(/^[a-z][a-z0-9_-]{0,63}$/, 'must be lower-case letters, digits, dashes'),
          name: NAME,
          origin: ORIGIN,
          base_path: BASE_PATH.default(''),
          adapter: ADAPTER.default('openai-compatible'),
          enabled: z.boolean().default(true),
        }),
        answer: PROVIDER,
      },
      async ({ body: { base_path, ...rest } }) => presentProvider(await catalog.createProvider({ ...rest, basePath: base_path })),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/admin/v1/providers/:id',
        summary: 'Change a provider: another origin, another adapter, on or off.',
        params: ID_PARAMS,
        body: z.strictObject({
          name: NAME.optional(),
          origin: ORIGIN.optional(),
          base_path: BASE_PATH.optional(),
          adapter: ADAPTER.optional(),
          enabled: z.boolean().optional(),
        }),
        answer: PROVIDER,
      },
      async ({ params, body }) => {
        const { base_path: basePath, ...rest } = body;
        return presentProvider(await catalog.changeProvider(params.id, given<Omit<ProviderInput, 'id'>>({ ...rest, basePath })));
      },
    );
  };
}

function modelRoutes(catalog: CatalogService): Routes {
  return (app) => {
    addRoute(
      app,
      { method: 'GET', url: '/admin/v1/models', summary: 'List models by id.', query: PAGE_QUERY, answer: listOf(MODEL) },
      async ({ query }) => {
        const page = pageOf(query);
        return listed(await catalog.listModels(page), page, presentModel);
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/models/:id',
        summary: 'Read a model by id or any other name (slashes as %2F).',
        params: ID_PARAMS,
        answer: MODEL,
      },
      async ({ params }) => presentModel(await catalog.model(params.id)),
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/models',
        summary: 'Make models: one, or many in `data`. One that is there already with the same content is no error.',
        status: 201,
        body: oneOrMany(NEW_MODEL),
        answer: listOf(MODEL),
      },
      async ({ body }) => listedWhole((await catalog.createModels(body)).map(presentModel)),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/admin/v1/models/:id',
        summary: 'Change a model.',
        params: ID_PARAMS,
        body: z.strictObject({
          name: NAME.optional(),
          context_tokens: TOKENS.optional(),
          max_output_tokens: TOKENS.optional(),
          input: z.array(z.enum(MODALITIES)).optional(),
          output: z.array(z.enum(MODALITIES)).optional(),
          capabilities: CAPABILITIES.optional(),
          hides_reasoning: z.boolean().optional(),
          enabled: z.boolean().optional(),
        }),
        answer: MODEL,
      },
      async ({ params, body }) =>
        presentModel(
          await catalog.changeModel(
            params.id,
            given<Omit<ModelInput, 'id'>>({
              displayName: body.name,
              contextTokens: body.context_tokens,
              maxOutputTokens: body.max_output_tokens,
              inputModalities: body.input,
              outputModalities: body.output,
              capabilities: body.capabilities,
              hidesReasoning: body.hides_reasoning,
              enabled: body.enabled,
            }),
          ),
        ),
    );
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
        summary: 'Make aliases: one, or many in `data`.',
        status: 201,
        body: oneOrMany(z.strictObject({ name: MODEL_ID, model_id: ID })),
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
        summary: 'Delete an alias (slashes as %2F).',
        params: ID_PARAMS,
        answer: z.object({ id: z.string(), object: z.literal('alias'), deleted: z.literal(true) }),
      },
      async ({ params }) => ({ id: (await catalog.deleteAlias(params.id)).name, object: 'alias', deleted: true }),
    );
  };
}

function endpointRoutes(catalog: CatalogService): Routes {
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
        summary: 'Make endpoints: one, or many in `data`. The same way to the same model is one endpoint.',
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
        summary: 'Change an endpoint; a changed cost becomes a new version.',
        params: ID_PARAMS,
        body: z.strictObject({
          credential_id: ID.optional(),
          upstream_model: ENDPOINT_TERMS.upstream_model.optional(),
          dialect: ENDPOINT_TERMS.dialect.optional(),
          operations: ENDPOINT_TERMS.operations.optional(),
          regions: ENDPOINT_TERMS.regions.optional(),
          priority: PRIORITY.optional(),
          enabled: z.boolean().optional(),
          cost: CARDS.optional(),
        }),
        answer: ENDPOINT,
      },
      async ({ params, body }) => {
        const { credential_id: credentialId, upstream_model: upstreamModel, ...rest } = body;
        const change = given<Omit<EndpointInput, 'modelId' | 'providerId'>>({ ...rest, credentialId, upstreamModel });
        return presentEndpoint(await catalog.changeEndpoint(params.id, change));
      },
    );
  };
}

/** Only the fields that were given: one that is absent must not overwrite what is there. */
function given<T extends object>(change: { readonly [Field in keyof T]?: T[Field] | undefined }): Partial<T> {
  // What remains has no undefined value but where T allows it.
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function presentProvider(row: ProviderRow): z.infer<typeof PROVIDER> {
  return { ...row, object: 'provider' };
}

function presentModel(row: ModelRow): z.infer<typeof MODEL> {
  return {
    id: row.id,
    object: 'model',
    vendor: row.vendor,
    name: row.display_name,
    mode: row.mode,
    context_tokens: row.context_tokens,
    max_output_tokens: row.max_output_tokens,
    input: row.input_modalities,
    output: row.output_modalities,
    capabilities: row.capabilities,
    hides_reasoning: row.hides_reasoning,
    enabled: row.enabled,
    created_at: time(row.created_at),
  };
}

function presentAlias(row: AliasRow): z.infer<typeof ALIAS> {
  return { id: row.name, object: 'alias', name: row.written, model_id: row.model_id };
}

function presentEndpoint(row: EndpointRow): z.infer<typeof ENDPOINT> {
  const { id, model_id, provider_id, credential_id, upstream_model, dialect, operations, regions, priority, enabled } = row;
  return {
    ...{ id, object: 'endpoint', model_id, provider_id, credential_id, upstream_model, dialect, operations, regions, priority, enabled },
    cost: { version: row.cost_version, effective_from: time(row.cost_effective_from), cards: presentCards(readCards(row.cost_cards)) },
  };
}
