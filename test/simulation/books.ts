/**
 * The control plane's database: what its transactions do to it, by the very rules that the stores call, over tables that are
 * simulated. Each method is one transaction.
 */
import { toBinary } from '@bufbuild/protobuf';
import { type Budget as BudgetRow, Escrow, type Lease } from '@meridian/control-plane/budgets/escrow';
import { answerQuestion, grantSeed, nextBudget } from '@meridian/control-plane/budgets/leases-grant';
import type { Attempt, Grant, Holder, Question } from '@meridian/control-plane/budgets/questions';
import {
  type Balance,
  changeCredit,
  EMPTY_BALANCE,
  type Posting,
  spendingPostings,
  splitCharge,
  totalNano,
} from '@meridian/control-plane/ledger/ledger';
import type { LogRow } from '@meridian/control-plane/snapshots/store';
import { SequenceGapError } from '@meridian/control-plane/usage/batch';
import { type Settlement, type SettlementAlarm, type SettlementRecord, settle } from '@meridian/control-plane/usage/settlement';
import { type CountedFinal, faultOf, type RatedFinal, rateFinal, sumBatch } from '@meridian/control-plane/usage/usage';
import type { SpoolBatch } from '@meridian/data-plane/metering/spool/reader';
import { type BudgetRef, budgetId, type Cap, parseBudgetId, prepaidCapId } from '@meridian/domain/budget';
import { heldOf, type LeaseRecord } from '@meridian/domain/lease';
import type { ListPrice } from '@meridian/domain/price';
import { type Account, type ConfigBody, LANES, type Lane } from '@meridian/domain/snapshot';
import type { Final } from '@meridian/domain/usage-record';
import { isWindowStart, nextWindowStartMs, windowStartMs } from '@meridian/domain/window';
import { configEntityId, configEntryToWire } from '@meridian/wire/codec/entry';
import { ConfigEntrySchema } from '@meridian/wire/gen/config_pb';
import { ModelDatabase, type Table } from './database.ts';
import type { Dice } from './dice.ts';

export interface SpoolRow {
  readonly spoolId: string;
  readonly nodeId: string;
  readonly region: string;
  readonly lastSeenMs: number;
  /** For how long nothing was heard of it while the control plane was up. */
  readonly silentMs: number;
  readonly retired: boolean;
  /** The epochs in which it has declared its leases, and to which it has replayed its records. */
  readonly declaredEpoch: string;
  readonly replayedEpoch: string;
}

export interface EventRow {
  readonly final: Final;
  readonly spoolId: string;
  /** Why it is charged to nobody. */
  readonly refusal: string | undefined;
  readonly chargedNano: bigint;
}

interface CapRow {
  readonly cap: Cap;
  readonly removed: boolean;
  readonly version: number;
}

interface EntityRow {
  readonly version: number;
  readonly body: ConfigBody | undefined;
  readonly payload: Buffer;
}

interface LogEntry extends LogRow {
  readonly version: number;
  readonly deleted: boolean;
}

export interface IngestResult {
  readonly ackedSeq: number;
  readonly settlement: Settlement | undefined;
  /** Budgets in which something was given back or became free. */
  readonly roomIn: readonly string[];
  /** Leases that were closed by it. */
  readonly closed: readonly { readonly spoolId: string; readonly leaseIds: readonly string[] }[];
}

export interface CommitListener {
  /** Called behind each commit with the budgets that it changed. */
  committed(what: string, budgetIds: readonly string[]): void;
  /** The first final of a request was counted. */
  counted(event: EventRow): void;
  /** A spool does not retain what was not ingested. */
  gap(nodeId: string, incarnation: bigint, firstSeq: number, lastSeq: number): void;
  /** Something that nodes with sound counters never report. */
  alarm(alarm: SettlementAlarm): void;
}

const DAY_MS = 24 * 3600 * 1000;
const HOUR_MS = 3600 * 1000;
const NOTHING_INGESTED = { settlement: undefined, roomIn: [], closed: [] } as const;

export class Books {
  readonly database = new ModelDatabase();
  readonly budgets: Table<BudgetRow & { readonly removed: boolean }>;
  readonly leases: Table<Lease>;
  readonly spools: Table<SpoolRow>;
  readonly cursors: Table<number>;
  readonly events: Table<EventRow>;
  readonly wallets: Table<Balance>;
  readonly ledger: Table<bigint>;
  readonly heads: Table<number>;
  readonly log: Table<LogEntry>;
  readonly entities: Table<EntityRow>;
  readonly #duplicates: Table<Final>;
  readonly #hourly: Table<bigint>;
  readonly #caps: Table<CapRow>;
  readonly #changedBalances: Table<true>;
  readonly #epochs: Table<string>;
  readonly #dice: Dice;
  readonly #listener: CommitListener;
  #touched = new Set<string>();

  constructor(dice: Dice, listener: CommitListener) {
    this.#dice = dice;
    this.#listener = listener;
    const { database } = this;
    this.budgets = database.table();
    this.leases = database.table();
    this.spools = database.table();
    this.cursors = database.table();
    this.events = database.table();
    this.wallets = database.table();
    this.ledger = database.table();
    this.heads = database.table();
    this.log = database.table();
    this.entities = database.table();
    this.#duplicates = database.table();
    this.#hourly = database.table();
    this.#caps = database.table();
    this.#changedBalances = database.table();
    this.#epochs = database.table();
  }

  get dbEpoch(): string {
    return this.#epochs.get('current') ?? '';
  }

  /** The epoch whose spools have all declared and replayed, so that grants are given again. */
  get frozen(): boolean {
    return this.#epochs.get('thawed') !== this.dbEpoch;
  }

  head(lane: Lane): number {
    return this.heads.get(lane) ?? 0;
  }

  logRow(lane: Lane, rev: number): LogEntry | undefined {
    return this.log.get(`${lane}/${rev}`);
  }

  /** All caps that are set. */
  caps(): Cap[] {
    return [...this.#caps.values()].filter((row) => !row.removed).map((row) => row.cap);
  }

  /** The first epoch of a new database. */
  found(nowMs: number, dbEpoch: string): void {
    this.#transact(nowMs, 'found', () => {
      this.#epochs.put('current', dbEpoch);
      this.#epochs.put('thawed', dbEpoch);
    });
  }

  /** The operator says that the database was restored: its history goes on under another name, and grants freeze. */
  declareRestored(nowMs: number, dbEpoch: string): void {
    this.#transact(nowMs, 'declare restored', () => {
      this.#epochs.put('current', dbEpoch);
      this.#thawIfDone();
    });
  }

  /** Publishes entities at their next version. */
  publish(nowMs: number, lane: Lane, bodies: readonly ConfigBody[]): number {
    return this.#transact(nowMs, `publish ${lane}`, () => this.#publish(nowMs, lane, bodies));
  }

  /** Money received: the customer's credit, and the limit of what may be charged to it. */
  topUp(nowMs: number, accountId: string, amountNano: bigint): string[] {
    return this.#transact(nowMs, `top up ${accountId}`, () => {
      const id = budgetId({ capId: prepaidCapId(accountId), windowStartMs: 0 });
      const budget = this.budgets.get(id) ?? {
        ref: { capId: prepaidCapId(accountId), windowStartMs: 0 },
        ...{ accountId, unit: 'nano_usd' as const, limit: 0, settled: 0, held: 0, removed: false },
      };
      // What nodes hold is not to be taken out.
      const change = amountNano < 0n ? maxOf(amountNano, -BigInt(Math.max(0, budget.limit - budget.settled - budget.held))) : amountNano;
      this.#putBudget(id, { ...budget, limit: budget.limit + Number(change) });
      this.wallets.put(accountId, changeCredit(this.wallets.get(accountId) ?? EMPTY_BALANCE, 'paid', change));
      this.#changedBalances.put(accountId, true);
      if (change !== 0n) {
        this.#post({
          code: change > 0n ? 'top_up' : 'adjustment',
          debit: change > 0n ? 'payment_clearing' : `paid:${accountId}`,
          credit: change > 0n ? `paid:${accountId}` : 'adjustment',
          ...{ amountNano: change > 0n ? change : -change, accountId, batchId: undefined, reference: undefined },
        });
      }
      return [id];
    });
  }

  /** Sets a cap or removes it (no limit). Gives the budgets whose limit it changed, and how. */
  setCap(nowMs: number, cap: Omit<Cap, 'limit'>, limit: number | undefined): { readonly raised: string[]; readonly lowered: string[] } {
    return this.#transact(nowMs, `cap ${cap.id} ${limit ?? 'removed'}`, () => {
      const before = this.#caps.get(cap.id);
      const raised: string[] = [];
      const lowered: string[] = [];
      this.#caps.put(cap.id, { cap: { ...cap, limit: limit ?? 0 }, removed: limit === undefined, version: (before?.version ?? 0) + 1 });
      const present = windowStartMs(cap.window, nowMs);
      for (const [id, budget] of [...this.budgets.entries()]) {
        if (budget.ref.capId !== cap.id || budget.ref.windowStartMs < windowStartMs(cap.window, present - 1)) continue;
        const charged = limit !== undefined && budget.removed ? this.#chargedInWindow(cap, budget.ref.windowStartMs) : 0;
        const settled = Math.max(budget.settled, charged);
        this.#putBudget(id, { ...budget, limit: limit ?? 0, settled, removed: limit === undefined });
        if ((limit ?? 0) > budget.limit) raised.push(id);
        else lowered.push(id);
      }
      this.#publishEntry(nowMs, 'customer', 'cap', cap.id, limit === undefined ? undefined : { kind: 'cap', value: { ...cap, limit } });
      return { raised, lowered };
    });
  }

  /** Balances that changed since the last time, published. */
  publishBalances(nowMs: number): void {
    if (this.#changedBalances.size === 0) return;
    this.#transact(nowMs, 'publish balances', () => {
      const bodies: ConfigBody[] = [];
      for (const [accountId] of [...this.#changedBalances.entries()]) {
        this.#changedBalances.delete(accountId);
        const row = this.entities.get(`account/${accountId}`);
        if (row?.body?.kind !== 'account') continue;
        const value: Account = {
          ...row.body.value,
          balanceNano: totalNano(this.wallets.get(accountId) ?? EMPTY_BALANCE),
          asOfMs: Math.floor(nowMs),
        };
        bodies.push({ kind: 'account', value });
      }
      if (bodies.length > 0) this.#publish(nowMs, 'customer', bodies);
    });
  }

  /** A spool says what it retains, and is told what is acknowledged of each incarnation. Undefined: it has to declare its leases first. */
  openReport(
    nowMs: number,
    spool: { readonly spoolId: string; readonly nodeId: string; readonly region: string },
    retained: readonly { readonly incarnation: bigint; readonly firstSeq: number; readonly lastSeq: number }[],
  ): { readonly acked: ReadonlyMap<bigint, number> } | undefined {
    if (this.spools.get(spool.spoolId)?.declaredEpoch !== this.dbEpoch) return undefined;
    return this.#transact(nowMs, `report open ${spool.spoolId}`, () => {
      this.#seen(nowMs, spool);
      const acked = new Map<bigint, number>();
      for (const { incarnation, firstSeq } of retained) {
        const key = cursorKey(spool.spoolId, incarnation);
        const at = this.cursors.get(key) ?? 0;
        const from = Math.max(at, firstSeq - 1);
        if (from > at) this.#listener.gap(spool.nodeId, incarnation, at + 1, from);
        this.cursors.put(key, from);
        acked.set(incarnation, from);
      }
      this.#replayed(spool.spoolId, retained);
      return { acked };
    });
  }

  /** Takes a batch; throws SequenceGapError. */
  ingest(
    nowMs: number,
    spool: { readonly spoolId: string; readonly nodeId: string; readonly region: string; readonly replaces: string | undefined },
    batch: SpoolBatch,
    retained: readonly { readonly incarnation: bigint; readonly lastSeq: number }[],
  ): IngestResult {
    const key = cursorKey(spool.spoolId, batch.incarnation);
    const acked = this.cursors.get(key) ?? 0;
    if (batch.lastSeq <= acked) return { ackedSeq: acked, ...NOTHING_INGESTED };
    if (batch.firstSeq > acked + 1) throw new SequenceGapError(acked + 1, batch.firstSeq);
    return this.#transact(nowMs, `ingest ${spool.nodeId} ${batch.firstSeq}..${batch.lastSeq}`, () => {
      this.#seen(nowMs, spool);
      const records = this.#settlementRecords(batch, acked);
      const escrow = this.#escrowOf(leaseIdsOf(batch));
      const heldBefore = heldByBudget(escrow);
      const closedBefore = new Set([...escrow.leases()].filter((lease) => lease.closed).map((lease) => lease.id));
      const spoolIds = new Set(spool.replaces === undefined ? [spool.spoolId] : [spool.spoolId, spool.replaces]);
      const settlement = settle(escrow, spoolIds, records.settlement);
      for (const alarm of settlement.alarms) this.#listener.alarm(alarm);
      this.#writeBack(escrow);
      this.#count(nowMs, spool.spoolId, records.rated, settlement);
      this.cursors.put(key, batch.lastSeq);
      this.#replayed(spool.spoolId, retained);
      const givenUp = spool.replaces === undefined ? [] : this.#giveUp(spool.replaces, spool.spoolId, retained);
      const roomIn = [...heldByBudget(escrow)].filter(([id, held]) => held < (heldBefore.get(id) ?? 0)).map(([id]) => id);
      const closed = [...escrow.leases()].filter((lease) => lease.closed && !closedBefore.has(lease.id));
      return {
        ackedSeq: batch.lastSeq,
        settlement,
        roomIn,
        closed: [...closed, ...givenUp].map((lease) => ({ spoolId: lease.spoolId, leaseIds: [lease.id] })),
      };
    });
  }

  /** A node's leases as it has them: in a new epoch they are merged, in the present one only compared. Gives those that are not open. */
  declare(
    nowMs: number,
    spool: { readonly spoolId: string; readonly nodeId: string; readonly region: string },
    declared: readonly LeaseRecord[],
  ): { readonly closed: readonly string[]; readonly open: readonly Grant[] } {
    return this.#transact(nowMs, `declare ${spool.nodeId}`, () => {
      this.#seen(nowMs, spool);
      const row = this.spools.get(spool.spoolId);
      if (row?.declaredEpoch !== this.dbEpoch) {
        for (const record of declared) this.#ensureBudget(record.budget, nowMs, true);
        const ids = new Set(declared.map((record) => record.leaseId));
        const budgetIds = new Set(declared.map((record) => budgetId(record.budget)));
        const escrow = this.#escrowOf(ids, budgetIds);
        for (const record of declared) escrow.declare(record, spool.spoolId, !this.frozen);
        this.#writeBack(escrow);
        if (row !== undefined) this.spools.put(spool.spoolId, { ...row, declaredEpoch: this.dbEpoch });
      }
      const open = this.openLeases(spool.spoolId);
      const openIds = new Set(open.map((grant) => grant.leaseId));
      return { closed: declared.filter((record) => !openIds.has(record.leaseId)).map((record) => record.leaseId), open };
    });
  }

  openLeases(spoolId: string): Grant[] {
    return [...this.leases.values()]
      .filter((lease) => lease.spoolId === spoolId && !lease.closed)
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .map((lease) => this.#grantOf(lease));
  }

  /** Open leases on a budget that hold something. */
  holders(budget: string): Holder[] {
    return [...this.leases.values()]
      .filter((lease) => lease.budgetId === budget && !lease.closed && heldOf(lease) > 0)
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .map((lease) => ({ leaseId: lease.id, spoolId: lease.spoolId, held: heldOf(lease) }));
  }

  /** Tries a question: grants, or says why not. */
  tryGrant(nowMs: number, question: Question): Attempt {
    if (this.frozen) return { type: 'refused', reason: 'grants are frozen' };
    const spool = this.spools.get(question.spoolId);
    if (spool === undefined || spool.retired || spool.declaredEpoch !== this.dbEpoch) {
      return { type: 'refused', reason: 'the spool has not declared its leases' };
    }
    return this.#transact(nowMs, `question ${spool.nodeId} ${budgetId(question.budget)} need ${question.need}`, () => {
      const id = budgetId(question.budget);
      this.#ensureBudget(question.budget, nowMs, false);
      const cap = this.#caps.get(question.budget.capId);
      const next = cap === undefined || cap.removed ? undefined : nextBudget(question.budget, cap.cap.window, nowMs);
      if (next !== undefined) this.#ensureBudget(next, nowMs, false);
      const ids = new Set(next === undefined ? [id] : [id, budgetId(next)]);
      const budgets = [...ids].flatMap((each) => this.budgets.get(each) ?? []);
      const open = [...this.leases.values()].filter((lease) => !lease.closed && ids.has(lease.budgetId));
      const escrow = new Escrow(
        budgets,
        open.filter((lease) => budgets.some((budget) => budgetId(budget.ref) === lease.budgetId)),
      );
      const attempt = answerQuestion(escrow, question, {
        rateOf: () => undefined,
        next,
        newLeaseId: () => this.#dice.hex(32),
      });
      this.#writeBack(escrow);
      return attempt;
    });
  }

  /** A lease that stands in the way is replaced when nothing is held on it. */
  retire(nowMs: number, leaseId: string): void {
    this.#transact(nowMs, `retire ${leaseId}`, () => {
      const escrow = this.#escrowOf(new Set([leaseId]));
      if (escrow.lease(leaseId) === undefined) return;
      escrow.retire(leaseId);
      this.#writeBack(escrow);
    });
  }

  /** Counts silence; gives up spools that were silent for a day. Gives what was closed. */
  countSilence(
    nowMs: number,
    passedMs: number,
    connected: ReadonlySet<string>,
  ): { readonly spoolId: string; readonly leaseIds: string[] }[] {
    return this.#transact(nowMs, 'count silence', () => {
      const closed: { spoolId: string; leaseIds: string[] }[] = [];
      for (const [spoolId, spool] of [...this.spools.entries()]) {
        if (spool.retired) continue;
        const silentMs = connected.has(spoolId) ? 0 : spool.silentMs + passedMs;
        if (silentMs !== spool.silentMs) this.spools.put(spoolId, { ...spool, silentMs });
        if (silentMs < DAY_MS) continue;
        const ids = [...this.leases.values()].filter((lease) => lease.spoolId === spoolId && !lease.closed).map((lease) => lease.id);
        this.spools.put(spoolId, { ...spool, silentMs, retired: true });
        const escrow = this.#escrowOf(new Set(ids));
        for (const id of ids) escrow.close(id);
        this.#writeBack(escrow);
        closed.push({ spoolId, leaseIds: ids });
      }
      this.#thawIfDone();
      return closed;
    });
  }

  /** Rights for the first requests in a region, before any were asked for. */
  seed(nowMs: number, spoolId: string, ref: BudgetRef): boolean {
    const spool = this.spools.get(spoolId);
    if (this.frozen || spool === undefined || spool.retired || spool.declaredEpoch !== this.dbEpoch) return false;
    return this.#transact(nowMs, `seed ${budgetId(ref)}`, () => {
      this.#ensureBudget(ref, nowMs, false);
      const id = budgetId(ref);
      const budget = this.budgets.get(id);
      if (budget === undefined) return false;
      const own = [...this.leases.values()].filter((lease) => !lease.closed && lease.budgetId === id && lease.spoolId === spoolId);
      const escrow = new Escrow([budget], own);
      const grant = grantSeed(escrow, ref, spoolId, () => this.#dice.hex(32));
      this.#writeBack(escrow);
      return grant !== undefined;
    });
  }

  /** Closes retiring leases, and retires what is too old to be of use, as the control plane's jobs do. */
  closeEmptied(nowMs: number): { readonly spoolId: string; readonly leaseIds: string[] }[] {
    const ids = [...this.leases.values()]
      .filter((lease) => lease.retiring && !lease.closed && heldOf(lease) === 0)
      .map((lease) => lease.id);
    if (ids.length === 0) return [];
    return this.#transact(nowMs, 'close emptied leases', () => {
      const escrow = this.#escrowOf(new Set(ids));
      for (const id of ids) escrow.close(id);
      this.#writeBack(escrow);
      return ids.map((id) => ({ spoolId: this.#lease(id).spoolId, leaseIds: [id] }));
    });
  }

  #settlementRecords(batch: SpoolBatch, acked: number): { readonly settlement: SettlementRecord[]; readonly rated: RatedFinal[] } {
    const settlement: SettlementRecord[] = [];
    const rated: RatedFinal[] = [];
    const seen = new Map<string, Final[]>();
    for (const { seq, final } of batch.finals) {
      if (seq <= acked) continue;
      const key = eventKey(final);
      const before = this.events.get(key)?.final;
      const earlier = [...(before === undefined ? [] : [before]), ...(seen.get(key) ?? []), ...this.#duplicatesOf(key)];
      const rating = rateFinal(final, this.priceOf(final));
      const fault = faultOf(final);
      if (fault !== undefined) {
        settlement.push({ seq, kind: 'letter', leases: final.leases });
        throw new Error(`a dead letter: ${fault}`);
      }
      if (rating.ratedNano !== final.chargeNano)
        throw new Error(`the charge of ${final.requestId} is ${final.chargeNano}, not ${rating.ratedNano}`);
      seen.set(key, [...(seen.get(key) ?? []), final]);
      if (earlier.length === 0) {
        const { accountId, requestId, chargeNano, leases } = final;
        settlement.push({ seq, kind: 'first', accountId, requestId, chargeNano, leases });
        rated.push({ seq, final, rating });
        continue;
      }
      const counted = new Map<string, bigint>();
      for (const { leaseId, amount } of earlier.flatMap((each) => each.leases))
        counted.set(leaseId, maxOf(counted.get(leaseId) ?? 0n, amount));
      settlement.push({ seq, kind: 'duplicate', leases: final.leases, counted });
      this.#duplicates.put(`${key}/${this.#duplicates.size}`, final);
    }
    for (const { seq, lease } of batch.leases) if (seq > acked) settlement.push({ seq, kind: 'lease', lease });
    settlement.sort((a, b) => a.seq - b.seq);
    return { settlement, rated };
  }

  #duplicatesOf(key: string): Final[] {
    if (this.#duplicates.size === 0) return [];
    return [...this.#duplicates.entries()].filter(([name]) => name.startsWith(`${key}/`)).map(([, final]) => final);
  }

  #count(nowMs: number, spoolId: string, rated: readonly RatedFinal[], settlement: Settlement): void {
    const counted: CountedFinal[] = rated.map((each) => ({ ...each, refusal: settlement.writtenOff.get(each.seq) }));
    for (const { final, refusal } of counted) {
      const chargedNano = refusal === undefined ? final.chargeNano : 0n;
      const event = { final, spoolId, refusal, chargedNano };
      this.events.put(eventKey(final), event);
      this.#listener.counted(event);
    }
    const sums = sumBatch(counted);
    for (const { accountId, chargeNano } of sums.charges) {
      const spending = splitCharge(this.wallets.get(accountId) ?? EMPTY_BALANCE, chargeNano);
      this.wallets.put(accountId, spending.after);
      this.#changedBalances.put(accountId, true);
      for (const posting of spendingPostings(accountId, spending, BigInt(Math.floor(nowMs)))) this.#post(posting);
      if (spending.shortfallNano === 0n) continue;
      // The write-off is credit: limit and settled move alike.
      const id = budgetId({ capId: prepaidCapId(accountId), windowStartMs: 0 });
      const budget = this.budgets.get(id);
      if (budget !== undefined) this.#putBudget(id, { ...budget, limit: budget.limit + Number(spending.shortfallNano) });
    }
    for (const sum of sums.hourly) {
      const key = `${sum.accountId}/${sum.hourMs}/${sum.keyId}/${sum.memberId}`;
      this.#hourly.put(key, (this.#hourly.get(key) ?? 0n) + sum.chargeNano);
    }
  }

  /** The list price that a final names. */
  priceOf(final: Final): ListPrice | undefined {
    if (final.answeringModelId === undefined) return undefined;
    return this.priceAt(final.answeringModelId, final.answeringPriceVersion);
  }

  /** Overridden by whoever keeps the prices: they are immutable, and no restore forgets them here. */
  priceAt: (modelId: string, version: number) => ListPrice | undefined = () => undefined;

  #chargedInWindow(cap: Pick<Cap, 'accountId' | 'scope' | 'scopeId' | 'window' | 'unit'>, startMs: number): number {
    if (cap.unit !== 'nano_usd') return 0;
    const endMs = nextWindowStartMs(cap.window, startMs) ?? Number.POSITIVE_INFINITY;
    let sum = 0n;
    for (const [key, charged] of this.#hourly.entries()) {
      const [accountId, hour, keyId, memberId] = key.split('/');
      const inScope = cap.scope === 'key' ? keyId === cap.scopeId : cap.scope === 'member' ? memberId === cap.scopeId : true;
      if (accountId === cap.accountId && inScope && Number(hour) >= startMs && Number(hour) + HOUR_MS <= endMs) sum += charged;
    }
    return Number(sum);
  }

  /** Makes a window of a cap where it is missing. `declared`: also one of a cap or account that is not known any more. */
  #ensureBudget(ref: BudgetRef, nowMs: number, declared: boolean): void {
    const id = budgetId(ref);
    if (this.budgets.has(id) || parseBudgetId(id) === undefined) return;
    const row = this.#caps.get(ref.capId);
    if (row !== undefined && !row.removed && (declared || isNear(row.cap, ref.windowStartMs, nowMs))) {
      const { cap } = row;
      const settled = this.#chargedInWindow(cap, ref.windowStartMs);
      this.#putBudget(id, { ref, accountId: cap.accountId, unit: cap.unit, limit: cap.limit, settled, held: 0, removed: false });
    } else if (declared) {
      this.#putBudget(id, {
        ref,
        ...{ accountId: row?.cap.accountId ?? '', unit: row?.cap.unit ?? 'nano_usd', limit: 0, settled: 0, held: 0, removed: true },
      });
    }
  }

  #escrowOf(leaseIds: ReadonlySet<string>, budgetIds: ReadonlySet<string> = new Set()): Escrow {
    const leases: Lease[] = [];
    const ids = new Set(budgetIds);
    for (const id of leaseIds) {
      const lease = this.leases.get(id);
      if (lease === undefined) continue;
      leases.push(lease);
      ids.add(lease.budgetId);
    }
    const budgets: BudgetRow[] = [];
    for (const id of ids) {
      const budget = this.budgets.get(id);
      if (budget !== undefined) budgets.push(budget);
    }
    return new Escrow(budgets, leases);
  }

  #writeBack(escrow: Escrow): void {
    const { budgets, leases } = escrow.changes();
    for (const budget of budgets) {
      const id = budgetId(budget.ref);
      const before = this.budgets.get(id);
      this.#putBudget(id, { ...budget, removed: before?.removed ?? false });
    }
    for (const lease of leases) this.leases.put(lease.id, lease);
  }

  #putBudget(id: string, budget: BudgetRow & { readonly removed: boolean }): void {
    this.budgets.put(id, budget);
    this.#touched.add(id);
  }

  #post({ debit, credit, amountNano }: Posting): void {
    this.ledger.put(debit, (this.ledger.get(debit) ?? 0n) - amountNano);
    this.ledger.put(credit, (this.ledger.get(credit) ?? 0n) + amountNano);
  }

  #publish(nowMs: number, lane: Lane, bodies: readonly ConfigBody[]): number {
    for (const body of bodies) this.#publishEntry(nowMs, lane, body.kind, configEntityId(body), body);
    return this.head(lane);
  }

  #publishEntry(nowMs: number, lane: Lane, kind: ConfigBody['kind'], id: string, body: ConfigBody | undefined): void {
    const name = `${kind}/${id}`;
    const version = (this.entities.get(name)?.version ?? 0) + 1;
    const bytes = toBinary(ConfigEntrySchema, configEntryToWire({ kind, id, version, body }));
    const payload = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const rev = this.head(lane) + 1;
    this.heads.put(lane, rev);
    this.log.put(`${lane}/${rev}`, { rev, kind, entityId: id, payload, writtenAtMs: nowMs, version, deleted: body === undefined });
    this.entities.put(name, { version, body, payload });
  }

  #seen(nowMs: number, { spoolId, nodeId, region }: { readonly spoolId: string; readonly nodeId: string; readonly region: string }): void {
    const row = this.spools.get(spoolId);
    if (row !== undefined && row.silentMs === 0 && !row.retired && row.nodeId === nodeId) return;
    this.spools.put(spoolId, {
      ...{ spoolId, nodeId, region, lastSeenMs: nowMs, silentMs: 0, retired: false },
      declaredEpoch: row?.declaredEpoch ?? '',
      replayedEpoch: row?.replayedEpoch ?? '',
    });
  }

  /** All that the spool retained when its stream began is in. */
  #replayed(spoolId: string, retained: readonly { readonly incarnation: bigint; readonly lastSeq: number }[]): void {
    const row = this.spools.get(spoolId);
    if (row === undefined || row.replayedEpoch === this.dbEpoch) return;
    if (retained.some(({ incarnation, lastSeq }) => (this.cursors.get(cursorKey(spoolId, incarnation)) ?? 0) < lastSeq)) return;
    this.spools.put(spoolId, { ...row, replayedEpoch: this.dbEpoch });
    this.#thawIfDone();
  }

  /** The folder goes on under another id: once all that it retains is in, what the former one held is closed. */
  #giveUp(former: string, present: string, retained: readonly { readonly incarnation: bigint; readonly lastSeq: number }[]): Lease[] {
    if (retained.some(({ incarnation, lastSeq }) => (this.cursors.get(cursorKey(present, incarnation)) ?? 0) < lastSeq)) return [];
    const left = [...this.leases.values()].filter((lease) => lease.spoolId === former && !lease.closed);
    const escrow = this.#escrowOf(new Set(left.map((lease) => lease.id)));
    for (const lease of left) escrow.close(lease.id);
    this.#writeBack(escrow);
    const row = this.spools.get(former);
    if (row !== undefined && !row.retired) {
      this.spools.put(former, { ...row, retired: true });
      this.#thawIfDone();
    }
    return left;
  }

  #thawIfDone(): void {
    if (!this.frozen) return;
    for (const spool of this.spools.values()) {
      if (!spool.retired && (spool.declaredEpoch !== this.dbEpoch || spool.replayedEpoch !== this.dbEpoch)) return;
    }
    this.#epochs.put('thawed', this.dbEpoch);
  }

  #lease(id: string): Lease {
    const lease = this.leases.get(id);
    if (lease === undefined) throw new Error(`there is no lease ${id}`);
    return lease;
  }

  #grantOf(lease: Lease): Grant {
    const budget = this.budgets.get(lease.budgetId);
    if (budget === undefined) throw new Error(`lease ${lease.id} has no budget`);
    return { leaseId: lease.id, spoolId: lease.spoolId, budget: budget.ref, granted: lease.granted };
  }

  #transact<Result>(nowMs: number, what: string, work: () => Result): Result {
    this.#touched = new Set();
    const result = this.database.transaction(nowMs, work);
    this.#listener.committed(what, [...this.#touched]);
    return result;
  }
}

export function cursorKey(spoolId: string, incarnation: bigint): string {
  return `${spoolId}/${incarnation.toString(16)}`;
}

export function eventKey(final: { readonly requestId: string; readonly admittedAtMs: number }): string {
  return `${final.requestId}@${final.admittedAtMs}`;
}

/** The entities at the heads: what a snapshot of this moment holds. */
export function snapshotOf(books: Books): { readonly heads: Record<Lane, number>; readonly payloads: readonly Buffer[] } {
  const heads = Object.fromEntries(LANES.map((lane) => [lane, books.head(lane)])) as Record<Lane, number>;
  return { heads, payloads: [...books.entities.values()].filter((row) => row.body !== undefined).map((row) => row.payload) };
}

function isNear(cap: Cap, startMs: number, nowMs: number): boolean {
  const present = windowStartMs(cap.window, nowMs);
  const previous = windowStartMs(cap.window, present - 1);
  return isWindowStart(cap.window, startMs) && startMs >= previous && startMs <= (nextWindowStartMs(cap.window, present) ?? present);
}

function leaseIdsOf(batch: SpoolBatch): Set<string> {
  const ids = new Set<string>();
  for (const { final } of batch.finals) for (const { leaseId } of final.leases) ids.add(leaseId);
  for (const { lease } of batch.leases) ids.add(lease.leaseId);
  return ids;
}

function heldByBudget(escrow: Escrow): Map<string, number> {
  const held = new Map<string, number>();
  for (const lease of escrow.leases()) held.set(lease.budgetId, (held.get(lease.budgetId) ?? 0) + heldOf(lease));
  return held;
}

function maxOf(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
