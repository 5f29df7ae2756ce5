/** Volume tiers, for operators: the ladder, and the runs in which accounts climb it. */
import { nanoToUsd } from '@meridian/domain/money';
import { z } from 'zod';
import { NAME, TIME_OUT, time, USD, USD_OUT } from '../http/field.ts';
import { listed, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import { SCHEDULED_RUN, scheduleRun } from '../http/scheduled-run.ts';
import type { Routes } from '../http/server.ts';
import type { TierRun, TierRuns } from './runs.ts';
import type { LadderVersion, TierService } from './service.ts';
import { lowestMarkup } from './tier.ts';

export interface LadderRoutesDeps {
  readonly tiers: Pick<TierService, 'ladderVersion' | 'setLadder' | 'lowestMarkupBasisPoints'>;
  readonly pricing: { requireNoLossAt(markupBasisPoints: number): Promise<void> };
  readonly tierRuns: Pick<TierRuns, 'list'>;
  /** Puts a run in the queue of the scheduler. */
  tierRunSoon(): Promise<boolean>;
}

const LADDER = z.object({
  object: z.literal('ladder'),
  version: z.int(),
  tiers: z.array(z.object({ id: z.string(), name: z.string(), from_spend_usd: USD_OUT, markup_percent: z.number() })),
});

const TIER_ID = z.string().regex(/^[a-z0-9_-]{1,32}$/, 'must be 1 to 32 small letters, digits, dashes');

const MARKUP_PERCENT = z
  .number()
  .min(0)
  .max(1_000)
  .transform((percent) => percent * 100)
  .refine((basisPoints) => Math.abs(basisPoints - Math.round(basisPoints)) < 1e-6, 'has at most two decimals')
  .transform(Math.round);

/** The id of a run. */
const RUN_ID = /^tier:(\d{4}-\d\d-\d\dT\d\d:00:00\.000Z)$/;

const RUN = z.object({
  id: z.string(),
  object: z.literal('tier_run'),
  window_to: TIME_OUT,
  spending_accounts: z.int(),
  accounts: z.int(),
  raised: z.int(),
  lowered: z.int(),
  rev: z.int().nullable().describe('The last rev of BULK that tells of it.'),
  started_at: TIME_OUT,
  finished_at: TIME_OUT.nullable(),
});

/** Routes for operators. */
export function ladderRoutes({ tiers, pricing, tierRuns, tierRunSoon }: LadderRoutesDeps): Routes {
  return (app) => {
    addRoute(app, { method: 'GET', url: '/admin/v1/ladder', summary: 'The volume tiers, lowest first.', answer: LADDER }, async () =>
      presentLadder(await tiers.ladderVersion()),
    );
    addRoute(
      app,
      {
        method: 'PUT',
        url: '/admin/v1/ladder',
        trail: { kind: 'tier' },
        summary:
          'Set the volume tiers. Markups hold for requests from now on, thresholds from the next run. A markup at which a model is sold under cost needs `confirm`.',
        body: z.strictObject({
          tiers: z.array(z.strictObject({ id: TIER_ID, name: NAME, from_spend_usd: USD, markup_percent: MARKUP_PERCENT })),
          confirm: z.boolean().default(false),
        }),
        answer: LADDER,
      },
      async ({ body }) => {
        const ladder = body.tiers.map(({ id, name, from_spend_usd, markup_percent }) => ({
          ...{ id, name, fromSpendNano: from_spend_usd, markupBasisPoints: markup_percent },
        }));
        const lowest = lowestMarkup(ladder);
        if (!body.confirm && lowest < (await tiers.lowestMarkupBasisPoints())) await pricing.requireNoLossAt(lowest);
        return presentLadder(await tiers.setLadder(ladder));
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/tier-runs',
        summary: 'The runs in which tiers were reckoned anew, newest first.',
        query: z.strictObject({ ...PAGE_FIELDS, after: z.string().regex(RUN_ID, 'must be the id of a run').optional() }),
        answer: listOf(RUN),
      },
      async ({ query }) => {
        const page = pageOf(query);
        const after = page.after?.match(RUN_ID)?.[1];
        return listed(await tierRuns.list(page.limit, after === undefined ? undefined : Date.parse(after)), page, presentRun);
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/tier-runs',
        trail: { kind: 'tier_run' },
        summary: 'Make the runs that are due soon, in the background. A run that was made is not made again.',
        status: 202,
        answer: SCHEDULED_RUN,
      },
      () => scheduleRun('tiers', tierRunSoon),
    );
  };
}

function presentLadder({ tiers, version }: LadderVersion): z.infer<typeof LADDER> {
  return {
    object: 'ladder',
    version,
    tiers: tiers.map((tier) => ({
      id: tier.id,
      name: tier.name,
      from_spend_usd: nanoToUsd(tier.fromSpendNano),
      markup_percent: tier.markupBasisPoints / 100,
    })),
  };
}

function presentRun(run: TierRun): z.infer<typeof RUN> {
  const windowTo = time(run.windowToMs);
  return {
    id: `tier:${windowTo}`,
    object: 'tier_run',
    window_to: windowTo,
    spending_accounts: run.spendingAccounts,
    accounts: run.accounts,
    raised: run.raised,
    lowered: run.lowered,
    rev: run.rev ?? null,
    started_at: time(run.startedAtMs),
    finished_at: run.finishedAtMs === undefined ? null : time(run.finishedAtMs),
  };
}
