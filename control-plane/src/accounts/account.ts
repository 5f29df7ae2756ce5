/** What accounts and members are, and how they are published. */
import type { ConfigEntry } from '@meridian/domain/snapshot';

export interface AccountRow {
  readonly id: string;
  readonly name: string;
  readonly plan_id: string;
  readonly status: 'active' | 'disabled';
  readonly version: number;
  readonly created_at: Date;
  readonly uncharged_ceiling_until?: Date | null;
}

export interface MemberRow {
  readonly id: string;
  readonly account_id: string;
  readonly person_id: string;
  readonly name: string;
  readonly role: 'owner' | 'admin' | 'member' | 'billing';
  readonly status: 'active' | 'disabled';
  readonly version: number;
  readonly created_at: Date;
  /** Kept for what names the member; a removed one is in no list. */
  readonly removed_at: Date | null;
}

/** What decides whether a member may act now. */
export interface MemberStanding {
  readonly personId: string;
  readonly memberId: string;
  readonly accountId: string;
  readonly role: MemberRow['role'];
  readonly memberStatus: MemberRow['status'];
  readonly accountStatus: AccountRow['status'];
}

export const ROLES = ['owner', 'admin', 'member', 'billing'] as const satisfies readonly MemberRow['role'][];

/** The balance belongs to the entry: what the wallet held when it was read. */
export function accountEntry(row: AccountRow, balanceNano: bigint, asOfMs: number): ConfigEntry {
  const unchargedCeilingUntilMs = row.uncharged_ceiling_until?.getTime();
  return {
    kind: 'account',
    id: row.id,
    version: row.version,
    body: {
      kind: 'account',
      value: {
        ...{ id: row.id, name: row.name, planId: row.plan_id, status: row.status, balanceNano, asOfMs },
        ...(unchargedCeilingUntilMs === undefined ? {} : { unchargedCeilingUntilMs }),
      },
    },
  };
}

export function memberEntry(row: MemberRow): ConfigEntry {
  return {
    kind: 'member',
    id: row.id,
    version: row.version,
    body: { kind: 'member', value: { id: row.id, accountId: row.account_id, role: row.role, status: row.status } },
  };
}
