/** Providers, for operators. */
import { z } from 'zod';
import { ID, NAME } from '../http/field.ts';
import { listedWhole, listOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { type ProviderInput, type ProviderRow, providerOf } from './catalog.ts';
import { given } from './given.ts';
import { AUTH_FIELD, QUIRKS_FIELD } from './provider-ways-field.ts';
import type { CatalogService } from './service.ts';

const ID_PARAMS = z.strictObject({ id: ID });
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

const PROVIDER = z.object({
  id: z.string(),
  object: z.literal('provider'),
  name: z.string(),
  origin: z.string(),
  base_path: z.string(),
  adapter: z.string(),
  enabled: z.boolean(),
  auth: z.object({ header: z.string(), prefix: z.string() }).nullable(),
  quirks: z.array(z.string()),
  default_credential_id: z.string().nullable(),
});

/** Routes for operators. */
export function providerRoutes(catalog: CatalogService): Routes {
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
        trail: { kind: 'provider' },
        summary: 'Make a provider: any origin that speaks one of our dialects.',
        status: 201,
        body: z.strictObject({
          id: z.string().regex(/^[a-z][a-z0-9_-]{0,63}$/, 'must be lower-case letters, digits, dashes'),
          name: NAME,
          origin: ORIGIN,
          base_path: BASE_PATH.default(''),
          adapter: ADAPTER.default('openai-compatible'),
          enabled: z.boolean().default(true),
          auth: AUTH_FIELD.nullable().default(null),
          quirks: QUIRKS_FIELD.default([]),
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
        trail: { kind: 'provider', id: 'id' },
        summary: 'Change a provider: another origin, another adapter, other ways, on or off.',
        params: ID_PARAMS,
        body: z.strictObject({
          name: NAME.optional(),
          origin: ORIGIN.optional(),
          base_path: BASE_PATH.optional(),
          adapter: ADAPTER.optional(),
          enabled: z.boolean().optional(),
          auth: AUTH_FIELD.nullable().optional(),
          quirks: QUIRKS_FIELD.optional(),
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

function presentProvider(row: ProviderRow): z.infer<typeof PROVIDER> {
  const { basePath, quirks, ...provider } = providerOf(row);
  return { ...provider, object: 'provider', base_path: basePath, quirks: [...quirks], default_credential_id: row.default_credential_id };
}
