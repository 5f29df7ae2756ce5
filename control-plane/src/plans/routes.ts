/** Plans, and the daily limits of single members, for operators. */
import { MAX_LIMIT } from '@meridian/domain/budget';
import { z } from 'zod';
import { CAP_OUT, presentCap } from '../budgets/cap-field.ts';
import type { BudgetService } from '../budgets/service.ts';
import { ID, NAME } from '../http/field.ts';
import { listedWhole, listOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { MAX_MODELS_PER_PLAN, type PlanRow } from './plan.ts';
import { RATE_LIMITS, RATE_LIMITS_OUT, rateLimitsOf } from './rate-limits.ts';
import type { PlanService } from './service.ts';

const COUNT = z.int().min(0).max(MAX_LIMIT);
const DAILY_COUNT = COUNT.nullish().describe('For each member, each UTC day; null and absent is without limit.');
const PLAN = z.object({
  id: z.string(),
  object: z.literal('plan'),
  name: z.string(),
  api_access: z.boolean(),
  models: z.array(z.string()).describe('Models that may be used; empty means all.'),
  daily_chat_completions: z.int().nullable().describe('For each member, each UTC day.'),
  daily_images: z.int().nullable().describe('For each member, each UTC day.'),
  max_message_characters: z.int().nullable(),
  rate_limits: RATE_LIMITS_OUT.describe('For each API key.'),
  model_rate_limits: RATE_LIMITS_OUT.describe('For each API key and model.'),
});
const CEILING = z
  .union([COUNT.transform((count) => BigInt(count)), z.literal('plan'), z.null()])
  .optional()
  .describe('Each UTC day; null is without limit, "plan" is what the plan says.');

export function planRoutes(plans: PlanService, budgets: Pick<BudgetService, 'standings'>): Routes {
  return (app) => {
    addRoute(app, { method: 'GET', url: '/admin/v1/plans', summary: 'List plans.', answer: listOf(PLAN) }, async () =>
      listedWhole((await plans.list()).map(presentPlan)),
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/plans/:id',
        summary: 'Read a plan.',
        params: z.strictObject({ id: ID }),
        answer: PLAN,
      },
      async ({ params }) => presentPlan(await plans.get(params.id)),
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/plans',
        trail: { kind: 'plan' },
        summary: 'Make a plan, or change the one with this id: what is left out is without limit.',
        body: z.strictObject({
          id: z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/, 'must be lower-case letters, digits, dashes'),
          name: NAME,
          api_access: z.boolean(),
          models: z.array(ID).max(MAX_MODELS_PER_PLAN).default([]).describe('Models that may be used; empty means all.'),
          daily_chat_completions: DAILY_COUNT,
          daily_images: DAILY_COUNT,
          max_message_characters: z.int().min(1).max(2_147_483_647).nullish(),
          rate_limits: RATE_LIMITS.nullish().describe('For each API key.'),
          model_rate_limits: RATE_LIMITS.nullish().describe('For each API key and model.'),
        }),
        answer: PLAN,
      },
      async ({ body }) => {
        const rateLimits = rateLimitsOf(body.rate_limits);
        const modelRateLimits = rateLimitsOf(body.model_rate_limits);
        const row = await plans.save({
          id: body.id,
          name: body.name,
          apiAccess: body.api_access,
          allowedModels: body.models,
          dailyChatCompletions: body.daily_chat_completions ?? undefined,
          dailyImages: body.daily_images ?? undefined,
          ...(body.max_message_characters == null ? {} : { maxMessageCharacters: body.max_message_characters }),
          ...(rateLimits === undefined ? {} : { rateLimits }),
          ...(modelRateLimits === undefined ? {} : { modelRateLimits }),
        });
        return presentPlan(row);
      },
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/admin/v1/accounts/:id/members/:member_id/limits',
        trail: { kind: 'member', id: 'member_id', account: 'id' },
        summary: "Set a member's daily limits in the place of the plan's.",
        params: z.strictObject({ id: ID, member_id: ID }),
        body: z.strictObject({ daily_chat_completions: CEILING, daily_images: CEILING }),
        answer: z.object({ object: z.literal('member_limits'), member_id: z.string(), caps: z.array(CAP_OUT) }),
      },
      async ({ params, body }) => {
        await plans.setMemberCeilings(params.id, params.member_id, {
          chat_completions: body.daily_chat_completions,
          images: body.daily_images,
        });
        const caps = await budgets.standings(params.id, [params.member_id]);
        return { object: 'member_limits', member_id: params.member_id, caps: caps.map(presentCap) };
      },
    );
  };
}

function presentPlan(row: PlanRow): z.infer<typeof PLAN> {
  return {
    id: row.id,
    object: 'plan',
    name: row.name,
    api_access: row.api_access,
    models: row.allowed_models,
    daily_chat_completions: row.daily_chat_completions === null ? null : Number(row.daily_chat_completions),
    daily_images: row.daily_images === null ? null : Number(row.daily_images),
    max_message_characters: row.max_message_characters,
    rate_limits: row.rate_limits,
    model_rate_limits: row.model_rate_limits,
  };
}
