/**
 * A database that was set back, declared by an operator or given away by what nodes know: an epoch of its own begins, in which
 * nothing is granted until every spool has declared its leases and sent its records again, or an operator says so.
 */
import { randomUUID } from 'node:crypto';
import { budgetId } from '@meridian/domain/budget';
import { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import { budgetsOfLeases, closeLeases, lockBudgets, lockLeases, putSpool, type Spool, writeBack } from '../budgets/books.ts';
import { Escrow } from '../budgets/escrow.ts';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { SignOfRestore } from '../usage/alarm.ts';
import { type DatabaseState, isFrozen, mayThaw, mergeDeclared, type SpoolState } from './restore.ts';
import * as store from './store.ts';

/** Leases closed in one transaction. */
const MAX_CLOSED_AT_ONCE = 1_000;
const MAX_REASON_CHARS = 500;

export type RestoreEvent =
  | { readonly kind: 'restored'; readonly dbEpoch: string; readonly reason: string }
  | { readonly kind: 'thawed'; readonly dbEpoch: string; readonly reason: string };

export interface RestoreDeps {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  /** After the commit, on the replica where it happened. */
  readonly onEvent: (event: RestoreEvent) => void;
}

/** What a spool says when its Report opens. */
export interface ReportingSpool {
  readonly spoolId: string;
  /** The epoch that it knows; empty when it knows none. */
  readonly dbEpoch: string;
  /** What it remembers to be acknowledged. */
  readonly acked: readonly { readonly incarnation: bigint; readonly ackedSeq: number }[];
}

export class RestoreService {
  readonly #deps: RestoreDeps;
  readonly #listeners = new Set<() => void>();
  #state: DatabaseState;

  /** `state` is how the database stands; `start` reads it. */
  constructor(deps: RestoreDeps, state: DatabaseState) {
    this.#deps = deps;
    this.#state = state;
  }

  /** Reads how the database stands. */
  static async start(deps: RestoreDeps): Promise<RestoreService> {
    return new RestoreService(deps, await store.selectState(deps.db));
  }

  /** The epoch of the database, as `refresh` found it last. */
  dbEpoch(): string {
    return this.#state.dbEpoch;
  }

  /** Nothing is granted, as `refresh` found it last; a transaction that grants asks `isFrozenIn`. */
  frozen(): boolean {
    return isFrozen(this.#state);
  }

  /** Calls back when this replica learns of another epoch: nodes have to come again, and to declare, on all their streams. */
  subscribe(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Reads how the database stands, and lets grants go on if nobody is waited for any more. Once a second. */
  async refresh(): Promise<DatabaseState> {
    const { db } = this.#deps;
    if (isFrozen(await store.selectState(db)) && mayThaw(await store.selectSpools(db))) {
      await this.#thaw('every spool has declared and replayed', false);
    }
    const state = await store.selectState(db);
    this.#learn(state);
    for (const spoolId of await store.selectReplayedWithClosing(db)) await this.#closeLeases(spoolId, (lease) => lease.closing);
    return state;
  }

  /**
   * Whether nothing may be granted. No epoch begins until the transaction ends, so what it grants belongs to the epoch that was
   * seen here. Call it before anything is locked.
   */
  async isFrozenIn(trx: Transaction): Promise<boolean> {
    await store.holdOffEpochs(trx);
    return isFrozen(await store.selectState(trx));
  }

  async status(): Promise<DatabaseState & { readonly spools: readonly SpoolState[] }> {
    return { ...(await store.selectState(this.#deps.db)), spools: await store.selectSpools(this.#deps.db) };
  }

  /** An operator says that the database was set back. Returns how it stands then. */
  async declareRestored(reason: string): Promise<DatabaseState> {
    await this.#beginEpoch({ key: `operator ${randomUUID()}`, reason: requireReason(reason) }, undefined);
    return this.refresh();
  }

  /**
   * What a node knows and the database does not, in `dbEpoch`. True: another epoch has begun, by this sign or since. False: the
   * sign is an old one, and stands for nothing that a new epoch could mend.
   */
  async detected(sign: SignOfRestore): Promise<boolean> {
    const begun = await this.#beginEpoch(sign, sign.dbEpoch);
    await this.refresh();
    return begun;
  }

  /** An operator lets grants go on without the spools that are missing. Throws `invalid_state` when they go on already. */
  async thaw(reason: string): Promise<DatabaseState> {
    const thawed = await this.#thaw(requireReason(reason), true);
    if (!thawed) throw new GatewayError('invalid_state', { message: 'Grants are not frozen.' });
    return this.refresh();
  }

  /**
   * Everything that a node declares on `Leases`: all leases that it has or that its retained records name. In an epoch that began with
   * a restore they are merged into the database; after its thaw only as far as limits leave room. Otherwise they are compared: a
   * lease that was granted more than is known gives a restored database away. Returns those that are closed for good.
   */
  async declare(spool: Spool, records: readonly LeaseRecord[]): Promise<{ readonly closed: readonly string[] }> {
    const { db } = this.#deps;
    const state = await store.selectState(db);
    if (state.restored !== undefined && !(await store.hasDeclared(db, spool.spoolId))) return this.#merge(spool, records);
    const granted = await store.selectGranted(
      db,
      records.map((record) => record.leaseId),
    );
    const ahead = records.find((record) => record.granted > (granted.get(record.leaseId) ?? 0));
    if (ahead !== undefined) {
      const { leaseId } = ahead;
      const reason = `lease ${leaseId} was granted ${ahead.granted}, and ${granted.get(leaseId) ?? 0} is known`;
      if (await this.detected({ key: `lease ${leaseId} ${ahead.granted}`, reason, dbEpoch: state.dbEpoch })) {
        return this.#merge(spool, records);
      }
    }
    const open = new Set((await store.selectOpenLeases(db, spool.spoolId)).map((lease) => lease.leaseId));
    this.#learn(state);
    return { closed: records.map((record) => record.leaseId).filter((leaseId) => !open.has(leaseId)) };
  }

  /**
   * Whether a spool may report, and in which epoch. Throws `overloaded` when it is to come again: it has not declared its leases in
   * this epoch yet, or it has just given away that the database was set back. `cursors` are what is acknowledged here.
   */
  async admit(spool: ReportingSpool, cursors: readonly { incarnation: bigint; ackedSeq: number }[]): Promise<{ readonly dbEpoch: string }> {
    const { db } = this.#deps;
    const state = await store.selectState(db);
    const again = (message: string): GatewayError => new GatewayError('overloaded', { message, retryAfterSeconds: 1 });
    if (state.restored !== undefined && !(await store.hasDeclared(db, spool.spoolId))) {
      throw again('The database was set back: declare your leases first.');
    }
    if (spool.dbEpoch === state.dbEpoch) {
      const known = new Map(cursors.map((cursor) => [cursor.incarnation, cursor.ackedSeq]));
      const ahead = spool.acked.find(({ incarnation, ackedSeq }) => ackedSeq > (known.get(incarnation) ?? 0));
      if (ahead !== undefined) {
        const { incarnation, ackedSeq } = ahead;
        const reason = `spool ${spool.spoolId} was acknowledged ${ackedSeq}, and ${known.get(incarnation) ?? 0} is known`;
        const key = `acked ${spool.spoolId} ${incarnation} ${ackedSeq}`;
        if (await this.detected({ key, reason, dbEpoch: state.dbEpoch })) throw again('The database was set back.');
      }
    }
    return { dbEpoch: state.dbEpoch };
  }

  /** All that the spool retained when its Report opened is ingested. */
  async replayed(spoolId: string): Promise<void> {
    const state = await store.selectState(this.#deps.db);
    if (state.restored === undefined || !(await store.markReplayed(this.#deps.db, spoolId))) return;
    await this.refresh();
  }

  /** A folder goes on under another id, and all that it retained is ingested: what its former id held is closed. */
  async giveUp(spoolId: string): Promise<void> {
    const { db, clock } = this.#deps;
    await this.#closeLeases(spoolId, () => true);
    await transaction(db, (trx) => store.markRetired(trx, spoolId, clock.nowMs()));
    await this.refresh();
  }

  #learn(state: DatabaseState): void {
    const isNew = state.dbEpoch !== this.#state.dbEpoch;
    this.#state = state;
    if (isNew) for (const listener of this.#listeners) listener();
  }

  /** With `seen` only if that is still the present epoch; true as well when it is not. */
  async #beginEpoch(sign: Pick<SignOfRestore, 'key' | 'reason'>, seen: string | undefined): Promise<boolean> {
    const { db, clock, onEvent } = this.#deps;
    const begun = await transaction(db, async (trx) => {
      await store.awaitGrants(trx);
      const present = await store.lockHeads(trx);
      if (seen !== undefined && seen !== present) return 'since';
      if (await store.isKnownSign(trx, sign.key)) return undefined;
      const dbEpoch = randomUUID();
      await store.insertEpoch(trx, { dbEpoch, sign: sign.key, reason: sign.reason }, clock.nowMs());
      return dbEpoch;
    });
    if (begun === undefined) return false;
    if (begun !== 'since') onEvent({ kind: 'restored', dbEpoch: begun, reason: sign.reason });
    return true;
  }

  async #thaw(reason: string, override: boolean): Promise<boolean> {
    const { db, clock, onEvent } = this.#deps;
    const dbEpoch = await transaction(db, async (trx) => {
      if (!(await store.lockFrozen(trx))) return undefined;
      // A spool that declares meanwhile holds the epoch, and is seen now.
      if (!override && !mayThaw(await store.selectSpools(trx))) return undefined;
      await store.updateThawed(trx, reason, clock.nowMs());
      return (await store.selectState(trx)).dbEpoch;
    });
    if (dbEpoch !== undefined) onEvent({ kind: 'thawed', dbEpoch, reason });
    return dbEpoch !== undefined;
  }

  async #merge(spool: Spool, records: readonly LeaseRecord[]): Promise<{ readonly closed: readonly string[] }> {
    const { db, clock } = this.#deps;
    const merged = await transaction(db, async (trx) => {
      const nowMs = clock.nowMs();
      const state = await store.holdEpoch(trx);
      await store.insertLostBudgets(trx, records);
      await putSpool(trx, spool, nowMs);
      const own = await store.selectOpenLeases(trx, spool.spoolId);
      const known = await budgetsOfLeases(trx, { leaseIds: records.map((record) => record.leaseId) });
      const named = records.map((record) => budgetId(record.budget));
      const budgets = await lockBudgets(trx, [...named, ...known, ...own.map((lease) => lease.budgetId)], nowMs);
      const leaseIds = [...new Set([...records.map((record) => record.leaseId), ...own.map((lease) => lease.leaseId)])];
      const escrow = new Escrow(budgets.values(), await lockLeases(trx, { leaseIds }, budgets.keys()));
      const { closed, closing } = mergeDeclared(escrow, spool.spoolId, records, !isFrozen(state));
      await writeBack(trx, escrow.changes(), nowMs);
      await store.markClosing(trx, closing);
      await store.markDeclared(trx, spool.spoolId, state.dbEpoch);
      return { closed };
    });
    await this.refresh();
    return merged;
  }

  async #closeLeases(spoolId: string, isMeant: (lease: { readonly closing: boolean }) => boolean): Promise<void> {
    const { db, clock } = this.#deps;
    for (;;) {
      const meant = (await store.selectOpenLeases(db, spoolId)).filter(isMeant).slice(0, MAX_CLOSED_AT_ONCE);
      if (meant.length === 0) return;
      // Somebody else may have closed them by the time that they are locked; then none is left in the next round.
      const leaseIds = meant.map((lease) => lease.leaseId);
      await transaction(db, (trx) => closeLeases(trx, leaseIds, clock.nowMs()));
    }
  }
}

function requireReason(reason: string): string {
  const trimmed = reason.trim();
  if (trimmed === '' || trimmed.length > MAX_REASON_CHARS || trimmed.includes('\0')) {
    throw new GatewayError('invalid_request_error', { message: `A reason has 1 to ${MAX_REASON_CHARS} characters.`, param: 'reason' });
  }
  return trimmed;
}
