/**
 * `GET /v1/me` with an API key: the control plane's figures, with what this node has at hand. Where the control plane is
 * away, the node's copy has the same fields: those that only the control plane can know are null, and `as_of` is older.
 */
import { type BudgetRef, type BudgetUnit, type Cap, prepaidCapId } from '@meridian/domain/budget';
import { nanoToUsd } from '@meridian/domain/money';
import { missingToTier, nextTier } from '@meridian/domain/tier';
import { nextWindowStartMs, type WindowKind, windowStartMs } from '@meridian/domain/window';
import type { Principal } from '../admission/authenticate.ts';
import type { Grants } from '../admission/grants.ts';
import type { KeyTable } from '../admission/key-table.ts';
import type { Upstream } from '../upstream/call.ts';
import type { HttpReply } from './reply.ts';

/** How long the control plane is waited for. */
const ASK_WITHIN_MS = 1_000;
const TIMEOUTS = { connectMs: ASK_WITHIN_MS, firstByteMs: ASK_WITHIN_MS, idleMs: ASK_WITHIN_MS, totalMs: ASK_WITHIN_MS };
const MAX_ANSWER_BYTES = 1024 * 1024;

export interface MeRooms {
  readonly upstream: Upstream;
  /** Origin of the control plane's API. */
  readonly controlUrl: string;
  readonly keys: KeyTable;
  readonly grants: Grants;
  readonly region: string;
  readonly nowMs: () => number;
}

export interface MeRequest {
  readonly principal: Principal;
  /** As the client wrote it. */
  readonly apiKey: string;
  readonly requestId: string;
}

type Fields = Readonly<Record<string, unknown>>;

/** Answers 200 in any case. */
export function me(rooms: MeRooms, request: MeRequest, reply: Pick<HttpReply, 'json' | 'onGone'>): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let status = 0;
  const answer = (told: Fields | undefined): void => reply.json(200, present(rooms, told ?? ownCopy(rooms, request.principal)));
  const call = rooms.upstream.dispatch(
    {
      origin: rooms.controlUrl,
      path: '/v1/me',
      method: 'GET',
      headers: ['authorization', `Bearer ${request.apiKey}`, 'x-request-id', request.requestId],
      body: [],
      timeouts: TIMEOUTS,
    },
    {
      onHead: (code) => {
        status = code;
      },
      onData: (chunk) => {
        bytes += chunk.length;
        if (bytes <= MAX_ANSWER_BYTES) {
          chunks.push(chunk);
          return;
        }
        call.cancel();
        answer(undefined);
      },
      onEnd: () => answer(status === 200 ? read(Buffer.concat(chunks)) : undefined),
      onFailure: () => answer(undefined),
    },
  );
  reply.onGone(() => call.cancel());
}

/** Undefined for anything but an answer that is whole. */
function read(body: Buffer): Fields | undefined {
  try {
    const parsed: unknown = JSON.parse(body.toString('utf8'));
    return isFields(parsed) && parsed.object === 'me' && isFields(parsed.balance) && isFields(parsed.account) && Array.isArray(parsed.caps)
      ? parsed
      : undefined;
  } catch {
    return undefined;
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What only this node can say, put into either copy. */
function present({ grants, region, nowMs }: MeRooms, told: Fields): Fields {
  const available = (budget: BudgetRef): number => grants.room([budget]).free;
  const { balance, account } = told as { readonly balance: Fields; readonly account: { readonly id: string } };
  const { unreported_usd: _, ...figures } = balance;
  const prepaid = available({ capId: prepaidCapId(account.id), windowStartMs: 0 });
  const caps = told.caps as readonly { readonly id: string; readonly window: WindowKind; readonly unit: BudgetUnit }[];
  return {
    ...told,
    region,
    as_of: balance.as_of,
    balance: { ...figures, ...amount('available_now', prepaid, 'nano_usd') },
    caps: caps.map((cap) => ({
      ...cap,
      ...amount('available_now', available({ capId: cap.id, windowStartMs: windowStartMs(cap.window, nowMs()) }), cap.unit),
    })),
  };
}

/** From the picture of the configuration. */
function ownCopy({ keys, nowMs }: MeRooms, { account, key, plan, standing }: Principal): Fields {
  const next = nextTier(keys.ladder(), standing.tier.id);
  return {
    object: 'me',
    account: { id: account.id, name: account.name, status: account.status },
    member: { id: key.memberId, role: keys.member(key.memberId)?.role ?? null },
    key: { id: key.id, name: key.name },
    region: null,
    plan: { id: plan.id, name: plan.name, api_access: plan.apiAccess },
    tier: {
      id: standing.tier.id,
      name: standing.tier.name,
      markup_percent: standing.tier.markupBasisPoints / 100,
      spend_30d_usd: nanoToUsd(standing.spend30dNano),
      next:
        next === undefined
          ? null
          : {
              id: next.id,
              name: next.name,
              markup_percent: next.markupBasisPoints / 100,
              missing_usd: nanoToUsd(missingToTier(next, standing.spend30dNano)),
            },
    },
    balance: {
      balance_usd: nanoToUsd(account.balanceNano),
      balance_nano: account.balanceNano.toString(),
      as_of: new Date(account.asOfMs).toISOString(),
    },
    caps: [key.id, key.memberId, account.id].flatMap((scopeId) => keys.capsOf(scopeId)).map((cap) => ownCap(cap, nowMs())),
  };
}

function ownCap({ id, scope, scopeId, window, unit, limit }: Cap, atMs: number): Fields {
  const endMs = nextWindowStartMs(window, windowStartMs(window, atMs));
  return {
    id,
    object: 'cap',
    scope,
    scope_id: scopeId,
    window,
    unit,
    ...amount('limit', limit, unit),
    ...amount('spent', undefined, unit),
    ...amount('reserved', undefined, unit),
    ...amount('left', undefined, unit),
    resets_at: endMs === undefined ? null : new Date(endMs).toISOString(),
  };
}

/** Money as exact decimal strings in USD and in nano-USD, a count as a number; null where it is not known. */
function amount(name: string, value: number | undefined, unit: BudgetUnit): Fields {
  if (unit !== 'nano_usd') return { [name]: value ?? null };
  const nano = value === undefined ? undefined : BigInt(value);
  return { [`${name}_usd`]: nano === undefined ? null : nanoToUsd(nano), [`${name}_nano`]: nano?.toString() ?? null };
}
