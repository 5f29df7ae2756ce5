/** Members in answers, and which of them a caller may see. */
import { GatewayError } from '@meridian/domain/error';
import { z } from 'zod';
import { CAP_OUT, presentCap } from '../budgets/cap-field.ts';
import type { BudgetService } from '../budgets/service.ts';
import { ID, TIME_OUT, time } from '../http/field.ts';
import type { Caller } from '../http/session.ts';
import { type MemberRow, ROLES } from './account.ts';
import type { AccountService } from './service.ts';

export const ID_PARAMS = z.strictObject({ id: ID });
export const STATUS = z.enum(['active', 'disabled']);
export const MEMBER = z.object({
  id: z.string(),
  object: z.literal('member'),
  account_id: z.string(),
  name: z.string(),
  role: z.enum(ROLES),
  status: STATUS,
  created_at: TIME_OUT,
});
export const MEMBER_WITH_CAPS = MEMBER.extend({ caps: z.array(CAP_OUT) });

export function presentMember(row: MemberRow): z.infer<typeof MEMBER> {
  const { id, account_id, name, role, status } = row;
  return { id, object: 'member', account_id, name, role, status, created_at: time(row.created_at) };
}

/** With the caps over all keys the member has made. */
export async function presentMemberWithCaps(
  budgets: Pick<BudgetService, 'standings'>,
  member: MemberRow,
): Promise<z.infer<typeof MEMBER_WITH_CAPS>> {
  return { ...presentMember(member), caps: (await budgets.standings(member.account_id, [member.id])).map(presentCap) };
}

/** Throws `not_found` also for a member whom the caller may not see. */
export async function reachableMember(accounts: Pick<AccountService, 'member'>, caller: Caller, memberId: string): Promise<MemberRow> {
  if (caller.reach === 'own' && caller.memberId !== memberId) {
    throw new GatewayError('not_found', { message: `There is no member ${memberId}.` });
  }
  return accounts.member(caller.accountId, memberId);
}
