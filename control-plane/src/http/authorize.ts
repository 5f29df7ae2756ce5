/** Who may do what in the account API: one table, role × route. */
import type { Member } from '@meridian/domain/snapshot';

export type Role = Member['role'];

/** `any`: everything of the account · `own`: only what the member made or used · `none`: refused. */
export type Reach = 'any' | 'own' | 'none';

const ROLE_COLUMNS = ['owner', 'admin', 'member', 'billing'] as const satisfies readonly Role[];

/** A route that is not in the table does not start. */
const ACCESS: Readonly<Record<string, readonly [owner: Reach, admin: Reach, member: Reach, billing: Reach]>> = {
  'GET /v1/me': ['any', 'any', 'any', 'any'],
  'GET /v1/regions': ['any', 'any', 'any', 'any'],
  'GET /v1/account': ['any', 'any', 'any', 'any'],
  'PATCH /v1/account': ['any', 'any', 'none', 'any'],
  'GET /v1/account/trail': ['any', 'none', 'none', 'none'],
  'GET /v1/account/members/:id': ['any', 'any', 'own', 'own'],
  'PATCH /v1/account/members/:id': ['any', 'any', 'none', 'none'],
  'GET /v1/teams': ['any', 'any', 'any', 'any'],
  'POST /v1/teams': ['any', 'any', 'any', 'any'],
  'GET /v1/teams/:id': ['any', 'any', 'any', 'any'],
  'PATCH /v1/teams/:id': ['any', 'any', 'none', 'none'],
  'POST /v1/teams/:id/tokens': ['any', 'any', 'any', 'any'],
  'POST /v1/teams/:id/transfer': ['any', 'none', 'none', 'none'],
  'GET /v1/teams/:id/members': ['any', 'any', 'any', 'any'],
  'GET /v1/teams/:id/members/:member_id': ['any', 'any', 'own', 'own'],
  'PATCH /v1/teams/:id/members/:member_id': ['any', 'any', 'none', 'none'],
  'DELETE /v1/teams/:id/members/:member_id': ['any', 'any', 'own', 'own'],
  'POST /v1/teams/:id/invites': ['any', 'any', 'none', 'none'],
  'GET /v1/teams/:id/invites': ['any', 'any', 'none', 'none'],
  'GET /v1/teams/:id/invites/:invite_id': ['any', 'any', 'none', 'none'],
  'DELETE /v1/teams/:id/invites/:invite_id': ['any', 'any', 'none', 'none'],
  'POST /v1/invites/:token/accept': ['any', 'any', 'any', 'any'],
  'POST /v1/keys': ['any', 'any', 'own', 'none'],
  'GET /v1/keys': ['any', 'any', 'own', 'none'],
  'GET /v1/keys/:id': ['any', 'any', 'own', 'none'],
  'PATCH /v1/keys/:id': ['any', 'any', 'own', 'none'],
  'DELETE /v1/keys/:id': ['any', 'any', 'own', 'none'],
  'GET /v1/credits': ['any', 'any', 'none', 'any'],
  'GET /v1/credits/packages': ['any', 'any', 'none', 'any'],
  'GET /v1/credits/purchases': ['any', 'any', 'none', 'any'],
  'POST /v1/credits/promotions': ['any', 'any', 'none', 'any'],
  'GET /v1/usage': ['any', 'any', 'own', 'any'],
  'GET /v1/usage/requests': ['any', 'any', 'own', 'any'],
  'GET /v1/usage/requests/:id': ['any', 'any', 'own', 'any'],
};

/** `POST /v1/keys` for a route as Fastify knows it. */
export function routeName(method: string, url: string): string {
  return `${method} ${url}`;
}

export function isAuthorizedRoute(route: string): boolean {
  return Object.hasOwn(ACCESS, route);
}

export function authorizedRoutes(): readonly string[] {
  return Object.keys(ACCESS);
}

/** How far a role reaches on a route. */
export function reachOf(role: Role, route: string): Reach {
  return ACCESS[route]?.[ROLE_COLUMNS.indexOf(role)] ?? 'none';
}
