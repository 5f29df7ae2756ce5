/** Use cases of teams: who belongs to one, in which role, and how somebody comes in, leaves, or hands it over. */
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import type { ConfigEntry } from '@meridian/domain/snapshot';
import type { CapsChange } from '../budgets/caps.ts';
import type { BudgetService, CapsSet } from '../budgets/service.ts';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { KeyService } from '../keys/service.ts';
import type { Publish } from '../snapshots/publish.ts';
import { type MemberRow, memberEntry } from './account.ts';
import {
  expiryOf,
  formatInviteToken,
  hashInviteToken,
  INVITE_RATE_WINDOW_MS,
  type InviteRow,
  inviteStatus,
  MAX_NEW_INVITES_PER_ACCOUNT_PER_DAY,
  MAX_OPEN_INVITES_PER_ACCOUNT,
  requireOpen,
  TOKEN_RANDOM_BYTES,
} from './invite.ts';
import type { AccountService, MemberChange } from './service.ts';
import {
  isActingOwner,
  MAX_ACCOUNTS_OWNED_PER_PERSON,
  MAX_MEMBERS_PER_ACCOUNT,
  requireAnotherOwner,
  requireMayManage,
  type TeamRow,
} from './team.ts';
import * as store from './team-store.ts';

export interface TeamDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  readonly accounts: Pick<AccountService, 'createIn' | 'addMemberIn' | 'renameIn' | 'changeMemberIn' | 'lockMemberIn' | 'member'>;
  readonly keys: Pick<KeyService, 'revokeOfMemberIn'>;
  readonly budgets: Pick<BudgetService, 'setCapsIn' | 'announce'>;
  /** Keys the hashes of invites; 32 bytes. */
  readonly pepper: Uint8Array;
}

/** Somebody who acts in an account of theirs. */
export interface Actor {
  readonly accountId: string;
  readonly memberId: string;
}

export interface NewInvite {
  readonly role: InviteRow['role'];
  /** Seven days from now unless told. */
  readonly expiresAtMs?: number | undefined;
  readonly email?: string | undefined;
}

/** What changes with a publication. */
interface Changed<T> {
  readonly result: T;
  readonly limits: CapsSet['limits'];
}

export class TeamService {
  readonly #deps: TeamDeps;

  constructor(deps: TeamDeps) {
    this.#deps = deps;
  }

  /** A new account on the starter plan that the person owns. Throws `conflict` for one account too many. */
  async create(
    founder: { readonly personId: string; readonly memberId: string; readonly accountId: string },
    name: string,
  ): Promise<TeamRow> {
    const { db, publish, accounts } = this.#deps;
    const { name: ownerName } = await accounts.member(founder.accountId, founder.memberId);
    const ownerId = await transaction(db, async (trx) => {
      await store.lockPerson(trx, founder.personId);
      if ((await store.countOwned(trx, founder.personId)) >= MAX_ACCOUNTS_OWNED_PER_PERSON) {
        throw new GatewayError('conflict', { message: `A person may own at most ${MAX_ACCOUNTS_OWNED_PER_PERSON} accounts.` });
      }
      const { owner, entries } = await accounts.createIn(trx, { name, ownerName, personId: founder.personId });
      await publish(trx, 'customer', entries);
      return owner.id;
    });
    return this.get(ownerId);
  }

  /** The accounts in which a person can act. */
  list(personId: string, page: Page): Promise<TeamRow[]> {
    return store.listTeams(this.#deps.db, personId, page);
  }

  /** The team as that member sees it. Throws `not_found`. */
  async get(memberId: string): Promise<TeamRow> {
    return (await store.findTeam(this.#deps.db, memberId)) ?? notFound('There is no such team.');
  }

  /** Renames a team, sets its caps. */
  async change(actor: Actor, change: { readonly name?: string | undefined; readonly caps?: CapsChange | undefined }): Promise<void> {
    const { accounts, budgets } = this.#deps;
    await this.#publishing(async (trx) => {
      const renamed = change.name === undefined ? [] : await accounts.renameIn(trx, actor.accountId, change.name);
      const owner = { accountId: actor.accountId, scope: 'account', scopeId: actor.accountId } as const;
      const { entries, limits } = await budgets.setCapsIn(trx, owner, change.caps ?? {});
      return { result: undefined, limits, customer: [...renamed, ...entries] };
    });
  }

  listMembers(accountId: string, page: Page): Promise<MemberRow[]> {
    return store.listMembers(this.#deps.db, accountId, page);
  }

  /**
   * Changes a member's name, role, status or caps. Who is disabled is off at once (SECURITY), with the keys they made. Throws
   * `permission_denied` where only an owner may, `invalid_state` for the last owner.
   */
  changeMember(
    actor: Actor,
    memberId: string,
    { caps, ...change }: MemberChange & { readonly caps?: CapsChange | undefined },
  ): Promise<MemberRow> {
    const { accounts, budgets } = this.#deps;
    return this.#publishing(async (trx) => {
      const isAltered = Object.keys(change).length > 0;
      // Caps are set on owners, too, by those who manage the wallet.
      const target = await this.#managed(trx, actor, memberId, (by, present) =>
        requireMayManage(by, isAltered ? present : 'member', change.role),
      );
      const after = { role: change.role ?? target.role, status: change.status ?? target.status };
      if (isActingOwner(target) && !isActingOwner(after)) await this.#requireAnotherOwner(trx, target);
      const changed = isAltered ? await accounts.changeMemberIn(trx, actor.accountId, memberId, change) : undefined;
      const owner = { accountId: actor.accountId, scope: 'member', scopeId: memberId } as const;
      const { entries, limits } = await budgets.setCapsIn(trx, owner, caps ?? {});
      const member = changed === undefined ? [] : [memberEntry(changed)];
      const off = change.status === 'disabled';
      return { result: changed ?? target, limits, security: off ? member : [], customer: off ? entries : [...member, ...entries] };
    });
  }

  /**
   * Ends a membership: the member and all keys they made are refused from the `rev` on SECURITY. A member may always leave, but for the
   * last owner (`invalid_state`).
   */
  async removeMember(actor: Actor, memberId: string): Promise<{ member: MemberRow; revokedKeys: number; rev: number }> {
    const { db, ids, publish, accounts, keys } = this.#deps;
    return transaction(db, async (trx) => {
      const target = await this.#managed(trx, actor, memberId, (by, present) => {
        if (actor.memberId !== memberId) requireMayManage(by, present);
      });
      if (isActingOwner(target)) await this.#requireAnotherOwner(trx, target);
      const member = await accounts.changeMemberIn(trx, actor.accountId, memberId, {
        status: 'disabled',
        removedAt: new Date(ids.nowMs()),
      });
      const revoked = await keys.revokeOfMemberIn(trx, { accountId: actor.accountId, memberId });
      const { rev } = await publish(trx, 'security', [memberEntry(member), ...revoked]);
      return { member, revokedKeys: revoked.length, rev };
    });
  }

  /** Makes another member the owner and the owner who does it an admin, at once. Returns the new owner. */
  transfer(actor: Actor, memberId: string): Promise<MemberRow> {
    const { accounts } = this.#deps;
    return this.#publishing(async (trx) => {
      const target = await this.#managed(trx, actor, memberId, (by, present) => requireMayManage(by, present, 'owner'));
      if (target.status !== 'active') throw new GatewayError('invalid_state', { message: 'A member who is disabled cannot own a team.' });
      if (target.id === actor.memberId) throw new GatewayError('invalid_state', { message: 'You own this team already.' });
      const owner = await accounts.changeMemberIn(trx, actor.accountId, memberId, { role: 'owner' });
      const former = await accounts.changeMemberIn(trx, actor.accountId, actor.memberId, { role: 'admin' });
      return { result: owner, limits: [], customer: [memberEntry(owner), memberEntry(former)] };
    });
  }

  /** The only moment at which the token is known. Throws `conflict` for one open invite too many, `rate_limit_exceeded` for a flood. */
  async invite(actor: Actor, input: NewInvite): Promise<{ invite: InviteRow; token: string }> {
    const { db, ids, pepper } = this.#deps;
    const nowMs = ids.nowMs();
    const expiresAt = expiryOf(input.expiresAtMs, nowMs);
    const token = formatInviteToken(ids.randomBytes(TOKEN_RANDOM_BYTES));
    const tokenHash = hashInviteToken(pepper, token);
    if (tokenHash === undefined) throw new Error('a token that was just made is not well formed');
    const invite = await transaction(db, async (trx) => {
      await this.#managedBy(trx, actor);
      if ((await store.countOpenInvites(trx, actor.accountId, new Date(nowMs))) >= MAX_OPEN_INVITES_PER_ACCOUNT) {
        throw new GatewayError('conflict', {
          message: `An account may have at most ${MAX_OPEN_INVITES_PER_ACCOUNT} open invites: revoke one first.`,
        });
      }
      requireRate(await store.nthNewestInviteAt(trx, actor.accountId, MAX_NEW_INVITES_PER_ACCOUNT_PER_DAY), nowMs);
      const id = newId('inv', ids);
      await store.insertInvite(trx, {
        ...{ id, account_id: actor.accountId, role: input.role, email: input.email ?? null, token_hash: tokenHash },
        ...{ invited_by: actor.memberId, created_at: new Date(nowMs), expires_at: expiresAt },
      });
      return (await store.findInvite(trx, actor.accountId, id)) ?? noInvite();
    });
    return { invite, token };
  }

  listInvites(accountId: string, page: Page): Promise<InviteRow[]> {
    return store.listInvites(this.#deps.db, accountId, page);
  }

  /** Throws `not_found`. */
  async getInvite(accountId: string, id: string): Promise<InviteRow> {
    return (await store.findInvite(this.#deps.db, accountId, id)) ?? noInvite();
  }

  /** Ends an invite. Doing it again is no error; one that was used is `invalid_state`. */
  async revokeInvite(actor: Actor, id: string): Promise<InviteRow> {
    const { db, ids } = this.#deps;
    return transaction(db, async (trx) => {
      await this.#managedBy(trx, actor);
      const present = (await store.findInvite(trx, actor.accountId, id)) ?? noInvite();
      if (inviteStatus(present, ids.nowMs()) === 'accepted') {
        throw new GatewayError('invalid_state', { message: 'This invite was used already: remove the member instead.' });
      }
      await store.endInvite(trx, id, { revoked_at: new Date(ids.nowMs()) });
      return (await store.findInvite(trx, actor.accountId, id)) ?? noInvite();
    });
  }

  /**
   * Makes the person a member by an invite, which is used up with it. Throws `not_found` for an unknown token, `conflict` for a used
   * one or where the person is a member already, `invalid_state` for one that has expired or was revoked.
   */
  async accept(
    person: { readonly personId: string; readonly accountId: string; readonly memberId: string },
    token: string,
  ): Promise<TeamRow> {
    const { db, ids, pepper, publish, accounts } = this.#deps;
    const tokenHash = hashInviteToken(pepper, token) ?? noInvite();
    const { name } = await accounts.member(person.accountId, person.memberId);
    const memberId = await transaction(db, async (trx) => {
      const { account_id: accountId } = (await store.findInviteByHash(trx, tokenHash)) ?? noInvite();
      const accountStatus = await store.lockAccount(trx, accountId);
      // Read again: whoever else used or revoked it held the account.
      const invite = (await store.findInviteByHash(trx, tokenHash)) ?? noInvite();
      requireOpen(invite, ids.nowMs());
      if (accountStatus !== 'active') throw new GatewayError('invalid_state', { message: 'This team cannot be joined at present.' });
      if ((await store.findMembership(trx, accountId, person.personId)) !== undefined) {
        throw new GatewayError('conflict', { message: 'You are a member of this team already.' });
      }
      if ((await store.countMembers(trx, accountId)) >= MAX_MEMBERS_PER_ACCOUNT) {
        throw new GatewayError('conflict', { message: `An account may have at most ${MAX_MEMBERS_PER_ACCOUNT} members.` });
      }
      const { member, entries } = await accounts.addMemberIn(trx, accountId, { name, role: invite.role, personId: person.personId });
      await store.endInvite(trx, invite.id, { accepted_at: new Date(ids.nowMs()), member_id: member.id });
      await publish(trx, 'customer', entries);
      return member.id;
    });
    return this.get(memberId);
  }

  /** Publishes what a transaction has changed, SECURITY first, and tells afterwards of changed limits. */
  async #publishing<T>(
    work: (
      trx: Transaction,
    ) => Promise<Changed<T> & { readonly security?: readonly ConfigEntry[]; readonly customer: readonly ConfigEntry[] }>,
  ): Promise<T> {
    const { result, limits } = await transaction(this.#deps.db, async (trx): Promise<Changed<T>> => {
      const { security = [], customer, ...changed } = await work(trx);
      if (security.length > 0) await this.#deps.publish(trx, 'security', security);
      if (customer.length > 0) await this.#deps.publish(trx, 'customer', customer);
      return changed;
    });
    this.#deps.budgets.announce(limits);
    return result;
  }

  /** Locks the account for somebody who manages it still: a role may have gone since the request came in. */
  async #managedBy(trx: Transaction, actor: Actor): Promise<void> {
    await this.#managed(trx, actor, actor.memberId, (by) => requireMayManage(by, 'member'));
  }

  /** Locks whoever acts and the member who is to be changed, and asks whether it may be, of the roles as they are now. */
  async #managed(
    trx: Transaction,
    actor: Actor,
    memberId: string,
    require: (by: MemberRow['role'], target: MemberRow['role']) => void,
  ): Promise<MemberRow> {
    const { accounts } = this.#deps;
    await store.lockAccount(trx, actor.accountId);
    const by = await accounts.lockMemberIn(trx, actor.accountId, actor.memberId);
    const target = by.id === memberId ? by : await accounts.lockMemberIn(trx, actor.accountId, memberId);
    if (by.status !== 'active') throw new GatewayError('permission_denied');
    require(by.role, target.role);
    return target;
  }

  async #requireAnotherOwner(trx: Transaction, owner: MemberRow): Promise<void> {
    requireAnotherOwner(await store.countOtherOwners(trx, owner.account_id, owner.id));
  }
}

function requireRate(oldest: Date | undefined, nowMs: number): void {
  const freeInMs = oldest === undefined ? 0 : oldest.getTime() + INVITE_RATE_WINDOW_MS - nowMs;
  if (freeInMs <= 0) return;
  throw new GatewayError('rate_limit_exceeded', {
    message: `An account may make at most ${MAX_NEW_INVITES_PER_ACCOUNT_PER_DAY} invites in 24 hours.`,
    retryAfterSeconds: Math.ceil(freeInMs / 1000),
  });
}

function notFound(message: string): never {
  throw new GatewayError('not_found', { message });
}

/** Never with what was asked for: it may be a token. */
function noInvite(): never {
  return notFound('There is no such invite.');
}
