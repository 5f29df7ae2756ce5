/** Import of published price lists, for operators. */
import { nanoToUsd } from '@meridian/domain/money';
import { z } from 'zod';
import { ID } from '../http/field.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import type { ImportPreview } from './preview.ts';
import { LIST_FORMATS, type PriceImportService } from './service.ts';

/** Published lists have a few MiB. */
const MAX_LIST_BYTES = 32 * 1024 * 1024;

const NAMES = z.array(z.string().min(1).max(256)).max(1_000).default([]);
const PRICE = z.string().nullable().describe('USD per 1,000,000 units; null where there is none.');

const ANSWER = z.object({
  object: z.literal('catalog_import'),
  applied: z.boolean(),
  counts: z.object({
    ...{ new: z.int(), priced: z.int(), changed: z.int(), unchanged: z.int(), refused: z.int() },
    needs_confirm: z.int().describe('Of `changes` those that are refused without `confirm`.'),
  }),
  changes: z.array(
    z.object({
      model_id: z.string(),
      listed_as: z.string(),
      listed_provider: z.string(),
      action: z.enum(['new', 'priced', 'changed', 'unchanged']).describe('`unchanged`, of the price, only where `needs_confirm` says why.'),
      prices: z.array(
        z.object({ service_tier: z.string(), above_input_tokens: z.int(), component: z.string(), was: PRICE, becomes: PRICE }),
      ),
      not_sold: z.array(z.string()).describe('Prices of the list that are for nothing sold here.'),
      notes: z
        .array(z.string())
        .describe('Prices that the list does not have and that follow from those it has, and what cannot be sold at them.'),
      needs_confirm: z
        .string()
        .nullable()
        .describe(
          'Why it is refused without `confirm`: the price lies under the cost of an endpoint, or a new cost above a price. Null where it is not.',
        ),
    }),
  ),
  refused: z.array(z.object({ listed_as: z.string(), listed_provider: z.string(), reason: z.string() })),
});

/** Routes for operators. */
export function priceImportRoutes(imports: PriceImportService): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/catalog/import',
        trail: { kind: 'list_price', note: ['format', 'existing_only', 'apply', 'confirm'] },
        summary: 'Import a published price list: models and list prices. Without `apply` it only says what would change.',
        bodyLimitBytes: MAX_LIST_BYTES,
        body: z.strictObject({
          format: z.enum(LIST_FORMATS).describe("`litellm`: LiteLLM's model prices; `models-dev`: the api.json of models.dev."),
          list: z.unknown().describe('The list as it was published.'),
          providers: NAMES.describe("Only those of the list's providers."),
          models: NAMES.describe('Only these models, by the name in the list or here.'),
          existing_only: z.boolean().default(false).describe('Only models that the catalogue has.'),
          endpoints: z
            .record(z.string().min(1).max(256), ID)
            .default({})
            .describe(
              "By the list's provider, the id of the provider here whose endpoints are to be made, at the listed price as their cost.",
            ),
          apply: z.boolean().default(false),
          confirm: z.boolean().default(false).describe('Prices may lie under the cost of an endpoint, and costs above a price.'),
        }),
        answer: ANSWER,
      },
      async ({ body }) => {
        const { format, list, providers, models, confirm } = body;
        const filter = { providers, models, existingOnly: body.existing_only };
        const request = { format, list, filter, endpoints: new Map(Object.entries(body.endpoints)), confirm };
        return present(body.apply ? await imports.apply(request) : await imports.preview(request), body.apply);
      },
    );
  };
}

function present({ changes, refused }: ImportPreview, applied: boolean): z.infer<typeof ANSWER> {
  const counts = { new: 0, priced: 0, changed: 0, unchanged: 0, refused: refused.length, needs_confirm: 0 };
  for (const { action, needsConfirm } of changes) {
    counts[action]++;
    if (needsConfirm !== undefined) counts.needs_confirm++;
  }
  return {
    object: 'catalog_import',
    applied,
    counts,
    changes: changes.flatMap(({ action, modelId, offer, prices, needsConfirm }) =>
      action === 'unchanged' && needsConfirm === undefined
        ? []
        : [
            {
              model_id: modelId,
              listed_as: offer.listedAs,
              listed_provider: offer.listedProvider,
              action,
              prices: prices.map(({ serviceTier, aboveInputTokens, meter, was, becomes }) => ({
                service_tier: serviceTier,
                above_input_tokens: aboveInputTokens,
                component: meter,
                was: was === undefined ? null : nanoToUsd(was),
                becomes: becomes === undefined ? null : nanoToUsd(becomes),
              })),
              not_sold: [...offer.notSold],
              notes: [...offer.notes],
              needs_confirm: needsConfirm ?? null,
            },
          ],
    ),
    refused: refused.map(({ listedAs, listedProvider, reason }) => ({ listed_as: listedAs, listed_provider: listedProvider, reason })),
  };
}
