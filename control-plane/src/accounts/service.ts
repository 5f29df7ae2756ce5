/** Use cases of accounts and their members. */
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import type { ConfigEntry, Denial } from '@meridian/domain/snapshot';
import { openPrepaidIn } from '../budgets/prepaid.ts';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import { totalNano } from '../ledger/ledger.ts';
import { balancesOf, leaveChangedBalances, takeChangedBalances } from '../ledger/service.ts';
import { DEFAULT_PLAN_ID } from '../plans/plan.ts';
import type { PlanService } from '../plans/service.ts';
import type { Publish } from '../snapshots/publish.ts';
import type { TierService } from '../tiers/service.ts';
import { type AccountRow, accountEntry, type MemberRow, type MemberStanding, memberEntry } from './account.ts';
import * as store from './store.ts';
import { requireAnotherOwner } from './team.ts';
import { countOtherOwners, findMembership, lockAccount } from './team-store.ts';

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
  /** Who the owner is; somebody new when absent. */
  readonly personId?: string | undefined;
  /** The starter plan when absent. */
  readonly planId?: string | undefined;
}

export interface AccountChange {
  readonly name?: string | undefined;
  readonly planId?: string | undefined;
}

export interface NewMember {
  readonly name: string;
  readonly role: MemberRow['role'];
  /** Who it is; somebody new when absent. */
  readonly personId?: string | undefined;
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
    return transaction(this.#deps.db, async (trx) => {
      const { account, owner, entries } = await this.createIn(trx, input);
      await this.#deps.publish(trx, 'customer', entries);
      return { account, owner };
    });
  }

  /** The same inside the caller's transaction, which publishes the entries on CUSTOMER. */
  async createIn(trx: Transaction, input: NewAccount): Promise<{ account: AccountRow; owner: MemberRow; entries: ConfigEntry[] }> {
    const { ids, tiers, plans } = this.#deps;
    const plan = await plans.requireIn(trx, input.planId ?? DEFAULT_PLAN_ID);
    const now = new Date(ids.nowMs());
    const account = await store.insertAccount(trx, {
      id: newId('acc', ids),
      name: input.name,
      plan_id: plan.id,
      status: 'active',
      created_at: now,
    });
    const owner = await this.#insertMember(trx, account.id, { name: input.ownerName, role: 'owner', personId: input.personId });
    await openPrepaidIn(trx, account.id);
    const standings = await tiers.assignFirstIn(trx, [account.id]);
    // Caps first: no node may know the member without them. Nobody holds anything of a new cap, so none is announced.
    const { entries } = await plans.capAccountIn(trx, account.id, plan);
    return { account, owner, entries: [...entries, accountEntry(account, 0n, now.getTime()), memberEntry(owner), ...standings] };
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

  /** Renames an account inside the caller's transaction, which publishes the entries on CUSTOMER. */
  async renameIn(trx: Transaction, accountId: string, name: string): Promise<ConfigEntry[]> {
    const account = await store.updateAccount(trx, accountId, { name });
    return account === undefined ? notFound('account', accountId) : this.#entries(trx, [account]);
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
   * those were. For the job that runs once a second. Accounts that are being changed are left for the next call: ingest waits for
   * what is taken here, and whoever holds an account may wait for ingest.
   */
  async publishChangedBalances(limit: number): Promise<number> {
    return transaction(this.#deps.db, async (trx) => {
      const changed = (await takeChangedBalances(trx, limit)).map(({ accountId }) => accountId);
      // The version grows before the balance is read, so that a later version never carries an earlier balance.
      const accounts = await store.bumpFreeAccounts(trx, changed);
      const free = new Set(accounts.map(({ id }) => id));
      const left = changed.filter((id) => !free.has(id));
      await leaveChangedBalances(trx, await store.existingAccounts(trx, left));
      if (accounts.length > 0) await this.#deps.publish(trx, 'customer', await this.#entries(trx, accounts));
      return accounts.length;
    });
  }

  /** Tells nodes that an account is above its ceiling of uncharged cost until then; nothing where they were told before. */
  async markUnchargedCeiling(accountId: string, untilMs: number): Promise<void> {
    await transaction(this.#deps.db, async (trx) => {
      const account = await store.markUnchargedCeiling(trx, accountId, new Date(untilMs));
      if (account !== undefined) await this.#deps.publish(trx, 'customer', await this.#entries(trx, [account]));
    });
  }

  /** Prepaid credit in nano-USD. */
  async balanceNano(accountId: string): Promise<bigint> {
    const balance = (await balancesOf(this.#deps.db, [accountId])).get(accountId);
    return balance === undefined ? 0n : totalNano(balance);
  }

  /** Throws `not_found` for an unknown account, `conflict` for a person who is a member of it. */
  async addMember(accountId: string, input: NewMember): Promise<MemberRow> {
    await this.get(accountId);
    return transaction(this.#deps.db, async (trx) => {
      if (input.personId !== undefined && (await findMembership(trx, accountId, input.personId)) !== undefined) {
        throw new GatewayError('conflict', { message: 'This person is a member of the account already.', param: 'person_id' });
      }
      const { member, entries } = await this.addMemberIn(trx, accountId, input);
      await this.#deps.publish(trx, 'customer', entries);
      return member;
    });
  }

  /** The same inside the caller's transaction, which publishes the entries on CUSTOMER. */
  async addMemberIn(trx: Transaction, accountId: string, input: NewMember): Promise<{ member: MemberRow; entries: ConfigEntry[] }> {
    const member = await this.#insertMember(trx, accountId, input);
    const { entries } = await this.#deps.plans.capMembersIn(trx, accountId, [member.id]);
    return { member, entries: [...entries, memberEntry(member)] };
  }

  /**
   * What an operator does to a member. A member who is disabled is off at once (SECURITY), and with them the keys they made. Whoever was
   * removed stays so: `not_found`. Throws `invalid_state` for another role of the last owner.
   */
  async changeMember(accountId: string, memberId: string, change: MemberChange): Promise<MemberRow> {
    return transaction(this.#deps.db, async (trx) => {
      if (change.role !== undefined && change.role !== 'owner') await this.#requireOwnerBesides(trx, accountId, memberId);
      const member = await this.changeMemberIn(trx, accountId, memberId, change);
      await this.#deps.publish(trx, change.status === 'disabled' ? 'security' : 'customer', [memberEntry(member)]);
      return member;
    });
  }

  /** The same inside the caller's transaction, which publishes the member. Who is removed must be disabled with it. */
  async changeMemberIn(
    trx: Transaction,
    accountId: string,
    memberId: string,
    change: MemberChange & { readonly removedAt?: Date },
  ): Promise<MemberRow> {
    const member = await store.updateMember(trx, accountId, memberId, {
      ...(change.name === undefined ? {} : { name: change.name }),
      ...(change.role === undefined ? {} : { role: change.role }),
      ...(change.status === undefined ? {} : { status: change.status }),
      ...(change.removedAt === undefined ? {} : { removed_at: change.removedAt }),
    });
    return member ?? notFound('member', memberId);
  }

  /** The member as no other transaction can change it until this one ends. Throws `not_found`. */
  async lockMemberIn(trx: Transaction, accountId: string, memberId: string): Promise<MemberRow> {
    return (await store.lockMember(trx, accountId, memberId)) ?? notFound('member', memberId);
  }

  listMembers(accountId: string): Promise<MemberRow[]> {
    return store.listMembers(this.#deps.db, accountId);
  }

  /** The member of the account, or its owner when no member is named. Throws `not_found`. */
  async member(accountId: string, memberId: string | undefined): Promise<MemberRow> {
    const found =
      memberId === undefined
        ? (await store.listMembers(this.#deps.db, accountId)).find((member) => member.role === 'owner')
        : await store.findMember(this.#deps.db, accountId, memberId);
    return found ?? notFound('member', memberId ?? 'owner');
  }

  standing(memberId: string): Promise<MemberStanding | undefined> {
    return store.memberStanding(this.#deps.db, memberId);
  }

  /** Of a person in an account. */
  membership(personId: string, accountId: string): Promise<MemberStanding | undefined> {
    return store.personStanding(this.#deps.db, personId, accountId);
  }

  async #requireOwnerBesides(trx: Transaction, accountId: string, memberId: string): Promise<void> {
    await lockAccount(trx, accountId);
    const { role } = await this.lockMemberIn(trx, accountId, memberId);
    if (role === 'owner') requireAnotherOwner(await countOtherOwners(trx, accountId, memberId));
  }

  async #insertMember(trx: Transaction, accountId: string, { name, role, personId }: NewMember): Promise<MemberRow> {
    const { ids } = this.#deps;
    const now = new Date(ids.nowMs());
    const person = personId ?? newId('per', ids);
    if (personId === undefined) await store.insertPerson(trx, person, now);
    else if (!(await store.personExists(trx, personId))) return notFound('person', personId);
    return store.insertMember(trx, {
      id: newId('mem', ids),
      account_id: accountId,
      person_id: person,
      name,
      role,
      status: 'active',
      created_at: now,
    });
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
