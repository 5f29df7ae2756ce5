/** Models, for operators. */
import type { Model } from '@meridian/domain/model';
import { z } from 'zod';
import { oneOrMany } from '../http/bulk.ts';
import { ID, NAME, TIME_OUT, text, time } from '../http/field.ts';
import { listed, listedWhole, listOf, PAGE_QUERY, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { MODALITIES, MODEL_MODES, type ModelRow } from './catalog.ts';
import { given } from './given.ts';
import { MODEL_NAME } from './model-name-field.ts';
import type { CatalogService } from './service.ts';

const ID_PARAMS = z.strictObject({ id: ID });
const CAPABILITIES = z.array(text(64)).max(64);
const TOKENS = z
  .int()
  .positive()
  .max(2 ** 31 - 1);

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
    id: MODEL_NAME,
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
    (body): Model => ({
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

/** Routes for operators. */
export function modelRoutes(catalog: CatalogService): Routes {
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
        trail: { kind: 'model' },
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
        trail: { kind: 'model', id: 'id' },
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
            given<Omit<Model, 'id'>>({
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
  };
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
