/** The ladder of volume tiers, for operators. */
import { nanoToUsd } from '@meridian/domain/money';
import { z } from 'zod';
import { USD_OUT } from '../http/field.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import type { TierService } from './service.ts';

/** Routes for operators. */
export function ladderRoutes(tiers: Pick<TierService, 'ladder'>): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/ladder',
        summary: 'The volume tiers, lowest first.',
        answer: z.object({
          object: z.literal('ladder'),
          tiers: z.array(z.object({ id: z.string(), name: z.string(), from_spend_usd: USD_OUT, markup_percent: z.number() })),
        }),
      },
      async () => ({
        object: 'ladder',
        tiers: (await tiers.ladder()).map((tier) => ({
          id: tier.id,
          name: tier.name,
          from_spend_usd: nanoToUsd(tier.fromSpendNano),
          markup_percent: tier.markupBasisPoints / 100,
        })),
      }),
    );
  };
}
