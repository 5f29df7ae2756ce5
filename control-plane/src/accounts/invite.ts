/** What an invite is: a link that makes whoever opens it first a member of an account. */
import { formatApiKey, hashApiKey, isWellFormedApiKey } from '@meridian/domain/api-key';
import { GatewayError } from '@meridian/domain/error';
import type { MemberRow } from './account.ts';

/** What can be invited. An owner comes by another owner's word, never by a link. */
export const INVITED_ROLES = ['admin', 'member', 'billing'] as const satisfies readonly MemberRow['role'][];

const DAY_MS = 86_400_000;
export const DEFAULT_INVITE_MS = 7 * DAY_MS;
export const MAX_INVITE_DAYS = 30;
export const MAX_OPEN_INVITES_PER_ACCOUNT = 50;
export const MAX_NEW_INVITES_PER_ACCOUNT_PER_DAY = 200;
export const INVITE_RATE_WINDOW_MS = DAY_MS;

/** Tells an invite from an API key at a glance. */
const TOKEN_PREFIX = 'inv-';
export const TOKEN_RANDOM_BYTES = 20;

export interface InviteRow {
  readonly id: string;
  readonly account_id: string;
  readonly role: (typeof INVITED_ROLES)[number];
  readonly email: string | null;
  readonly token_hash: string;
  readonly invited_by: string;
  readonly created_at: Date;
  readonly expires_at: Date;
  readonly revoked_at: Date | null;
  readonly accepted_at: Date | null;
  readonly member_id: string | null;
  /** Whether whoever invited may still do so. */
  readonly inviter_may: boolean;
}

export type InviteStatus = 'open' | 'accepted' | 'revoked' | 'expired';

/** An invite ends with its time, with its use, by a word, and with the right of whoever made it. */
export function inviteStatus(row: InviteRow, nowMs: number): InviteStatus {
  if (row.accepted_at !== null) return 'accepted';
  if (row.revoked_at !== null || !row.inviter_may) return 'revoked';
  return row.expires_at.getTime() <= nowMs ? 'expired' : 'open';
}

/** Throws `conflict` for a used invite, `invalid_state` for one that has ended otherwise. */
export function requireOpen(row: InviteRow, nowMs: number): void {
  const status = inviteStatus(row, nowMs);
  if (status === 'open') return;
  if (status === 'accepted') throw new GatewayError('conflict', { message: 'This invite was used already.' });
  throw new GatewayError('invalid_state', {
    message: `This invite ${status === 'expired' ? 'has expired' : 'was revoked'}: ask for another one.`,
  });
}

/** When an invite ends that was asked for now. Throws `invalid_request_error`. */
export function expiryOf(askedMs: number | undefined, nowMs: number): Date {
  const expiresAtMs = askedMs ?? nowMs + DEFAULT_INVITE_MS;
  const problem =
    expiresAtMs <= nowMs
      ? 'must be in the future'
      : expiresAtMs > nowMs + MAX_INVITE_DAYS * DAY_MS
        ? `must be at most ${MAX_INVITE_DAYS} days from now`
        : undefined;
  if (problem !== undefined) throw new GatewayError('invalid_request_error', { message: `expires_at ${problem}.`, param: 'expires_at' });
  return new Date(expiresAtMs);
}

/** The secret of a link. It is shown once. */
export function formatInviteToken(random: Uint8Array): string {
  return formatApiKey(TOKEN_PREFIX, random);
}

/** What is stored of it; undefined for a text that cannot be a token. */
export function hashInviteToken(pepper: Uint8Array, token: string): string | undefined {
  return isWellFormedApiKey(TOKEN_PREFIX, token) ? hashApiKey(pepper, token) : undefined;
}
