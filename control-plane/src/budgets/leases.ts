/**
 * Leases in the database: granted, told, closed. Each use is one transaction that locks budgets before leases and is
 * committed before anybody hears of it. Whom to ask and whom to tell is decided by `LeaseQuestions` and carried out by `QuestionsRunner`.
 */
import { type BudgetRef, budgetId, isPrepaidCapId, parseBudgetId } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import { type WindowKind, windowStartMs } from '@meridian/domain/window';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import { Escrow } from './escrow.ts';
import { closeLeases } from './leases-close.ts';
import { answerQuestion, grantSeed, nextBudget } from './leases-grant.ts';
import * as sql from './leases-store.ts';
import type { Attempt, Grant, Holder, Question } from './questions.ts';
import { lockBudgets, lockLeases, putSpool, type Spool, writeBack } from './store.ts';

/** A spool that is silent for so long of the control plane's own uptime is given up: its leases close. */
export const SILENT_AFTER_MS = 24 * 3_600_000;
/** What one tick adds at most, so that time in which no replica ran counts for nothing. */
const MAX_TICK_MS = 30_000;
/** A spool that was heard of within this time may be given leases that it did not ask for. */
const PRESENT_WITHIN_MS = 20_000;
/** Requests run on and clocks differ: so long after its end a window's leases are left alone. */
const ENDED_AFTER_MS = 3_600_000;
const CLOSED_A_TRANSACTION = 500;
const RECALLED_A_RUN = 1_000;
/** Budgets that were granted from within this time are seeded. */
const USED_WITHIN_MS = 15 * 60_000;
const SEEDED_A_TRANSACTION = 50;
/** Budgets of which one query tells where they are served. */
const LOOKED_AT_AT_ONCE = 5_000;
const MAX_REMEMBERED_USES = 100_000;
const MAX_REMEMBERED_KINDS = 200_000;
const MAX_REMEMBERED_RATES = 200_000;

export interface LeasesDeps {
  /** What nodes wait for. */
  readonly db: Database;
  /** What nobody waits for, and what may take its time. */
  readonly background: Database;
  /** The database was set back, and not all nodes have said what they hold: nothing is granted. */
  isFrozenIn(trx: Transaction): Promise<boolean>;
  readonly ids: { nowMs(): number; randomBytes(count: number): Uint8Array };
}

/** What a node is told when its stream opens. */
export interface OpenedSpool {
  /** Its open leases. */
  readonly grants: readonly Grant[];
  /** Leases that it named and that are closed, or another spool's. */
  readonly closed: readonly string[];
  /** Of its leases, those on budgets that are overdrawn, by budget. */
  readonly recalls: readonly { readonly budgetId: string; readonly holder: Holder }[];
}

export interface ClosedLeases {
  readonly spoolId: string;
  readonly leaseIds: readonly string[];
  readonly budgetIds: readonly string[];
  /** Those of them that still held something, which was written off. */
  readonly writtenOff: readonly { readonly leaseId: string; readonly budgetId: string; readonly amount: number }[];
}

export class Leases {
  readonly #deps: LeasesDeps;
  readonly #windowKinds = new Map<string, WindowKind>();
  /** By lease: what its node last said that it uses in 30 seconds. */
  readonly #rates = new Map<string, number>();
  /** Budgets that this replica granted from, in the order of their last use. */
  readonly #used = new Map<string, number>();

  constructor(deps: LeasesDeps) {
    this.#deps = deps;
  }

  /** Tries questions, all in one transaction; the answers are in their order. Their spools were opened before. */
  async attempt(questions: readonly Question[]): Promise<Attempt[]> {
    const nowMs = this.#deps.ids.nowMs();
    const kinds = await this.#kindsOf(questions.map(({ budget }) => budget));
    const nexts = questions.map(({ budget }) => {
      const kind = kinds.get(budget.capId);
      return kind === undefined ? undefined : nextBudget(budget, kind, nowMs);
    });
    const ids = questions.map(({ budget }) => budgetId(budget));
    const attempts = await transaction(this.#deps.db, async (trx) => {
      if (await this.#deps.isFrozenIn(trx)) return questions.map((): Attempt => ({ type: 'refused', reason: 'grants are frozen' }));
      const nextIds = nexts.flatMap((next) => (next === undefined ? [] : [budgetId(next)]));
      const budgets = await lockBudgets(trx, [...ids, ...nextIds], nowMs);
      const escrow = new Escrow(budgets.values(), await sql.selectOpen(trx, [...budgets.keys()]));
      const found = questions.map((question, index) =>
        answerQuestion(escrow, question, {
          rateOf: (leaseId) => this.#rates.get(leaseId),
          next: nexts[index],
          newLeaseId: this.#newLeaseId,
        }),
      );
      await writeBack(trx, escrow.changes(), nowMs);
      return withoutRemoved(trx, ids, found);
    });
    for (const [index, attempt] of attempts.entries()) this.#remember(questions[index], attempt, nowMs);
    return attempts;
  }

  /** A node's stream opens; `declared` are the leases that it has, or that its records name. */
  async open(spool: Spool, declared: readonly Pick<LeaseRecord, 'leaseId'>[]): Promise<OpenedSpool> {
    const { db, ids } = this.#deps;
    const { spoolId } = spool;
    await transaction(db, async (trx) => {
      // Whoever closes the leases of a silent spool holds this row: they are closed before they are read here, or never.
      await putSpool(trx, spool, ids.nowMs());
      await sql.reviveSpool(trx, spoolId);
    });
    const leases = await sql.selectLeases(db, { spoolId, leaseIds: declared.map(({ leaseId }) => leaseId), open: true });
    const known = new Map(leases.map((lease) => [lease.leaseId, lease]));
    const open = leases.filter((lease) => lease.spoolId === spoolId && !lease.closed);
    const overdrawn = new Set(await this.#overdrawn([...new Set(open.map((lease) => lease.budgetId))]));
    return {
      grants: open.map(grantOf),
      closed: declared.filter(({ leaseId }) => isClosedFor(spoolId, known.get(leaseId))).map(({ leaseId }) => leaseId),
      recalls: open
        .filter((lease) => lease.held > 0 && overdrawn.has(lease.budgetId))
        .map((holder) => ({ budgetId: holder.budgetId, holder })),
    };
  }

  /** The totals of those of a spool's leases that are open. */
  async grantsOf(spoolId: string, leaseIds: readonly string[]): Promise<Grant[]> {
    const leases = await sql.selectLeases(this.#deps.db, { spoolId, leaseIds, open: false });
    return leases.filter((lease) => lease.spoolId === spoolId && !lease.closed).map(grantOf);
  }

  /** Who holds something of those among the budgets whose limit is below what is settled and held. */
  async overdrawnHolders(budgetIds: readonly string[]): Promise<Map<string, Holder[]>> {
    return byBudget(await sql.selectHolders(this.#deps.db, await this.#overdrawn(budgetIds)));
  }

  /** Who holds something of these budgets. */
  async holders(budgetIds: readonly string[]): Promise<Map<string, Holder[]>> {
    return byBudget(await sql.selectHolders(this.#deps.db, budgetIds));
  }

  /** Counts the silence of spools; `heard` are those connected to this replica. */
  tick(heard: readonly string[]): Promise<number> {
    return transaction(this.#deps.background, (trx) => sql.tickSilence(trx, heard, MAX_TICK_MS));
  }

  /** Gives up the spools that have been silent for a day, and closes their leases. */
  async closeSilent(): Promise<ClosedLeases[]> {
    const closed: ClosedLeases[] = [];
    for (const spoolId of await sql.selectSilent(this.#deps.background, SILENT_AFTER_MS)) {
      closed.push(await this.#giveUp(spoolId));
    }
    return closed;
  }

  /** Closes leases of windows that are over on which nothing is held, and tells which of them still hold something, by budget. */
  async closeEnded(): Promise<{ readonly closed: ClosedLeases[]; readonly holding: Map<string, Holder[]> }> {
    const { background: db, ids } = this.#deps;
    const atMs = ids.nowMs() - ENDED_AFTER_MS;
    const before = { utc_day: windowStartMs('utc_day', atMs), utc_month: windowStartMs('utc_month', atMs) };
    const closed: ClosedLeases[] = [];
    for (let more = true; more; ) {
      const ended = await sql.selectEnded(db, before, { held: false, limit: CLOSED_A_TRANSACTION });
      more = ended.length === CLOSED_A_TRANSACTION;
      for (const [spoolId, leases] of Map.groupBy(ended, (lease) => lease.spoolId)) {
        const leaseIds = leases.map(({ leaseId }) => leaseId);
        closed.push(await transaction(db, (trx) => this.#closeIn(trx, spoolId, leaseIds)));
      }
    }
    return { closed, holding: byBudget(await sql.selectEnded(db, before, { held: true, limit: RECALLED_A_RUN })) };
  }

  /**
   * Gives each region in which nodes are present a lease on each budget that was granted from lately, where it has none: to
   * the same node again and again, which is another for each budget. Returns what was granted, by spool.
   */
  async seed(): Promise<Map<string, Grant[]>> {
    const { background: db } = this.#deps;
    const used = this.#usedLately();
    const granted = new Map<string, Grant[]>();
    for (let at = 0; at < used.length; at += LOOKED_AT_AT_ONCE) {
      for (const [spoolId, refs] of await this.#unseeded(used.slice(at, at + LOOKED_AT_AT_ONCE))) {
        for (let from = 0; from < refs.length; from += SEEDED_A_TRANSACTION) {
          const slice = refs.slice(from, from + SEEDED_A_TRANSACTION);
          const grants = await transaction(db, (trx) => this.#seedIn(trx, spoolId, slice));
          granted.set(spoolId, [...(granted.get(spoolId) ?? []), ...grants]);
        }
      }
    }
    return granted;
  }

  /** How open leases stand. Spools are counted that are silent for at least so long and have open leases. */
  figures(silentMs: number): Promise<sql.LeaseFigures> {
    return sql.selectFigures(this.#deps.background, silentMs);
  }

  readonly #newLeaseId = (): string => Buffer.from(this.#deps.ids.randomBytes(16)).toString('hex');

  async #overdrawn(budgetIds: readonly string[]): Promise<string[]> {
    return budgetIds.length === 0 ? [] : sql.selectOverdrawn(this.#deps.db, budgetIds);
  }

  async #kindsOf(refs: readonly BudgetRef[]): Promise<ReadonlyMap<string, WindowKind>> {
    const unknown = refs.map(({ capId }) => capId).filter((capId) => !isPrepaidCapId(capId) && !this.#windowKinds.has(capId));
    if (unknown.length > 0) {
      if (this.#windowKinds.size > MAX_REMEMBERED_KINDS) this.#windowKinds.clear();
      for (const [capId, kind] of await sql.selectWindowKinds(this.#deps.db, unknown)) this.#windowKinds.set(capId, kind);
    }
    // A copy of what concerns the caller: what is remembered may be cleared by another one's question.
    return new Map(refs.flatMap(({ capId }) => entryOf(capId, this.#windowKinds.get(capId))));
  }

  #remember(question: Question | undefined, attempt: Attempt, nowMs: number): void {
    const grant = attempt.type === 'granted' ? attempt.grants[0] : undefined;
    if (question === undefined || grant === undefined) return;
    putLast(this.#rates, grant.leaseId, question.ratePer30s, MAX_REMEMBERED_RATES);
    putLast(this.#used, budgetId(question.budget), nowMs, MAX_REMEMBERED_USES);
  }

  /** Budgets of windows that are not over. */
  #usedLately(): string[] {
    const nowMs = this.#deps.ids.nowMs();
    for (const [id, atMs] of this.#used) {
      if (nowMs - atMs < USED_WITHIN_MS) break;
      this.#used.delete(id);
    }
    return [...this.#used.keys()].filter((id) => {
      const ref = parseBudgetId(id);
      const kind = ref === undefined || isPrepaidCapId(ref.capId) ? 'prepaid' : this.#windowKinds.get(ref.capId);
      return kind !== undefined && ref?.windowStartMs === windowStartMs(kind, nowMs);
    });
  }

  /** By the spool that is to get a lease: the budgets. */
  async #unseeded(budgetIds: readonly string[]): Promise<Map<string, BudgetRef[]>> {
    const wanted = new Map<string, BudgetRef[]>();
    const present = await sql.selectPresent(this.#deps.background, PRESENT_WITHIN_MS);
    const spools = Map.groupBy(present, ({ region }) => region);
    const served = Map.groupBy(await sql.selectServed(this.#deps.background, budgetIds, PRESENT_WITHIN_MS), ({ budgetId: id }) => id);
    for (const id of budgetIds) {
      const ref = parseBudgetId(id);
      const regions = new Set((served.get(id) ?? []).map(({ region }) => region));
      for (const [region, candidates] of spools) {
        if (ref === undefined || regions.has(region)) continue;
        const spoolId = rendezvous(
          id,
          candidates.map((candidate) => candidate.spoolId),
        );
        wanted.set(spoolId, [...(wanted.get(spoolId) ?? []), ref]);
      }
    }
    return wanted;
  }

  async #seedIn(trx: Transaction, spoolId: string, refs: readonly BudgetRef[]): Promise<Grant[]> {
    if (await this.#deps.isFrozenIn(trx)) return [];
    const nowMs = this.#deps.ids.nowMs();
    const budgets = await lockBudgets(trx, refs.map(budgetId), nowMs);
    const ids = [...budgets.keys()];
    const escrow = new Escrow(budgets.values(), await lockLeases(trx, { budgetIds: ids, spoolId }, ids));
    const grants = refs.flatMap((ref) => grantSeed(escrow, ref, spoolId, this.#newLeaseId) ?? []);
    await writeBack(trx, escrow.changes(), nowMs);
    return grants;
  }

  /** In several transactions, each of which asks again whether the spool is silent. */
  async #giveUp(spoolId: string): Promise<ClosedLeases> {
    const { background: db, ids } = this.#deps;
    const parts: ClosedLeases[] = [];
    for (let more = true; more; ) {
      const closed = await transaction(db, async (trx) => {
        const silentMs = await sql.lockSilence(trx, spoolId);
        if (silentMs === undefined || silentMs < SILENT_AFTER_MS) return undefined;
        const leaseIds = await sql.selectOpenIds(trx, spoolId, CLOSED_A_TRANSACTION);
        if (leaseIds.length < CLOSED_A_TRANSACTION) await sql.retireSpool(trx, spoolId, ids.nowMs());
        return this.#closeIn(trx, spoolId, leaseIds);
      });
      if (closed !== undefined) parts.push(closed);
      more = closed?.leaseIds.length === CLOSED_A_TRANSACTION;
    }
    return {
      spoolId,
      leaseIds: parts.flatMap((part) => part.leaseIds),
      budgetIds: parts.flatMap((part) => part.budgetIds),
      writtenOff: parts.flatMap((part) => part.writtenOff),
    };
  }

  async #closeIn(trx: Transaction, spoolId: string, leaseIds: readonly string[]): Promise<ClosedLeases> {
    if (leaseIds.length === 0) return { spoolId, leaseIds, budgetIds: [], writtenOff: [] };
    const closed = await closeLeases(trx, leaseIds, this.#deps.ids.nowMs());
    return {
      spoolId,
      leaseIds: closed.map(({ leaseId }) => leaseId),
      budgetIds: [...new Set(closed.map((lease) => lease.budgetId))],
      writtenOff: closed.filter(({ amount }) => amount > 0),
    };
  }
}

/** A cap that was removed limits nothing; until its node has heard, it is told to come back rather than that it has spent all. */
async function withoutRemoved(trx: Transaction, ids: readonly string[], attempts: readonly Attempt[]): Promise<Attempt[]> {
  const suspects = ids.filter((_, index) => {
    const attempt = attempts[index];
    return attempt?.type === 'short' && attempt.book.limit === 0;
  });
  if (suspects.length === 0) return [...attempts];
  const removed = await sql.selectRemoved(trx, suspects);
  return attempts.map((attempt, index) =>
    attempt.type === 'short' && removed.has(ids[index] ?? '') ? { type: 'refused', reason: 'the cap was removed' } : attempt,
  );
}

/** What is not known at all comes from a database that was set back: that is for its declaration to say. */
function isClosedFor(spoolId: string, lease: sql.LeaseTotals | undefined): boolean {
  return lease !== undefined && (lease.closed || lease.spoolId !== spoolId);
}

function grantOf({ leaseId, spoolId, budgetId: id, granted }: sql.LeaseTotals): Grant {
  const budget = parseBudgetId(id);
  if (budget === undefined) throw new Error(`lease ${leaseId} is of a budget without a name: ${id}`);
  return { leaseId, spoolId, budget, granted };
}

function byBudget(holders: readonly sql.HolderOfBudget[]): Map<string, Holder[]> {
  return Map.groupBy(holders, (holder) => holder.budgetId);
}

/** The same one of them for a key, however many others come and go. */
function rendezvous(key: string, names: readonly string[]): string {
  let best = { name: '', weight: -1 };
  for (const name of names) {
    const weight = hash32(`${key} ${name}`);
    if (weight > best.weight || (weight === best.weight && name < best.name)) best = { name, weight };
  }
  return best.name;
}

/** FNV-1a with a final mix, without which names that differ in their last letter stay in one order for every key. */
function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function entryOf<T>(key: string, value: T | undefined): [string, T][] {
  return value === undefined ? [] : [[key, value]];
}

/** Puts it at the end; the first is forgotten when there are too many. */
function putLast<T>(map: Map<string, T>, key: string, value: T, limit: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= limit) return;
  const [first] = map.keys();
  if (first !== undefined) map.delete(first);
}
