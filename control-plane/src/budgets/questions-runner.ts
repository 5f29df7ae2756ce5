/**
 * Carries out what `LeaseQuestions` decides: tries questions in the database, writes to the nodes' streams, and passes
 * signals between replicas.
 *
 * What a node asks in one moment is tried in one transaction, and what other nodes ask of the same budgets goes along: they
 * would only wait for each other at its lock. So a replica has at most one transaction on a budget, and what is asked of it
 * meanwhile shares the next one. Nodes that ask of different budgets do not wait for each other.
 */
import { budgetId } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { ClosedLeases, Leases, OpenedSpool } from './leases.ts';
import {
  type Attempt,
  type Denial,
  type Grant,
  type Holder,
  LeaseQuestions,
  type LeaseSignal,
  type Question,
  type QuestionsEffect,
  type QuestionsInput,
} from './questions.ts';

const MAX_QUESTIONS_A_TRANSACTION = 64;
const MAX_REMEMBERED_RETURNS = 200_000;

/** A spool's open stream. */
export interface LeaseOutlet {
  grants(questionId: number, grants: readonly Grant[]): void;
  denial(denial: Denial): void;
  recall(recallId: number, leaseId: string, retire: boolean): void;
  closed(leaseIds: readonly string[]): void;
  /** Ends the stream: its node asks too much. */
  cut(reason: string): void;
}

/** A spool's place here for as long as its stream is open. */
export interface LeaseConnection {
  ask(question: Omit<Question, 'spoolId' | 'streamId'>): void;
  recallAnswered(recallId: number): void;
  disconnect(): void;
}

export interface QuestionsRunnerDeps {
  readonly leases: Pick<Leases, 'attempt' | 'grantsOf' | 'holders' | 'overdrawnHolders'>;
  readonly clock: { nowMs(): number };
  /** A random number below 2^53. */
  newRecallId(): number;
  frozen(): boolean;
  /** To all other replicas. */
  signal(signal: LeaseSignal): void;
  /** Transactions at a time. */
  readonly maxConcurrent: number;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

export class QuestionsRunner {
  readonly #deps: QuestionsRunnerDeps;
  readonly #machine: LeaseQuestions;
  readonly #outlets = new Map<string, { readonly streamId: number; readonly outlet: LeaseOutlet }>();
  /** By spool, in the order in which they are tried. */
  readonly #toTry = new Map<string, Question[]>();
  readonly #trying = new Set<Promise<void>>();
  /** Budgets of the questions that are being tried. */
  readonly #busy = new Set<string>();
  /** By lease: what was returned of it when it was ingested here last. */
  readonly #returned = new Map<string, number>();
  #lastStreamId = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(deps: QuestionsRunnerDeps) {
    this.#deps = deps;
    this.#machine = new LeaseQuestions({ newRecallId: deps.newRecallId, frozen: deps.frozen });
  }

  get shortages(): number {
    return this.#machine.shortages;
  }

  get spools(): string[] {
    return [...this.#outlets.keys()];
  }

  /** The stream takes the place of an earlier one of the spool. Whatever is said from now on goes to its outlet. */
  connect(spoolId: string, outlet: LeaseOutlet): LeaseConnection {
    this.#lastStreamId += 1;
    const streamId = this.#lastStreamId;
    this.#outlets.set(spoolId, { streamId, outlet });
    this.#step({ type: 'connected', spoolId, streamId });
    return {
      ask: (question) => {
        this.#deps.metrics.countLeaseQuestion();
        this.#step({ type: 'question', question: { ...question, spoolId, streamId } });
      },
      recallAnswered: (recallId) => this.#step({ type: 'recall_answered', spoolId, recallId }),
      disconnect: () => {
        if (this.#outlets.get(spoolId)?.streamId === streamId) this.#outlets.delete(spoolId);
        this.#step({ type: 'disconnected', spoolId, streamId });
      },
    };
  }

  /** Asks a node that has just been told of its leases to give back what it holds of overdrawn budgets. */
  opened({ recalls }: Pick<OpenedSpool, 'recalls'>): void {
    for (const { budgetId: id, holder } of recalls) this.#step({ type: 'recall_all', budgetId: id, holders: [holder] });
  }

  /** From another replica. */
  receive(signal: LeaseSignal): void {
    this.#step({ type: 'signal', signal });
  }

  /** More may be granted of these budgets than before: a limit was raised, or something was given back. Named by `budgetId`. */
  room(budgetIds: readonly string[]): void {
    if (budgetIds.length > 0) this.#step({ type: 'room', budgetIds });
  }

  /** Records of a spool's leases were ingested: what was given back, asked for or not, may be granted to others. */
  ingested(spoolId: string, records: readonly LeaseRecord[]): void {
    const budgetIds = new Set<string>();
    for (const { leaseId, budget, returned } of records) {
      if (returned <= (this.#returned.get(leaseId) ?? 0)) continue;
      this.#returned.delete(leaseId);
      this.#returned.set(leaseId, returned);
      budgetIds.add(budgetId(budget));
    }
    for (const [oldest] of this.#returned) {
      // A lease that is forgotten is told once more at most.
      if (this.#returned.size <= MAX_REMEMBERED_RETURNS) break;
      this.#returned.delete(oldest);
    }
    if (budgetIds.size > 0) this.#step({ type: 'room', budgetIds: [...budgetIds], givenBackBy: spoolId });
  }

  /** Limits were lowered: where more is settled and held than they allow, all holders give back what is free. */
  async lowered(budgetIds: readonly string[]): Promise<void> {
    this.recallAll(await this.#deps.leases.overdrawnHolders(budgetIds));
  }

  /** A limit is to be lowered by more than nodes leave of it: all holders give back what is free. */
  async wanted(budgetIds: readonly string[]): Promise<void> {
    this.recallAll(await this.#deps.leases.holders(budgetIds));
  }

  /** All holders of these budgets are to give back what is free. */
  recallAll(holders: ReadonlyMap<string, readonly Holder[]>): void {
    for (const [id, some] of holders) this.#step({ type: 'recall_all', budgetId: id, holders: some });
  }

  /** A node was granted something that it did not ask for. */
  granted(spoolId: string, grants: readonly Grant[]): void {
    if (grants.length > 0) this.#step({ type: 'granted', spoolId, grants });
  }

  /** Leases were closed: their node hears of it, and what they held may be granted to others. */
  closed({ spoolId, leaseIds, budgetIds, writtenOff }: ClosedLeases, reason: 'ended' | 'given_up'): void {
    if (leaseIds.length === 0) return;
    const { metrics, logger } = this.#deps;
    metrics.countLeasesClosed(leaseIds.length, reason);
    metrics.countLeaseWriteOffs(writtenOff.length);
    if (writtenOff.length > 0) {
      logger.error({ spoolId, leases: writtenOff.length, writtenOff: writtenOff.slice(0, 8) }, 'leases were closed that held something');
    }
    this.#step({ type: 'closed', spoolId, leaseIds });
    this.room(budgetIds);
  }

  /** Once a second or so: what is remembered is forgotten in time. */
  tick(): void {
    this.#step({ type: 'tick' });
  }

  /** Answers nothing any more; resolves when no transaction is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#toTry.clear();
    await Promise.all(this.#trying);
  }

  #step(input: QuestionsInput): void {
    if (this.#closed) return;
    for (const effect of this.#machine.step(input, this.#deps.clock.nowMs())) this.#carryOut(effect);
    this.#schedule();
  }

  #carryOut(effect: QuestionsEffect): void {
    const { metrics } = this.#deps;
    switch (effect.type) {
      case 'attempt':
        this.#queue(effect.question);
        return;
      case 'grants':
        metrics.countLeaseGrants(effect.grants.length);
        this.#outlet(effect.spoolId)?.grants(effect.questionId, effect.grants);
        return;
      case 'denial':
        metrics.countLeaseDenial(effect.denial.reason);
        this.#outlet(effect.spoolId)?.denial(effect.denial);
        return;
      case 'recall':
        metrics.countLeaseRecall();
        this.#outlet(effect.spoolId)?.recall(effect.recallId, effect.leaseId, effect.retire);
        return;
      case 'closed':
        this.#outlet(effect.spoolId)?.closed(effect.leaseIds);
        return;
      case 'refresh':
        this.#refresh(effect.spoolId, effect.leaseIds);
        return;
      case 'cut':
        this.#outlet(effect.spoolId)?.cut(effect.reason);
        return;
      case 'signal':
        this.#deps.signal(effect.signal);
        return;
      default:
        effect satisfies never;
    }
  }

  #outlet(spoolId: string): LeaseOutlet | undefined {
    return this.#outlets.get(spoolId)?.outlet;
  }

  #refresh(spoolId: string, leaseIds: readonly string[]): void {
    this.#deps.leases.grantsOf(spoolId, leaseIds).then(
      (grants) => {
        if (grants.length > 0) this.#outlet(spoolId)?.grants(0, grants);
      },
      // The node hears of them with its next question or stream.
      (error: unknown) => this.#deps.logger.warn({ err: error, spoolId }, 'leases could not be read'),
    );
  }

  #queue(question: Question): void {
    const queued = this.#toTry.get(question.spoolId);
    if (queued !== undefined) {
      queued.push(question);
      return;
    }
    this.#toTry.set(question.spoolId, [question]);
    // What else its node has asked in this turn goes along.
    setImmediate(() => this.#tryMore());
  }

  #tryMore(): void {
    for (const spoolId of [...this.#toTry.keys()]) {
      if (this.#trying.size >= this.#deps.maxConcurrent) return;
      const questions = this.#take(spoolId, MAX_QUESTIONS_A_TRANSACTION, (id) => !this.#busy.has(id));
      if (questions.length === 0) continue;
      const ids = new Set(questions.map(({ budget }) => budgetId(budget)));
      for (const other of [...this.#toTry.keys()]) {
        questions.push(...this.#take(other, MAX_QUESTIONS_A_TRANSACTION - questions.length, (id) => ids.has(id)));
      }
      for (const id of ids) this.#busy.add(id);
      const trying = this.#try(questions).finally(() => {
        for (const id of ids) this.#busy.delete(id);
        this.#trying.delete(trying);
        this.#tryMore();
      });
      this.#trying.add(trying);
    }
  }

  /** Takes a spool's first questions on some budgets; a spool with more to try goes to the end of the line. */
  #take(spoolId: string, limit: number, isMeant: (id: string) => boolean): Question[] {
    const taken: Question[] = [];
    const left: Question[] = [];
    for (const question of this.#toTry.get(spoolId) ?? []) {
      if (taken.length < limit && isMeant(budgetId(question.budget))) taken.push(question);
      else left.push(question);
    }
    if (taken.length === 0) return taken;
    this.#toTry.delete(spoolId);
    if (left.length > 0) this.#toTry.set(spoolId, left);
    return taken;
  }

  async #try(questions: readonly Question[]): Promise<void> {
    let attempts: readonly Attempt[];
    try {
      attempts = await this.#deps.leases.attempt(questions);
    } catch (error) {
      this.#deps.logger.error({ err: error, questions: questions.length }, 'questions could not be tried');
      attempts = questions.map(() => ({ type: 'refused', reason: 'the database cannot be asked' }));
    }
    for (const [index, question] of questions.entries()) {
      const attempt = attempts[index];
      if (attempt !== undefined) this.#step({ type: 'attempted', question, attempt });
    }
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const deadlineMs = this.#machine.nextDeadlineMs;
    if (deadlineMs === undefined) return;
    this.#timer = setTimeout(() => this.tick(), Math.max(1, deadlineMs - this.#deps.clock.nowMs()));
  }
}
