/** What a team is: an account as its members see it; who of them may do what to whom. */
import { GatewayError } from '@meridian/domain/error';
import type { MemberRow } from './account.ts';

/** Accounts that one person owns, however they came about. */
export const MAX_ACCOUNTS_OWNED_PER_PERSON = 20;
export const MAX_MEMBERS_PER_ACCOUNT = 500;

/** An account with what the person who asks is in it. */
export interface TeamRow {
  readonly id: string;
  readonly name: string;
  readonly plan_id: string;
  readonly status: 'active' | 'disabled';
  readonly created_at: Date;
  readonly member_id: string;
  readonly role: MemberRow['role'];
}

/**
 * Whether a member who manages others may do this to that one: owners are made, changed and removed by owners only. Throws
 * `permission_denied`.
 */
export function requireMayManage(actor: MemberRow['role'], target: MemberRow['role'], become?: MemberRow['role']): void {
  if (actor === 'owner' || (actor === 'admin' && target !== 'owner' && become !== 'owner')) return;
  throw new GatewayError('permission_denied', {
    message: actor === 'admin' ? 'Only an owner may make, change or remove an owner.' : `A member with the role ${actor} may not do this.`,
  });
}

/** Whether a member is an owner who can act. */
export function isActingOwner(member: Pick<MemberRow, 'role' | 'status'>): boolean {
  return member.role === 'owner' && member.status === 'active';
}

/** A team without an owner could not be managed by anybody. Throws `invalid_state`. */
export function requireAnotherOwner(otherActingOwners: number): void {
  if (otherActingOwners > 0) return;
  throw new GatewayError('invalid_state', {
    message: 'A team keeps at least one owner: make another member an owner first, or transfer the ownership.',
  });
}
