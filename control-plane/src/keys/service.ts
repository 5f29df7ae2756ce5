/** Use cases of API keys: made and shown once, listed, changed, revoked. */
import { displayApiKey, formatApiKey, hashApiKey, isWellFormedApiKey } from '@meridian/domain/api-key';
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import type { RateLimits } from '@meridian/domain/rate-limit';
import type { ConfigEntry, Denial } from '@meridian/domain/snapshot';
import type { CapSetter, CapStanding, CapsChange } from '../budgets/caps.ts';
import type { BudgetService, CapsSet } from '../budgets/service.ts';
import type { CatalogService } from '../catalog/service.ts';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import { rateLimitsText } from '../plans/rate-limits.ts';
import type { Publish } from '../snapshots/publish.ts';
import { KEY_RANDOM_BYTES, type KeyRow, keyEntry, MAX_ACTIVE_KEYS_PER_MEMBER, shownStatus } from './key.ts';
import * as store from './store.ts';

export type { KeyScope } from './store.ts';

export interface KeyDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  readonly budgets: Pick<BudgetService, 'setCapsIn' | 'announce' | 'standings'>;
  /** Tells model names from ids. */
  readonly catalog: Pick<CatalogService, 'resolveModels'>;
  readonly keyPrefix: string;
  /** 32 bytes. */
  readonly pepper: Uint8Array;
}

export interface KeyTerms {
  readonly name: string;
  readonly expiresAtMs: number | undefined;
  /** Any names of models; stored as ids. Empty means all. */
  readonly models: readonly string[];
  /** Empty means all. */
  readonly regions: readonly string[];
  /** Besides those of the account's plan. */
  readonly rateLimits?: RateLimits | undefined;
  readonly modelRateLimits?: RateLimits | undefined;
  readonly caps?: CapsChange | undefined;
}

/** Absent leaves a term as it is; `expiresAtMs: null` lets the key live for ever. */
export interface KeyChange {
  readonly name?: string | undefined;
  readonly expiresAtMs?: number | null | undefined;
  readonly models?: readonly string[] | undefined;
  readonly regions?: readonly string[] | undefined;
  /** null: none. */
  readonly rateLimits?: RateLimits | null | undefined;
  readonly modelRateLimits?: RateLimits | null | undefined;
  readonly caps?: CapsChange | undefined;
}

/** What an operator may change of anybody's key. */
export interface KeyAdministration extends Pick<KeyChange, 'rateLimits' | 'modelRateLimits'> {
  readonly status?: KeyRow['status'] | undefined;
}

export class KeyService {
  readonly #deps: KeyDeps;

  constructor(deps: KeyDeps) {
    this.#deps = deps;
  }

  /** The only moment at which the key itself is known. Throws `conflict` for the eleventh active key of a member. */
  async create(
    owner: { readonly accountId: string; readonly memberId: string; readonly reach?: 'any' | 'own' },
    terms: KeyTerms,
  ): Promise<{ row: KeyRow; key: string }> {
    const { ids, keyPrefix, pepper } = this.#deps;
    this.#requireFuture(terms.expiresAtMs);
    const models = await this.#modelIds(terms.models, owner.accountId);
    const key = formatApiKey(keyPrefix, ids.randomBytes(KEY_RANDOM_BYTES));
    const { row, limits } = await transaction(this.#deps.db, async (trx) => {
      if (!(await store.lockMember(trx, owner))) throw new GatewayError('not_found', { message: `There is no member ${owner.memberId}.` });
      const now = new Date(ids.nowMs());
      await requireRoomForKey(trx, owner.memberId, now);
      const inserted = await store.insertKey(trx, {
        id: newId('key', ids),
        account_id: owner.accountId,
        member_id: owner.memberId,
        name: terms.name,
        display: displayApiKey(keyPrefix, key),
        hash: hashApiKey(pepper, key),
        status: 'active',
        expires_at: terms.expiresAtMs === undefined ? null : new Date(terms.expiresAtMs),
        allowed_models: models,
        allowed_regions: [...new Set(terms.regions)],
        rate_limits: rateLimitsText(terms.rateLimits),
        model_rate_limits: rateLimitsText(terms.modelRateLimits),
        created_at: now,
      });
      const { entries, limits } = await this.#setCapsIn(trx, inserted, terms.caps, owner.reach === 'own' ? 'holder' : 'manager');
      // Caps first: no node may know the key without them.
      await this.#deps.publish(trx, 'customer', [...entries, keyEntry(inserted)]);
      return { row: inserted, limits };
    });
    this.#deps.budgets.announce(limits);
    return { row, key };
  }

  list(scope: store.KeyScope, page: Page, withRevoked: boolean): Promise<KeyRow[]> {
    return store.listKeys(this.#deps.db, scope, page, withRevoked);
  }

  /** Throws `not_found`, also for a key that is not the caller's. */
  async get(scope: store.KeyScope, id: string): Promise<KeyRow> {
    return (await store.findKey(this.#deps.db, scope, id)) ?? notFound(id);
  }

  /** Throws `invalid_state` for a revoked key: nothing brings one back. */
  async change(scope: store.KeyScope, id: string, change: KeyChange): Promise<KeyRow> {
    if (change.expiresAtMs !== null) this.#requireFuture(change.expiresAtMs);
    const models = change.models === undefined ? undefined : await this.#modelIds(change.models, (await this.get(scope, id)).account_id);
    const { row, limits } = await transaction(this.#deps.db, async (trx) => {
      const present = (await store.lockKey(trx, scope, id)) ?? notFound(id);
      if (present.status === 'revoked') throw new GatewayError('invalid_state', { message: 'A revoked key cannot be changed.' });
      const row = await store.updateKey(trx, id, {
        ...(change.name === undefined ? {} : { name: change.name }),
        ...(change.expiresAtMs === undefined ? {} : { expires_at: change.expiresAtMs === null ? null : new Date(change.expiresAtMs) }),
        ...(models === undefined ? {} : { allowed_models: models }),
        ...(change.regions === undefined ? {} : { allowed_regions: [...new Set(change.regions)] }),
        ...rateColumns(change),
      });
      // A key that is bound to a region or ends sooner is a lock, which must not wait behind other news.
      const restricts = change.regions !== undefined || change.expiresAtMs !== undefined || models !== undefined;
      const { entries, limits } = await this.#setCapsIn(trx, row, change.caps, scope.memberId === undefined ? 'manager' : 'holder');
      if (restricts) await this.#deps.publish(trx, 'security', [keyEntry(row)]);
      const others = restricts ? entries : [...entries, keyEntry(row)];
      if (others.length > 0) await this.#deps.publish(trx, 'customer', others);
      return { row, limits };
    });
    this.#deps.budgets.announce(limits);
    return row;
  }

  /** The caps of keys of one account, by key. */
  async capsOf(rows: readonly KeyRow[]): Promise<Map<string, CapStanding[]>> {
    const accountId = rows[0]?.account_id;
    if (accountId === undefined) return new Map();
    const standings = await this.#deps.budgets.standings(
      accountId,
      rows.map((row) => row.id),
    );
    return Map.groupBy(standings, (standing) => standing.scopeId);
  }

  /** Ends a key for good. Revoking it again is no error, and gives the rev of the new publication. */
  async revoke(scope: store.KeyScope, id: string): Promise<{ row: KeyRow; rev: number }> {
    return transaction(this.#deps.db, async (trx) => {
      const present = (await store.lockKey(trx, scope, id)) ?? notFound(id);
      const revokedAt = present.revoked_at ?? new Date(this.#deps.ids.nowMs());
      const row = await store.updateKey(trx, id, { status: 'revoked', revoked_at: revokedAt });
      const { rev } = await this.#deps.publish(trx, 'security', [keyEntry(row)]);
      return { row, rev };
    });
  }

  /**
   * A key that is refused from now on is published on SECURITY, as is what else is changed with it. Throws `invalid_state` for a revoked
   * key, unless it is to be revoked, and `conflict` where its member has ten other active keys, or may not act any more.
   */
  async administer(accountId: string, id: string, { status, ...change }: KeyAdministration): Promise<{ row: KeyRow; rev: number }> {
    const scope = { accountId, memberId: undefined };
    return transaction(this.#deps.db, async (trx) => {
      const now = new Date(this.#deps.ids.nowMs());
      // Whoever makes keys locks the member first, too.
      const { member_id: memberId } = (await store.findKey(trx, scope, id)) ?? notFound(id);
      const memberActs = status === 'active' && (await store.lockMember(trx, { accountId, memberId }));
      const present = (await store.lockKey(trx, scope, id)) ?? notFound(id);
      if (present.status === 'revoked' && status !== 'revoked') {
        throw new GatewayError('invalid_state', { message: 'A revoked key cannot be changed.' });
      }
      if (status === 'active' && present.status === 'disabled') {
        if (!memberActs) throw new GatewayError('conflict', { message: `The member ${memberId} may not use keys.` });
        await requireRoomForKey(trx, memberId, now);
      }
      const row = await store.updateKey(trx, id, {
        ...(status === undefined ? {} : { status }),
        ...(status === 'revoked' ? { revoked_at: present.revoked_at ?? now } : {}),
        ...rateColumns(change),
      });
      const isRefused = status === 'revoked' || status === 'disabled';
      const { rev } = await this.#deps.publish(trx, isRefused ? 'security' : 'customer', [keyEntry(row)]);
      return { row, rev };
    });
  }

  /** Ends all keys of a member for good, inside the caller's transaction, which publishes the entries on SECURITY. */
  async revokeOfMemberIn(trx: Transaction, owner: { readonly accountId: string; readonly memberId: string }): Promise<ConfigEntry[]> {
    return (await store.revokeKeysOfMember(trx, owner, new Date(this.#deps.ids.nowMs()))).map(keyEntry);
  }

  /**
   * Revokes or disables the keys that nodes were told are so, where they are less strictly refused here; what is not a key is left
   * out. The entries are for the caller to publish on SECURITY. No key may be named twice.
   */
  async denyIn(trx: Transaction, denials: readonly Denial[]): Promise<ConfigEntry[]> {
    const keys = denials.filter(({ kind }) => kind === 'api_key');
    return (await store.denyKeys(trx, keys, new Date(this.#deps.ids.nowMs()))).map(keyEntry);
  }

  /** Whose key it is, if it may be used now; undefined for any other text. */
  async ownerOfKey(key: string): Promise<{ memberId: string; key: { id: string; name: string } } | undefined> {
    const { keyPrefix, pepper } = this.#deps;
    if (!isWellFormedApiKey(keyPrefix, key)) return undefined;
    const row = await store.findKeyByHash(this.#deps.db, hashApiKey(pepper, key));
    if (row === undefined || shownStatus(row, this.#deps.ids.nowMs()) !== 'active') return undefined;
    return { memberId: row.member_id, key: { id: row.id, name: row.name } };
  }

  #setCapsIn(trx: Transaction, key: KeyRow, caps: CapsChange | undefined, by: CapSetter): Promise<CapsSet> {
    return this.#deps.budgets.setCapsIn(trx, { accountId: key.account_id, scope: 'key', scopeId: key.id }, caps ?? {}, by);
  }

  #requireFuture(expiresAtMs: number | undefined): void {
    if (expiresAtMs !== undefined && expiresAtMs <= this.#deps.ids.nowMs()) {
      throw new GatewayError('invalid_request_error', { message: 'expires_at must be in the future.', param: 'expires_at' });
    }
  }

  /** By the names that the models have for the account. */
  async #modelIds(names: readonly string[], accountId: string): Promise<string[]> {
    if (names.length === 0) return [];
    const found = await this.#deps.catalog.resolveModels(names, accountId);
    const modelIds = names.map((name, index) => {
      const id = found.get(name);
      if (id === undefined) {
        const param = `models[${index}]`;
        throw new GatewayError('invalid_request_error', { message: `${param}: there is no model ${name}.`, param });
      }
      return id;
    });
    return [...new Set(modelIds)];
  }
}

/** null lifts the limits, undefined leaves them as they are. */
function rateColumns({ rateLimits, modelRateLimits }: Pick<KeyChange, 'rateLimits' | 'modelRateLimits'>) {
  return {
    ...(rateLimits === undefined ? {} : { rate_limits: rateLimitsText(rateLimits ?? undefined) }),
    ...(modelRateLimits === undefined ? {} : { model_rate_limits: rateLimitsText(modelRateLimits ?? undefined) }),
  };
}

/** Of a member whose row is locked. Throws `conflict` where there is none. */
async function requireRoomForKey(trx: Transaction, memberId: string, now: Date): Promise<void> {
  if ((await store.countActive(trx, memberId, now)) < MAX_ACTIVE_KEYS_PER_MEMBER) return;
  throw new GatewayError('conflict', {
    message: `A member may have at most ${MAX_ACTIVE_KEYS_PER_MEMBER} active keys: revoke one first.`,
  });
}

function notFound(id: string): never {
  throw new GatewayError('not_found', { message: `There is no key ${id}.` });
}
