/**
 * Who is calling: a member with an account token, or an operator with a token of theirs.
 *
 * An account token names one member of one account, and stands for the person who that member is: on the routes of a team (`/v1/teams/:id…`)
 * the caller is that person's member in the team.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import { GatewayError } from '@meridian/domain/error';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { jwtVerify, SignJWT } from 'jose';
import { type Reach, type Role, reachOf, routeName } from './authorize.ts';
import { ID } from './field.ts';

const MIN_JWT_SECRET_BYTES = 32;
export const DEFAULT_TOKEN_SECONDS = 24 * 60 * 60;
export const MAX_TOKEN_SECONDS = 366 * 24 * 60 * 60;

const ISSUER = 'meridian';
const AUDIENCE = 'account-api';

/** Routes whose path names the account that they are about. */
const TEAM_ROUTE = /^\S+ \/v1\/teams\/:id(\/|$)/;

export interface Caller {
  readonly personId: string;
  readonly accountId: string;
  readonly memberId: string;
  readonly role: Role;
  /** The API key that was shown in the place of an account token. */
  readonly key: { readonly id: string; readonly name: string } | undefined;
  /** How far the caller reaches on this route; never `none`. */
  readonly reach: Exclude<Reach, 'none'>;
  /** When the token ends that was shown; now, with an API key. */
  readonly sessionEndsAtMs: number;
}

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller | undefined;
    /** The name of the operator who calls, on the operator API. */
    operator: string | undefined;
  }
}

export interface MemberStanding {
  readonly personId: string;
  readonly memberId: string;
  readonly accountId: string;
  readonly role: Role;
  readonly memberStatus: 'active' | 'disabled';
  readonly accountStatus: 'active' | 'disabled';
}

/** What a session needs to know of members; `accounts/service` satisfies it. */
export interface Members {
  standing(memberId: string): Promise<MemberStanding | undefined>;
  /** Of a person in an account. */
  membership(personId: string, accountId: string): Promise<MemberStanding | undefined>;
}

export interface KeyOwner {
  readonly memberId: string;
  readonly key: { readonly id: string; readonly name: string };
}

/** What a session needs to know of API keys; `keys/service` satisfies it. */
export interface KeyOwners {
  /** Whose key it is, if it may be used now. */
  ownerOfKey(key: string): Promise<KeyOwner | undefined>;
}

export interface Operator {
  /** As the trail names them. */
  readonly name: string;
  readonly token: string;
}

export interface SessionSettings {
  readonly jwtSecret: Uint8Array;
  /** At least one; names and tokens differ. */
  readonly operators: readonly Operator[];
  nowMs(): number;
}

/** What a token or a key says of its bearer; an account only where it was signed. */
interface Identity {
  readonly memberId: string;
  readonly accountId: string | undefined;
  readonly key: KeyOwner['key'] | undefined;
  readonly endsAtMs: number;
}

/** Routes on which an API key is as good as an account token: they tell a key about itself. */
const KEY_ROUTES: readonly string[] = ['GET /v1/me', 'GET /v1/regions'];

export class Sessions {
  readonly #settings: SessionSettings;
  readonly #members: Members;
  readonly #keys: KeyOwners;
  readonly #operators: readonly { readonly name: string; readonly tokenHash: Uint8Array }[];

  constructor(settings: SessionSettings, members: Members, keys: KeyOwners) {
    if (settings.jwtSecret.length < MIN_JWT_SECRET_BYTES) throw new RangeError(`the JWT secret has at least ${MIN_JWT_SECRET_BYTES} bytes`);
    if (settings.operators.length === 0) throw new RangeError('there is at least one operator');
    if (settings.operators.some(({ token }) => token.length < 16))
      throw new RangeError('the token of an operator has at least 16 characters');
    this.#settings = settings;
    this.#members = members;
    this.#keys = keys;
    this.#operators = settings.operators.map(({ name, token }) => ({ name, tokenHash: hash('sha256', token, 'buffer') }));
  }

  /** An account token: a JWT (HS256) with `sub` the member, `account` and `exp`. */
  async mint(memberId: string, accountId: string, lifetimeSeconds: number): Promise<{ token: string; expiresAtMs: number }> {
    const issuedAt = Math.floor(this.#settings.nowMs() / 1000);
    const expiresAt = issuedAt + lifetimeSeconds;
    const token = await new SignJWT({ account: accountId })
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .setSubject(memberId)
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setIssuedAt(issuedAt)
      .setExpirationTime(expiresAt)
      .sign(this.#settings.jwtSecret);
    return { token, expiresAtMs: expiresAt * 1000 };
  }

  /** Fastify's `onRequest` of the account API: runs before the body is read. */
  readonly requireMember = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    reply.header('cache-control', 'no-store');
    const route = routeName(request.method === 'HEAD' ? 'GET' : request.method, request.routeOptions.url ?? '');
    const shown = await this.#identity(request, KEY_ROUTES.includes(route));
    const named = await this.#members.standing(shown.memberId);
    if (named === undefined || !isInForce(named)) throw invalidToken();
    if (shown.accountId !== undefined && shown.accountId !== named.accountId) throw invalidToken();
    const standing = TEAM_ROUTE.test(route) ? await this.#inTeam(named, request) : named;
    const reach = reachOf(standing.role, route);
    if (reach === 'none') {
      throw new GatewayError('permission_denied', { message: `A member with the role ${standing.role} may not do this.` });
    }
    const { personId, accountId, memberId, role } = standing;
    request.caller = { personId, accountId, memberId, role, key: shown.key, reach, sessionEndsAtMs: shown.endsAtMs };
  };

  /** Fastify's `onRequest` of the operator API. */
  readonly requireOperator = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    reply.header('cache-control', 'no-store');
    const token = bearer(request);
    if (token === undefined) throw invalidToken();
    // Hashed first, so that both sides have one length; and compared with all of them, so that it takes one time.
    const shown = hash('sha256', token, 'buffer');
    const [operator] = this.#operators.filter(({ tokenHash }) => timingSafeEqual(shown, tokenHash));
    if (operator === undefined) throw invalidToken();
    request.operator = operator.name;
  };

  /** A team that somebody is not in is one that is not there. */
  async #inTeam(named: MemberStanding, request: FastifyRequest): Promise<MemberStanding> {
    const { id } = request.params as { readonly id: string };
    // The path is not looked at by the route yet.
    const standing = ID.safeParse(id).success ? await this.#members.membership(named.personId, id) : undefined;
    if (standing === undefined || !isInForce(standing)) throw new GatewayError('not_found', { message: `There is no team ${id}.` });
    return standing;
  }

  async #identity(request: FastifyRequest, keysAllowed: boolean): Promise<Identity> {
    const token = bearer(request) ?? (keysAllowed ? header(request, 'x-api-key') : undefined);
    if (token === undefined) throw invalidToken();
    if (token.split('.').length === 3) return this.#verify(token);
    const owner = keysAllowed ? await this.#keys.ownerOfKey(token) : undefined;
    if (owner === undefined) throw keysAllowed ? new GatewayError('invalid_api_key') : invalidToken();
    return { ...owner, accountId: undefined, endsAtMs: this.#settings.nowMs() };
  }

  async #verify(token: string): Promise<Identity> {
    const { payload } = await jwtVerify(token, this.#settings.jwtSecret, {
      algorithms: ['HS256'],
      issuer: ISSUER,
      audience: AUDIENCE,
      requiredClaims: ['sub', 'account', 'exp'],
      currentDate: new Date(this.#settings.nowMs()),
    }).catch((cause: unknown) => {
      throw invalidToken(cause);
    });
    if (typeof payload.sub !== 'string' || typeof payload.account !== 'string') throw invalidToken();
    return { memberId: payload.sub, accountId: payload.account, key: undefined, endsAtMs: (payload.exp ?? 0) * 1000 };
  }
}

function isInForce(standing: MemberStanding): boolean {
  return standing.memberStatus === 'active' && standing.accountStatus === 'active';
}

/** The caller of a route of the account API. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === undefined) throw new Error('this route stands outside the account API');
  return request.caller;
}

function bearer(request: FastifyRequest): string | undefined {
  return /^Bearer +(\S{1,4096})$/i.exec(header(request, 'authorization') ?? '')?.[1];
}

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function invalidToken(cause?: unknown): GatewayError {
  return new GatewayError('invalid_token', cause === undefined ? {} : { cause });
}
