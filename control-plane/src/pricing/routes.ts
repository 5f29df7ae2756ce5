/** List prices, for operators. */
import type { ListPrice } from '@meridian/domain/price';
import { z } from 'zod';
import { CARDS_OUT, cardsField, presentCards } from '../catalog/rate-card-field.ts';
import { oneOrMany } from '../http/bulk.ts';
import { ID, TIME, TIME_OUT, time } from '../http/field.ts';
import { listed, listedWhole, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import type { PricingService } from './service.ts';

const LIST_PRICE = z.object({
  object: z.literal('list_price'),
  id: z.string(),
  model_id: z.string(),
  version: z.int(),
  effective_from: TIME_OUT,
  cards: CARDS_OUT,
});

const NEW_PRICE = z.strictObject({
  model_id: ID,
  effective_from: TIME.optional(),
  cards: cardsField(1),
  confirm: z.boolean().default(false),
});

/** Routes for operators. */
export function pricingRoutes(pricing: PricingService): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/list-prices',
        summary: 'The newest list price of each model, or all versions of one.',
        query: z.strictObject({ ...PAGE_FIELDS, model_id: ID.optional() }),
        answer: listOf(LIST_PRICE),
      },
      async ({ query }) => {
        if (query.model_id !== undefined) return listedWhole((await pricing.versionsOf(query.model_id)).map(present));
        const page = pageOf(query);
        return listed(await pricing.listNewest(page), page, present);
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/list-prices',
        trail: { kind: 'list_price' },
        summary: 'Publish list prices: one, or many in `data`. A price under cost needs `confirm`.',
        status: 201,
        body: oneOrMany(NEW_PRICE),
        answer: listOf(LIST_PRICE),
      },
      async ({ body }) => {
        const prices = await pricing.publishPrices(
          body.map((one) => ({ modelId: one.model_id, effectiveFromMs: one.effective_from, cards: one.cards, confirm: one.confirm })),
        );
        return listedWhole(prices.map(present));
      },
    );
  };
}

/** The id is the model's, since the list is paged by model. */
function present(price: ListPrice): z.infer<typeof LIST_PRICE> {
  return {
    object: 'list_price',
    id: price.modelId,
    model_id: price.modelId,
    version: price.version,
    effective_from: time(price.effectiveFromMs),
    cards: presentCards(price.cards),
  };
}
