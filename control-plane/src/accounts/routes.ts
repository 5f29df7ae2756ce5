/** `/v1/account` and `/v1/me` for members; accounts, members and tokens for operators. */
import { nanoToUsd } from '@meridian/domain/money';
import type { Tier } from '@meridian/domain/tier';
import { z } from 'zod';
import { CAP_OUT, CAPS, presentCap } from '../budgets/cap-field.ts';
import type { BudgetService } from '../budgets/service.ts';
import { ID, money, NAME, NANO_OUT, TIME_OUT, time, USD_OUT } from '../http/field.ts';
import { listed, listOf, PAGE_QUERY, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { callerOf, DEFAULT_TOKEN_SECONDS, MAX_TOKEN_SECONDS, type Sessions } from '../http/session.ts';
import type { PlanService } from '../plans/service.ts';
import type { TierService, TierStanding } from '../tiers/service.ts';
import { type AccountRow, type MemberRow, ROLES } from './account.ts';
import { ID_PARAMS, MEMBER, MEMBER_WITH_CAPS, presentMember, presentMemberWithCaps, reachableMember, STATUS } from './member-field.ts';
import type { AccountService } from './service.ts';

const ACCOUNT_FIELDS = {
  id: z.string(),
  object: z.literal('account'),
  name: z.string(),
  plan_id: z.string(),
  status: STATUS,
  created_at: TIME_OUT,
};
const ACCOUNT = z.object(ACCOUNT_FIELDS);
const WHOLE_ACCOUNT = z.object({ ...ACCOUNT_FIELDS, members: z.array(MEMBER), caps: z.array(CAP_OUT) });
/** Who the member is, for adding the same person to other accounts. */
const OPERATORS_MEMBER = MEMBER.extend({ person_id: z.string() });
const TIER = z.object({ id: z.string(), name: z.string(), markup_percent: z.number() });
const STANDING = TIER.extend({ spend_30d_usd: USD_OUT, next: TIER.extend({ missing_usd: USD_OUT }).nullable() });
const PLAN = z.object({ id: z.string(), name: z.string(), api_access: z.boolean() });
/** The same fields as a node's answer; what only a node or only a key can say is null. */
const ME = z.object({
  object: z.literal('me'),
  account: z.object({ id: z.string(), name: z.string(), status: STATUS }),
  member: z.object({ id: z.string(), role: z.enum(ROLES) }),
  key: z.object({ id: z.string(), name: z.string() }).nullable().describe('The API key that asks; null with an account token.'),
  region: z.string().nullable().describe('The region of the node that answers; null here.'),
  plan: PLAN,
  tier: STANDING,
  balance: z.object({ balance_usd: USD_OUT, balance_nano: NANO_OUT, as_of: TIME_OUT, unreported_usd: USD_OUT }),
  caps: z.array(CAP_OUT).describe('What a request of the caller is limited by, as it stands in its present windows.'),
});

/** Routes for members. */
export function accountRoutes(
  accounts: AccountService,
  plans: Pick<PlanService, 'get'>,
  tiers: Pick<TierService, 'standing'>,
  budgets: Pick<BudgetService, 'setCaps' | 'standings'>,
  clock: { nowMs(): number },
): Routes {
  const presentWhole = async (accountId: string): Promise<z.infer<typeof WHOLE_ACCOUNT>> => {
    const [account, members, caps] = await Promise.all([
      accounts.get(accountId),
      accounts.listMembers(accountId),
      budgets.standings(accountId, [accountId]),
    ]);
    return { ...presentAccount(account), members: members.map(presentMember), caps: caps.map(presentCap) };
  };
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/account',
        summary: 'The account of the caller, with its members.',
        answer: WHOLE_ACCOUNT,
      },
      async ({ request }) => presentWhole(callerOf(request).accountId),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/v1/account',
        trail: { kind: 'account' },
        summary: 'Set the caps of the account.',
        body: z.strictObject({ caps: CAPS }),
        answer: WHOLE_ACCOUNT,
      },
      async ({ request, body }) => {
        const { accountId } = callerOf(request);
        await budgets.setCaps({ accountId, scope: 'account', scopeId: accountId }, body.caps);
        return presentWhole(accountId);
      },
    );
    addRoute(
      app,
      { method: 'GET', url: '/v1/account/members/:id', summary: 'Read a member.', params: ID_PARAMS, answer: MEMBER_WITH_CAPS },
      async ({ request, params }) => presentMemberWithCaps(budgets, await reachableMember(accounts, callerOf(request), params.id)),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/v1/account/members/:id',
        trail: { kind: 'member', id: 'id' },
        summary: 'Set the caps of a member, over all keys the member has made.',
        params: ID_PARAMS,
        body: z.strictObject({ caps: CAPS }),
        answer: MEMBER_WITH_CAPS,
      },
      async ({ request, params, body }) => {
        const member = await reachableMember(accounts, callerOf(request), params.id);
        await budgets.setCaps({ accountId: member.account_id, scope: 'member', scopeId: member.id }, body.caps);
        return presentMemberWithCaps(budgets, member);
      },
    );
    addRoute(
      app,
      { method: 'GET', url: '/v1/me', summary: 'Who is calling: account, plan, volume tier, balance, caps.', answer: ME },
      async ({ request }): Promise<z.infer<typeof ME>> => {
        const { accountId, memberId, role, key } = callerOf(request);
        const account = await accounts.get(accountId);
        const [plan, balanceNano, standing, caps] = await Promise.all([
          plans.get(account.plan_id),
          accounts.balanceNano(accountId),
          tiers.standing(accountId),
          budgets.standings(accountId, [...(key === undefined ? [] : [key.id]), memberId, accountId]),
        ]);
        return {
          object: 'me',
          account: { id: account.id, name: account.name, status: account.status },
          member: { id: memberId, role },
          key: key ?? null,
          region: null,
          plan: { id: plan.id, name: plan.name, api_access: plan.api_access },
          tier: presentStanding(standing),
          balance: { ...money('balance', balanceNano), as_of: time(clock.nowMs()), unreported_usd: nanoToUsd(0n) },
          caps: caps.map(presentCap),
        };
      },
    );
  };
}

export interface AccountOperatorDeps {
  readonly accounts: AccountService;
  readonly plans: Pick<PlanService, 'get'>;
  readonly tiers: Pick<TierService, 'standing'>;
  readonly budgets: Pick<BudgetService, 'standings'>;
  readonly sessions: Sessions;
}

/** Routes for operators. */
export function accountOperatorRoutes({ accounts, plans, tiers, budgets, sessions }: AccountOperatorDeps): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/accounts',
        trail: { kind: 'account' },
        summary: 'Make an account with its owner.',
        status: 201,
        body: z.strictObject({ name: NAME, plan_id: ID.optional(), owner: z.strictObject({ name: NAME }).optional() }),
        answer: z.object({ ...ACCOUNT_FIELDS, owner: OPERATORS_MEMBER }),
      },
      async ({ body }) => {
        const { account, owner } = await accounts.create({
          name: body.name,
          planId: body.plan_id,
          ownerName: body.owner?.name ?? body.name,
        });
        return { ...presentAccount(account), owner: presentToOperator(owner) };
      },
    );
    addRoute(
      app,
      { method: 'GET', url: '/admin/v1/accounts', summary: 'List accounts, newest first.', query: PAGE_QUERY, answer: listOf(ACCOUNT) },
      async ({ query }) => {
        const page = pageOf(query);
        return listed(await accounts.list(page), page, presentAccount);
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/accounts/:id',
        summary: 'Read an account with its members, plan, volume tier, balance and caps.',
        params: ID_PARAMS,
        answer: z.object({
          ...ACCOUNT_FIELDS,
          members: z.array(OPERATORS_MEMBER),
          plan: PLAN,
          tier: STANDING,
          balance_usd: USD_OUT,
          balance_nano: NANO_OUT,
          caps: z.array(CAP_OUT).describe('Of the account itself, as they stand in their present windows.'),
        }),
      },
      async ({ params }) => {
        const account = await accounts.get(params.id);
        const [members, plan, standing, balanceNano, caps] = await Promise.all([
          accounts.listMembers(account.id),
          plans.get(account.plan_id),
          tiers.standing(account.id),
          accounts.balanceNano(account.id),
          budgets.standings(account.id, [account.id]),
        ]);
        return {
          ...presentAccount(account),
          members: members.map(presentToOperator),
          plan: { id: plan.id, name: plan.name, api_access: plan.api_access },
          tier: presentStanding(standing),
          ...money('balance', balanceNano),
          caps: caps.map(presentCap),
        };
      },
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/admin/v1/accounts/:id',
        trail: { kind: 'account', account: 'id' },
        summary: 'Rename an account or move it to another plan.',
        params: ID_PARAMS,
        body: z.strictObject({ name: NAME.optional(), plan_id: ID.optional() }),
        answer: ACCOUNT,
      },
      async ({ params, body }) => presentAccount(await accounts.change(params.id, { name: body.name, planId: body.plan_id })),
    );
    for (const [verb, status, lane] of [
      ['disable', 'disabled', 'SECURITY'],
      ['enable', 'active', 'CUSTOMER'],
    ] as const) {
      addRoute(
        app,
        {
          method: 'POST',
          url: `/admin/v1/accounts/:id/${verb}`,
          trail: { kind: 'account', account: 'id' },
          summary: `${verb === 'disable' ? 'End' : 'Restore'} all use of an account; \`rev\` is on the ${lane} lane.`,
          params: ID_PARAMS,
          answer: z.object({ ...ACCOUNT_FIELDS, rev: z.int() }),
        },
        async ({ params }) => {
          const { account, rev } = await accounts.setStatus(params.id, status);
          return { ...presentAccount(account), rev };
        },
      );
    }
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/accounts/:id/members',
        trail: { kind: 'member', account: 'id' },
        summary: 'Add a member to an account.',
        status: 201,
        params: ID_PARAMS,
        body: z.strictObject({
          name: NAME,
          role: z.enum(ROLES),
          person_id: ID.optional().describe('Who it is; somebody new unless told.'),
        }),
        answer: OPERATORS_MEMBER,
      },
      async ({ params, body }) =>
        presentToOperator(await accounts.addMember(params.id, { name: body.name, role: body.role, personId: body.person_id })),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/admin/v1/accounts/:id/members/:member_id',
        trail: { kind: 'member', id: 'member_id', account: 'id' },
        summary: 'Change the name, role or status of a member.',
        params: z.strictObject({ id: ID, member_id: ID }),
        body: z.strictObject({ name: NAME.optional(), role: z.enum(ROLES).optional(), status: STATUS.optional() }),
        answer: OPERATORS_MEMBER,
      },
      async ({ params, body }) => presentToOperator(await accounts.changeMember(params.id, params.member_id, body)),
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/accounts/:id/tokens',
        trail: { kind: 'account_token', account: 'id', note: ['member_id', 'expires_in_seconds'] },
        summary: 'Mint an account token for a member, the owner unless named.',
        status: 201,
        params: ID_PARAMS,
        body: z.strictObject({ member_id: ID.optional(), expires_in_seconds: z.int().min(1).max(MAX_TOKEN_SECONDS).optional() }).optional(),
        answer: z.object({ object: z.literal('account_token'), token: z.string(), member_id: z.string(), expires_at: TIME_OUT }),
      },
      async ({ params, body }) => {
        const member = await accounts.member(params.id, body?.member_id);
        const { token, expiresAtMs } = await sessions.mint(member.id, member.account_id, body?.expires_in_seconds ?? DEFAULT_TOKEN_SECONDS);
        return { object: 'account_token', token, member_id: member.id, expires_at: time(expiresAtMs) };
      },
    );
  };
}

function presentAccount(row: AccountRow): z.infer<typeof ACCOUNT> {
  return { id: row.id, object: 'account', name: row.name, plan_id: row.plan_id, status: row.status, created_at: time(row.created_at) };
}

function presentToOperator(row: MemberRow): z.infer<typeof OPERATORS_MEMBER> {
  return { ...presentMember(row), person_id: row.person_id };
}

function presentStanding({ tier, next, spend30dNano }: TierStanding): z.infer<typeof ME>['tier'] {
  const missingNano = next === undefined ? 0n : next.fromSpendNano - spend30dNano;
  return {
    ...presentTier(tier),
    spend_30d_usd: nanoToUsd(spend30dNano),
    next: next === undefined ? null : { ...presentTier(next), missing_usd: nanoToUsd(missingNano > 0n ? missingNano : 0n) },
  };
}

function presentTier(tier: Tier): z.infer<typeof TIER> {
  return { id: tier.id, name: tier.name, markup_percent: tier.markupBasisPoints / 100 };
}
