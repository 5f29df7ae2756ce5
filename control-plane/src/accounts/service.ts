/** Use cases of accounts, their members and the plans they are on. */
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import type { ConfigEntry, Denial } from '@meridian/domain/snapshot';
import { openPrepaidIn } from '../budgets/prepaid.ts';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import { totalNano } from '../ledger/ledger.ts';
import { balancesOf, takeChangedBalances } from '../ledger/service.ts';
import type { Publish } from '../snapshots/publish.ts';
import type { TierService } from '../tiers/service.ts';
import {
  type AccountRow,
  accountEntry,
  DEFAULT_PLAN_ID,
  type MemberRow,
  type MemberStanding,
  memberEntry,
  type PlanRow,
  planEntry,
} from './account.ts';
import * as store from './store.ts';

export interface AccountDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  /** A new account starts on the first volume tier. */
  readonly tiers: Pick<TierService, 'assignFirstIn'>;
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
    const { ids, publish, tiers } = this.#deps;
    return transaction(this.#deps.db, async (trx) => {
      const planId = await existingPlanId(trx, input.planId ?? DEFAULT_PLAN_ID);
      const now = new Date(ids.nowMs());
      const account = await store.insertAccount(trx, {
        id: newId('acc', ids),
        name: input.name,
        plan_id: planId,
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
      await publish(trx, 'customer', [accountEntry(account, 0n, now.getTime()), memberEntry(owner), ...standings]);
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

  /** Renames an account or moves it to another plan. */
  async change(accountId: string, change: AccountChange): Promise<AccountRow> {
    return transaction(this.#deps.db, async (trx) => {
      const planId = change.planId === undefined ? undefined : await existingPlanId(trx, change.planId);
      const account = await store.updateAccount(trx, accountId, {
        ...(change.name === undefined ? {} : { name: change.name }),
        ...(planId === undefined ? {} : { plan_id: planId }),
      });
      if (account === undefined) return notFound('account', accountId);
      await this.#deps.publish(trx, 'customer', await this.#entries(trx, [account]));
      return account;
    });
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
      await this.#deps.publish(trx, 'customer', [memberEntry(member)]);
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

  async plan(planId: string): Promise<PlanRow> {
    return (await store.findPlan(this.#deps.db, planId)) ?? notFound('plan', planId);
  }

  listPlans(): Promise<PlanRow[]> {
    return store.listPlans(this.#deps.db);
  }

  async savePlan(plan: { readonly id: string; readonly name: string; readonly apiAccess: boolean }): Promise<PlanRow> {
    return transaction(this.#deps.db, async (trx) => {
      const entries = await this.savePlanIn(trx, plan);
      const row = (await store.lockPlan(trx, plan.id)) ?? notFound('plan', plan.id);
      if (entries.length > 0) await this.#deps.publish(trx, 'catalog', entries);
      return row;
    });
  }

  /** Makes or changes a plan; the entries are for the caller to publish on CATALOG, none when nothing changed. */
  async savePlanIn(
    trx: Transaction,
    plan: { readonly id: string; readonly name: string; readonly apiAccess: boolean },
  ): Promise<ConfigEntry[]> {
    const content = { name: plan.name, api_access: plan.apiAccess };
    const inserted = await store.insertPlan(trx, { id: plan.id, ...content, created_at: new Date(this.#deps.ids.nowMs()) });
    if (inserted !== undefined) return [planEntry(inserted)];
    const present = await store.lockPlan(trx, plan.id);
    if (present?.name === plan.name && present.api_access === plan.apiAccess) return [];
    return [planEntry(await store.updatePlan(trx, plan.id, content))];
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

async function existingPlanId(trx: Transaction, planId: string): Promise<string> {
  const plan = await store.findPlan(trx, planId);
  if (plan === undefined) throw new GatewayError('invalid_request_error', { message: `There is no plan ${planId}.`, param: 'plan_id' });
  return plan.id;
}

function notFound(kind: string, id: string): never {
  throw new GatewayError('not_found', { message: `There is no ${kind} ${id}.` });
}
