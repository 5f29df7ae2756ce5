/** `/v1/teams`: the accounts of a person, their members and invites. The caller is the person's member in the team that the path names. */
import { z } from 'zod';
import { CAP_OUT, CAPS, presentCap } from '../budgets/cap-field.ts';
import type { BudgetService } from '../budgets/service.ts';
import { ID, NAME, TIME, TIME_OUT, time } from '../http/field.ts';
import { listed, listOf, PAGE_QUERY, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { type Caller, callerOf, type Sessions } from '../http/session.ts';
import { ROLES } from './account.ts';
import { INVITED_ROLES, type InviteRow, inviteStatus, MAX_INVITE_DAYS } from './invite.ts';
import { ID_PARAMS, MEMBER, MEMBER_WITH_CAPS, presentMember, presentMemberWithCaps, reachableMember, STATUS } from './member-field.ts';
import type { AccountService } from './service.ts';
import type { TeamRow } from './team.ts';
import type { TeamService } from './team-service.ts';

const MEMBER_PARAMS = z.strictObject({ id: ID, member_id: ID });
const INVITE_PARAMS = z.strictObject({ id: ID, invite_id: ID });

const TEAM_FIELDS = {
  id: z.string().describe('That of the account which the team is.'),
  object: z.literal('team'),
  name: z.string(),
  plan_id: z.string(),
  status: STATUS,
  member_id: z.string().describe('Who the caller is in this team.'),
  role: z.enum(ROLES).describe('What the caller is in this team.'),
  created_at: TIME_OUT,
};
const TEAM = z.object(TEAM_FIELDS);
const TEAM_WITH_CAPS = z.object({ ...TEAM_FIELDS, caps: z.array(CAP_OUT) });

const INVITE_FIELDS = {
  id: z.string(),
  object: z.literal('invite'),
  account_id: z.string(),
  role: z.enum(INVITED_ROLES),
  email: z.string().nullable().describe('For whom it is meant. Whoever has the token may use it.'),
  status: z.enum(['open', 'accepted', 'revoked', 'expired']),
  invited_by: z.string(),
  member_id: z.string().nullable().describe('The member that it became.'),
  created_at: TIME_OUT,
  expires_at: TIME_OUT,
};
const INVITE = z.object(INVITE_FIELDS);

export interface TeamRoutesDeps {
  readonly teams: TeamService;
  readonly accounts: Pick<AccountService, 'member'>;
  readonly budgets: Pick<BudgetService, 'standings'>;
  readonly sessions: Pick<Sessions, 'mint'>;
  readonly clock: { nowMs(): number };
}

/** Routes for members. */
export function teamRoutes(deps: TeamRoutesDeps): Routes {
  return (app) => {
    for (const routes of [ownTeamRoutes, memberRoutes, inviteRoutes]) routes(deps)(app);
  };
}

function ownTeamRoutes({ teams, budgets, sessions, clock }: TeamRoutesDeps): Routes {
  const presentWhole = async ({ accountId, memberId }: Caller): Promise<z.infer<typeof TEAM_WITH_CAPS>> => ({
    ...presentTeam(await teams.get(memberId)),
    caps: (await budgets.standings(accountId, [accountId])).map(presentCap),
  });
  return (app) => {
    addRoute(
      app,
      {
        method: 'POST',
        url: '/v1/teams',
        trail: { kind: 'team' },
        summary: 'Make a team: an account with a wallet of its own, which the caller owns.',
        status: 201,
        body: z.strictObject({ name: NAME }),
        answer: TEAM,
      },
      async ({ request, body }) => presentTeam(await teams.create(callerOf(request), body.name)),
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/teams',
        summary: 'The teams that the caller is a member of, newest first.',
        query: PAGE_QUERY,
        answer: listOf(TEAM),
      },
      async ({ request, query }) => {
        const page = pageOf(query);
        return listed(await teams.list(callerOf(request).personId, page), page, presentTeam);
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/teams/:id',
        summary: 'Read a team, with the caps of its account.',
        params: ID_PARAMS,
        answer: TEAM_WITH_CAPS,
      },
      async ({ request }) => presentWhole(callerOf(request)),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/v1/teams/:id',
        trail: { kind: 'account' },
        summary: 'Rename a team, set the caps of its account.',
        params: ID_PARAMS,
        body: z.strictObject({ name: NAME.optional(), caps: CAPS.optional() }),
        answer: TEAM_WITH_CAPS,
      },
      async ({ request, body }) => {
        await teams.change(callerOf(request), body);
        return presentWhole(callerOf(request));
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/v1/teams/:id/tokens',
        trail: { kind: 'account_token' },
        summary: 'An account token for the caller in this team, which ends with the one that asks.',
        status: 201,
        params: ID_PARAMS,
        answer: z.object({
          object: z.literal('account_token'),
          token: z.string(),
          account_id: z.string(),
          member_id: z.string(),
          expires_at: TIME_OUT,
        }),
      },
      async ({ request }) => {
        const { accountId, memberId, sessionEndsAtMs } = callerOf(request);
        // A token is good for whole seconds, from the second in which it is made.
        const lifetimeSeconds = Math.floor(sessionEndsAtMs / 1000) - Math.floor(clock.nowMs() / 1000);
        const { token, expiresAtMs } = await sessions.mint(memberId, accountId, lifetimeSeconds);
        return { object: 'account_token', token, account_id: accountId, member_id: memberId, expires_at: time(expiresAtMs) };
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/v1/teams/:id/transfer',
        trail: { kind: 'account' },
        summary: 'Make another member the owner; the caller becomes an admin.',
        params: ID_PARAMS,
        body: z.strictObject({ member_id: ID }),
        answer: MEMBER,
      },
      async ({ request, body }) => presentMember(await teams.transfer(callerOf(request), body.member_id)),
    );
  };
}

function memberRoutes({ teams, accounts, budgets }: TeamRoutesDeps): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/teams/:id/members',
        summary: 'List the members of a team, oldest first.',
        params: ID_PARAMS,
        query: PAGE_QUERY,
        answer: listOf(MEMBER),
      },
      async ({ request, query }) => {
        const page = pageOf(query);
        return listed(await teams.listMembers(callerOf(request).accountId, page), page, presentMember);
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/teams/:id/members/:member_id',
        summary: 'Read a member of a team, with the caps over all keys the member has made.',
        params: MEMBER_PARAMS,
        answer: MEMBER_WITH_CAPS,
      },
      async ({ request, params }) => presentMemberWithCaps(budgets, await reachableMember(accounts, callerOf(request), params.member_id)),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/v1/teams/:id/members/:member_id',
        trail: { kind: 'member', id: 'member_id' },
        summary: 'Change the name, role, status or caps of a member. Owners are changed by owners only; the last one stays.',
        params: MEMBER_PARAMS,
        body: z.strictObject({ name: NAME.optional(), role: z.enum(ROLES).optional(), status: STATUS.optional(), caps: CAPS.optional() }),
        answer: MEMBER_WITH_CAPS,
      },
      async ({ request, params, body }) =>
        presentMemberWithCaps(budgets, await teams.changeMember(callerOf(request), params.member_id, body)),
    );
    addRoute(
      app,
      {
        method: 'DELETE',
        url: '/v1/teams/:id/members/:member_id',
        trail: { kind: 'member', id: 'member_id' },
        summary: 'Remove a member, or leave: all keys the member has made are revoked for good; `rev` is on the SECURITY lane.',
        params: MEMBER_PARAMS,
        answer: z.object({ id: z.string(), object: z.literal('member'), deleted: z.literal(true), revoked_keys: z.int(), rev: z.int() }),
      },
      async ({ request, params }) => {
        const caller = callerOf(request);
        await reachableMember(accounts, caller, params.member_id);
        const { member, revokedKeys, rev } = await teams.removeMember(caller, params.member_id);
        return { id: member.id, object: 'member', deleted: true, revoked_keys: revokedKeys, rev };
      },
    );
  };
}

function inviteRoutes({ teams, clock }: TeamRoutesDeps): Routes {
  const present = (row: InviteRow): z.infer<typeof INVITE> => ({
    id: row.id,
    object: 'invite',
    account_id: row.account_id,
    role: row.role,
    email: row.email,
    status: inviteStatus(row, clock.nowMs()),
    invited_by: row.invited_by,
    member_id: row.member_id,
    created_at: time(row.created_at),
    expires_at: time(row.expires_at),
  });
  return (app) => {
    addRoute(
      app,
      {
        method: 'POST',
        url: '/v1/teams/:id/invites',
        trail: { kind: 'invite' },
        summary: 'Invite somebody by a link; the answer is the only place where its token and its link are ever shown.',
        status: 201,
        params: ID_PARAMS,
        body: z.strictObject({
          role: z.enum(INVITED_ROLES),
          expires_at: TIME.optional().describe(`In 7 days unless told, at most in ${MAX_INVITE_DAYS}.`),
          email: z.email().max(254).optional().describe('For whom it is meant; whoever has the token may use it.'),
        }),
        answer: z.object({
          ...INVITE_FIELDS,
          token: z.string(),
          url: z
            .string()
            .describe(
              'The link, as a path below any base URL of this API; whoever is invited sends a POST there with a token of their own.',
            ),
        }),
      },
      async ({ request, body }) => {
        const { invite, token } = await teams.invite(callerOf(request), {
          role: body.role,
          email: body.email,
          expiresAtMs: body.expires_at,
        });
        return { ...present(invite), token, url: `/v1/invites/${token}/accept` };
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/teams/:id/invites',
        summary: 'List the invites of a team, newest first.',
        params: ID_PARAMS,
        query: PAGE_QUERY,
        answer: listOf(INVITE),
      },
      async ({ request, query }) => {
        const page = pageOf(query);
        return listed(await teams.listInvites(callerOf(request).accountId, page), page, present);
      },
    );
    addRoute(
      app,
      { method: 'GET', url: '/v1/teams/:id/invites/:invite_id', summary: 'Read an invite.', params: INVITE_PARAMS, answer: INVITE },
      async ({ request, params }) => present(await teams.getInvite(callerOf(request).accountId, params.invite_id)),
    );
    addRoute(
      app,
      {
        method: 'DELETE',
        url: '/v1/teams/:id/invites/:invite_id',
        trail: { kind: 'invite', id: 'invite_id' },
        summary: 'Revoke an invite that was not used.',
        params: INVITE_PARAMS,
        answer: z.object({ id: z.string(), object: z.literal('invite'), deleted: z.literal(true) }),
      },
      async ({ request, params }) => {
        const { id } = await teams.revokeInvite(callerOf(request), params.invite_id);
        return { id, object: 'invite', deleted: true };
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/v1/invites/:token/accept',
        trail: { kind: 'member' },
        summary: 'Become a member of a team by the token of an invite, which is used up with it.',
        params: z.strictObject({ token: ID }),
        answer: TEAM,
      },
      async ({ request, params }) => presentTeam(await teams.accept(callerOf(request), params.token)),
    );
  };
}

function presentTeam(row: TeamRow): z.infer<typeof TEAM> {
  const { id, name, plan_id, status, member_id, role } = row;
  return { id, object: 'team', name, plan_id, status, member_id, role, created_at: time(row.created_at) };
}
