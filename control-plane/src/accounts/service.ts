/** Use cases of accounts and their members. */
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import type { ConfigEntry, Denial } from '@meridian/domain/snapshot';
import { openPrepaidIn } from '../budgets/prepaid.ts';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import { totalNano } from '../ledger/ledger.ts';
import { balancesOf, takeChangedBalances } from '../ledger/service.ts';
import { DEFAULT_PLAN_ID } from '../plans/plan.ts';
import type { PlanService } from '../plans/service.ts';
import type { Publish } from '../snapshots/publish.ts';
import type { TierService } from '../tiers/service.ts';
import {
  type AccountRow,
  accountEntry,
  type MemberRow,
  type MemberStanding,
  memberEntry,
} from './account.ts';
import * as store from './store.ts';

export interface AccountDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  /** A new account starts on the first volume tier. */
  readonly tiers: Pick<TierService, 'assignFirstIn'>;
  /** Whose daily limits members get. */
  readonly plans: Pick<PlanService, 'requireIn' | 'capMembersIn' | 'capAccountIn' | 'announce'>;
}

export interface NewAccount {
  readonly name: string;
  readonly ownerName: string;
  /** The starter plan when absent. */
  readonly planId?: string | undefined;
}

export interface AccountChange {
  readonly name?: string | undefined;
  readonly planId?: string | undefined;
}

export interface MemberChange {
  readonly name?: string | undefined;
  readonly role?: MemberRow['role'] | undefined;
  readonly status?: MemberRow['status'] | undefined;
}

export class AccountService {
  readonly #deps: AccountDeps;

  constructor(deps: AccountDeps) {
    this.#deps = deps;
  }

  /** A new account with its owner; its wallet is empty until the first credit. Throws `invalid_request_error` when the plan does not exist. */
  async create(input: NewAccount): Promise<{ account: AccountRow; owner: MemberRow }> {
    const { ids, publish, tiers, plans } = this.#deps;
    return transaction(this.#deps.db, async (trx) => {
      const plan = await plans.requireIn(trx, input.planId ?? DEFAULT_PLAN_ID);
      const now = new Date(ids.nowMs());
      const account = await store.insertAccount(trx, {
        id: newId('acc', ids),
        name: input.name,
        plan_id: plan.id,
        status: 'active',
        created_at: now,
      });
      const owner = await store.insertMember(trx, {
        id: newId('mem', ids),
        account_id: account.id,
        name: input.ownerName,
        role: 'owner',
        status: 'active',
        created_at: now,
      });
      await openPrepaidIn(trx, account.id);
      const standings = await tiers.assignFirstIn(trx, [account.id]);
      // Caps first: no node may know the member without them. Nobody holds anything of a new cap, so none is announced.
      const { entries } = await plans.capAccountIn(trx, account.id, plan);
      await publish(trx, 'customer', [...entries, accountEntry(account, 0n, now.getTime()), memberEntry(owner), ...standings]);
      return { account, owner };
    });
  }

  /** Throws `not_found`. */
  async get(accountId: string): Promise<AccountRow> {
    return (await store.findAccount(this.#deps.db, accountId)) ?? notFound('account', accountId);
  }

  list(page: Page): Promise<AccountRow[]> {
    return store.listAccounts(this.#deps.db, page);
  }

  /** Renames an account or moves it to another plan, whose daily limits its members then have. */
  async change(accountId: string, change: AccountChange): Promise<AccountRow> {
    const { db, plans, publish } = this.#deps;
    const { account, caps } = await transaction(db, async (trx) => {
      const plan = change.planId === undefined ? undefined : await plans.requireIn(trx, change.planId);
      const account = await store.updateAccount(trx, accountId, {
        ...(change.name === undefined ? {} : { name: change.name }),
        ...(plan === undefined ? {} : { plan_id: plan.id }),
      });
      if (account === undefined) return notFound('account', accountId);
      const caps = plan === undefined ? undefined : await plans.capAccountIn(trx, accountId, plan);
      await publish(trx, 'customer', [...(caps?.entries ?? []), ...(await this.#entries(trx, [account]))]);
      return { account, caps };
    });
    if (caps !== undefined) plans.announce(caps);
    return account;
  }

  /** Ends or restores all use of an account. The rev is that of the lane that carried the change: SECURITY when disabled. */
  async setStatus(accountId: string, status: AccountRow['status']): Promise<{ account: AccountRow; rev: number }> {
    return transaction(this.#deps.db, async (trx) => {
      const account = await store.updateAccount(trx, accountId, { status });
      if (account === undefined) return notFound('account', accountId);
      const entries = await this.#entries(trx, [account]);
      const { rev } = await this.#deps.publish(trx, status === 'disabled' ? 'security' : 'customer', entries);
      return { account, rev };
    });
  }

  /**
   * Disables the accounts and members that nodes were told are disabled, where they are active here; keys are left out. The entries
   * are for the caller to publish on SECURITY. No entity may be named twice.
   */
  async denyIn(trx: Transaction, denials: readonly Denial[]): Promise<ConfigEntry[]> {
    const of = (kind: Denial['kind']): Denial[] => denials.filter((denial) => denial.kind === kind);
    const accounts = await store.disableAccounts(trx, of('account'));
    const members = await store.disableMembers(trx, of('member'));
    return [...(await this.#entries(trx, accounts)), ...members.map(memberEntry)];
  }

  /**
   * Publishes the balances of up to `limit` accounts that changed since they were last published, and returns how many
   * those were. For the job that runs once a second.
   */
  async publishChangedBalances(limit: number): Promise<number> {
    return transaction(this.#deps.db, async (trx) => {
      const changed = await takeChangedBalances(trx, limit);
      // The version grows before the balance is read, so that a later version never carries an earlier balance.
      const accounts = await store.bumpAccounts(
        trx,
        changed.map((change) => change.accountId),
      );
      if (accounts.length > 0) await this.#deps.publish(trx, 'customer', await this.#entries(trx, accounts));
      return changed.length;
    });
  }

  /** Prepaid credit in nano-USD. */
  async balanceNano(accountId: string): Promise<bigint> {
    const balance = (await balancesOf(this.#deps.db, [accountId])).get(accountId);
    return balance === undefined ? 0n : totalNano(balance);
  }

  /** Throws `not_found` for an unknown account. */
  async addMember(accountId: string, input: { readonly name: string; readonly role: MemberRow['role'] }): Promise<MemberRow> {
    const { ids } = this.#deps;
    await this.get(accountId);
    return transaction(this.#deps.db, async (trx) => {
      const member = await store.insertMember(trx, {
        id: newId('mem', ids),
        account_id: accountId,
        name: input.name,
        role: input.role,
        status: 'active',
        created_at: new Date(ids.nowMs()),
      });
      const { entries } = await this.#deps.plans.capMembersIn(trx, accountId, [member.id]);
      await this.#deps.publish(trx, 'customer', [...entries, memberEntry(member)]);
      return member;
    });
  }

  /** A member who is disabled is off at once (SECURITY), and with them the keys they made. */
  async changeMember(accountId: string, memberId: string, change: MemberChange): Promise<MemberRow> {
    return transaction(this.#deps.db, async (trx) => {
      const member = await store.updateMember(trx, accountId, memberId, {
        ...(change.name === undefined ? {} : { name: change.name }),
        ...(change.role === undefined ? {} : { role: change.role }),
        ...(change.status === undefined ? {} : { status: change.status }),
      });
      if (member === undefined) return notFound('member', memberId);
      await this.#deps.publish(trx, change.status === 'disabled' ? 'security' : 'customer', [memberEntry(member)]);
      return member;
    });
  }

  listMembers(accountId: string): Promise<MemberRow[]> {
    return store.listMembers(this.#deps.db, accountId);
  }

  /** The member of the account, or its owner when no member is named. Throws `not_found`. */
  async member(accountId: string, memberId: string | undefined): Promise<MemberRow> {
    const members = await store.listMembers(this.#deps.db, accountId);
    const found = members.find((member) => (memberId === undefined ? member.role === 'owner' : member.id === memberId));
    return found ?? notFound('member', memberId ?? 'owner');
  }

  standing(memberId: string): Promise<MemberStanding | undefined> {
    return store.memberStanding(this.#deps.db, memberId);
  }

  async #entries(trx: Transaction, accounts: readonly AccountRow[]): Promise<ConfigEntry[]> {
    const balances = await balancesOf(
      trx,
      accounts.map((account) => account.id),
    );
    const asOfMs = this.#deps.ids.nowMs();
    return accounts.map((account) => {
      const balance = balances.get(account.id);
      return accountEntry(account, balance === undefined ? 0n : totalNano(balance), asOfMs);
    });
  }
}

function notFound(kind: string, id: string): never {
  throw new GatewayError('not_found', { message: `There is no ${kind} ${id}.` });
}
