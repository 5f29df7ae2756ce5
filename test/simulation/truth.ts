/**
 * What really happened, as somebody sees it who stands beside all nodes: requests, what the provider answered, what each
 * client got. The books are held against it.
 *
 * A refusal for want of budget is true or false by this reading: the denial that it rests on was decided at some moment d, for
 * a question asked at q. Let C be what each node had charged and not yet ingested, or reserved, on that budget, at its
 * highest between q and d (on the refusing node: until the refusal, since it counts its own reservations then; what of it is
 * ingested after d goes on counting, since settled stays as it was at d). The refusal is false if settled + Σ C + what the request may cost ≤ limit, settled and limit as they were at d. The highest and not
 * the latest, because each holder answers its recall at a moment of its own in between.
 */
import type { BudgetAmount, Refusal } from '@meridian/data-plane/admission/grants';
import { type BudgetRef, budgetId } from '@meridian/domain/budget';
import type { Final, Intent } from '@meridian/domain/usage-record';
import { type Books, type EventRow, eventKey } from './books.ts';
import type { Held, OnceStore } from './once.ts';
import { Violation } from './violation.ts';

export interface Request {
  readonly id: string;
  readonly machine: string;
  readonly spoolId: string;
  readonly amounts: readonly BudgetAmount[];
  readonly leaseIds: readonly string[];
  /** Its idempotency key. */
  readonly held: Held | undefined;
  intent: Intent | undefined;
  final: Final | undefined;
  /** The final's write() has returned. */
  written: boolean;
  /** Its final's seq is at most this one, of the incarnation that wrote it. */
  boundSeq: number;
  durable: boolean;
  /** The client has the whole answer. */
  completed: boolean;
  /** A power cut, or a death before the write had returned: its final may be lost. */
  uncertain: boolean;
  /** It ended without an intent, or with its process. */
  over: boolean;
  /** What of each budget is set aside or used, as long as the control plane has not counted it. */
  committed: readonly number[];
}

interface Watch {
  readonly spoolId: string;
  readonly questionId: number;
  /** Highest so far, by spool. */
  readonly highest: Map<string, number>;
  /** What the asking node has charged and the control plane has ingested since the denial was decided. */
  ingestedSince: number;
  /** When its denial was decided, the budget's book at that moment. */
  decided: { readonly atMs: number; readonly limit: number; readonly settled: number; readonly left: number } | undefined;
}

export class Truth {
  readonly requests = new Map<string, Request>();
  /** By lease. */
  readonly #lost = new Map<string, number>();
  /** By event key. */
  readonly #byEvent = new Map<string, Request>();
  /** By budget, then spool. */
  readonly #committed = new Map<string, Map<string, number>>();
  /** By budget. */
  readonly #watches = new Map<string, Watch[]>();
  /** Those that have neither a final nor an end. */
  readonly #open = new Set<Request>();
  /** Refusals for want of budget that were looked into. */
  refusalsJudged = 0;

  reserved(request: Request): void {
    this.requests.set(request.id, request);
    this.#open.add(request);
    this.#commit(request, 1);
  }

  /** The intent was written, under this name. */
  opened(request: Request, intent: Intent): void {
    request.intent = intent;
    this.#byEvent.set(eventKey(intent), request);
  }

  /** Its final is handed to the spool, and its reservation is settled. */
  settled(request: Request, final: Final): void {
    request.final = final;
    this.#open.delete(request);
    this.#recommit(
      request,
      final.leases.map((lease) => Number(lease.amount)),
    );
  }

  /** Nothing of it stands any more. */
  dropped(request: Request): void {
    request.over = true;
    this.#open.delete(request);
    this.#recommit(
      request,
      request.amounts.map(() => 0),
    );
  }

  /** The process is gone: what it had only in memory goes with it. */
  processDied(machine: string, powerCut: boolean): void {
    for (const request of this.requests.values()) {
      if (request.machine !== machine || request.over) continue;
      if (request.final === undefined) {
        this.dropped(request);
        continue;
      }
      if (!request.written || (powerCut && !request.durable)) this.lost(request);
      request.over = true;
    }
  }

  /** A failed sync dropped pages of the machine's disk, also of what processes before the one that died had only written. */
  pagesDropped(machine: string): void {
    for (const request of this.requests.values()) {
      if (request.machine === machine && request.final !== undefined && !request.durable && !request.uncertain) this.lost(request);
    }
  }

  /** Its final could not be written, or may not have survived: the node's own sum of the leases may be more than ours. */
  lost(request: Request): void {
    request.uncertain = true;
    request.leaseIds.forEach((id, index) => {
      this.#lost.set(id, (this.#lost.get(id) ?? 0) + (request.amounts[index]?.amount ?? 0));
    });
  }

  /** What finals that are lost may have used of a lease. */
  lostOn(leaseId: string): number {
    return this.#lost.get(leaseId) ?? 0;
  }

  /** What of a lease requests have set aside just now. */
  reservedOn(leaseId: string): number {
    let sum = 0;
    for (const request of this.#open) {
      request.leaseIds.forEach((id, index) => {
        if (id === leaseId) sum += request.amounts[index]?.amount ?? 0;
      });
    }
    return sum;
  }

  /** The control plane has counted the first final of a request. */
  counted({ final }: EventRow): void {
    const request = this.#byEvent.get(eventKey(final));
    if (request === undefined) throw new Violation('a final without a request', final.requestId);
    request.amounts.forEach(({ budget }, index) => {
      for (const watch of this.#watches.get(budgetId(budget)) ?? []) {
        if (watch.decided !== undefined && watch.spoolId === request.spoolId) watch.ingestedSince += request.committed[index] ?? 0;
      }
    });
    this.#recommit(
      request,
      request.amounts.map(() => 0),
    );
  }

  /** Some of what was counted is not any more. */
  recount(books: Books): void {
    for (const [key, request] of this.#byEvent) {
      const { final } = request;
      if (final === undefined || books.events.has(key)) continue;
      this.#recommit(
        request,
        final.leases.map((lease) => Number(lease.amount)),
      );
    }
    this.#watches.clear();
  }

  /** A node asks for more of a budget. */
  asked(spoolId: string, questionId: number, questionBudget: string): void {
    const watches = this.#watches.get(questionBudget) ?? [];
    const now = this.#committed.get(questionBudget) ?? new Map<string, number>();
    watches.push({ spoolId, questionId, highest: new Map(now), ingestedSince: 0, decided: undefined });
    this.#watches.set(questionBudget, watches.slice(-64));
  }

  /** The control plane has decided to deny what a node asked. */
  denied(spoolId: string, questionId: number, ref: BudgetRef, left: number, books: Books, nowMs: number): void {
    const id = budgetId(ref);
    const book = books.budgets.get(id);
    const watch = this.#watches
      .get(id)
      ?.findLast((each) => each.spoolId === spoolId && each.questionId === questionId && each.decided === undefined);
    if (watch === undefined || book === undefined) return;
    watch.decided = { atMs: nowMs, limit: book.limit, settled: book.settled, left };
  }

  /** Throws for a refusal that was false. */
  refused(spoolId: string, { short, grantable }: Extract<Refusal, { kind: 'exhausted' }>): void {
    const id = budgetId(short.budget);
    const watch = this.#watches.get(id)?.findLast((each) => each.spoolId === spoolId && each.decided?.left === grantable);
    // A denial of before a restore, or one that was overtaken by many.
    if (watch?.decided === undefined) return;
    this.refusalsJudged++;
    const { limit, settled } = watch.decided;
    let taken = settled;
    for (const [, amount] of watch.highest) taken += amount;
    if (taken + short.amount > limit) return;
    throw new Violation(
      'a refusal for want of budget is never false',
      `${spoolId} was refused ${short.amount} of ${id}: limit ${limit}, settled ${settled}, taken at most ${taken}, left said ${grantable}`,
    );
  }

  /** All requests against all events, when everything is in. `lost` tells machines that never came back. */
  compare(books: Books, once: OnceStore, lost: (machine: string) => boolean, mayBeWrittenOff: boolean): void {
    const chargedOnce: Held[] = [];
    for (const [key, request] of this.#byEvent) {
      const event = books.events.get(key);
      const { final } = request;
      const mustBeThere = !lost(request.machine) && final !== undefined && request.written && !request.uncertain;
      if (event === undefined) {
        if (mustBeThere) throw new Violation('a final that was written is billed', `${request.id} of ${request.machine} is not there`);
        continue;
      }
      if (mustBeThere && event.final.outcome !== final.outcome) {
        throw new Violation('a final that was written is billed', `${request.id} came as ${event.final.outcome}, not ${final.outcome}`);
      }
      if (event.final.outcome !== 'recovered' && event.final.chargeNano !== final?.chargeNano) {
        throw new Violation('a final is billed as it was written', `${request.id}: ${event.final.chargeNano}, not ${final?.chargeNano}`);
      }
      const { intent, held } = request;
      const { tierId, markupBasisPoints, askedPriceVersion } = event.final;
      if (
        tierId !== intent?.tierId ||
        markupBasisPoints !== intent.markupBasisPoints ||
        askedPriceVersion !== intent.priceVersions[0]?.version
      ) {
        throw new Violation('a request is charged at the terms of its admission', `${request.id}: ${tierId} ${markupBasisPoints}`);
      }
      if (held !== undefined && event.final.chargeNano > 0n) chargedOnce.push(held);
      if (event.final.outcome === 'recovered' && request.completed && !request.uncertain) {
        throw new Violation('a complete answer is charged', `${request.id} was answered, and recovered as free`);
      }
      if (event.refusal !== undefined && !mayBeWrittenOff) {
        throw new Violation('nothing is written off that need not be', `${request.id}: ${event.refusal}`);
      }
    }
    once.judge(chargedOnce);
    for (const request of this.#open) throw new Violation('every request ends', `${request.id} is open`);
    for (const request of this.requests.values()) {
      if (request.completed && request.final === undefined) throw new Violation('a complete answer has a final', request.id);
      if (request.completed && !request.written) throw new Violation('a complete answer was written down before', request.id);
    }
  }

  #recommit(request: Request, amounts: readonly number[]): void {
    this.#commit(request, -1);
    request.committed = amounts;
    this.#commit(request, 1);
  }

  #commit(request: Request, sign: 1 | -1): void {
    request.amounts.forEach(({ budget }, index) => {
      const amount = request.committed[index] ?? 0;
      if (amount === 0) return;
      const id = budgetId(budget);
      const bySpool = this.#committed.get(id) ?? new Map<string, number>();
      this.#committed.set(id, bySpool);
      const next = (bySpool.get(request.spoolId) ?? 0) + sign * amount;
      bySpool.set(request.spoolId, next);
      if (sign < 0) return;
      for (const watch of this.#watches.get(id) ?? []) {
        // After the decision only the refusing node's own reservations count.
        if (watch.decided !== undefined && watch.spoolId !== request.spoolId) continue;
        const taken = watch.decided === undefined ? next : next + watch.ingestedSince;
        if (taken > (watch.highest.get(request.spoolId) ?? 0)) watch.highest.set(request.spoolId, taken);
      }
    });
  }
}
