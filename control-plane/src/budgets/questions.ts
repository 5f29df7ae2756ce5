/**
 * How a replica answers what nodes ask of budgets, as a machine without clock, database or network: `step(input, nowMs)`
 * gives the effects to carry out. `nextDeadlineMs` tells when it wants a `tick` at the latest.
 *
 * A question is tried in the database first. Where its need is more than what may be granted, all other holders are asked
 * to give back what is free (a shortage: one at a time a budget, further questions on it wait in line), and it is tried
 * again with each answer. `exhausted` is said when the need is more than what the limit leaves even if every holder that
 * has not answered a recall sent after the question gave back all it holds; `unreachable` when it hangs on a holder that
 * did not answer in time. What was denied is remembered for a minute, and tried again whenever there is more room.
 *
 * A lost signal to or from another replica costs time and nothing else: the holder counts as not answering, and the
 * question is tried once more at the deadline, which finds what was given back. A grant whose answer went astray is told
 * again with the next denial.
 */
import { type BudgetBook, type BudgetRef, budgetId, grantable } from '@meridian/domain/budget';

/** A holder that does not answer a recall for this long is unreachable; a question waits in line no longer than this. */
export const RECALL_TIMEOUT_MS = 400;
/** So long a denied question is remembered, and a recall whose answer comes late. */
export const REMEMBERED_MS = 60_000;
/** Questions of one spool that are not answered yet; a node asks one at a time a budget. */
export const MAX_QUESTIONS_A_SPOOL = 4_096;
/** Denials remembered by a replica; beyond it the oldest are forgotten, whose nodes ask again by themselves. */
const MAX_REMEMBERED = 100_000;

export interface Question {
  readonly spoolId: string;
  /** Tells the streams of one spool apart: an answer belongs to the stream that asked. */
  readonly streamId: number;
  /** 0 where nobody asked: a question that was denied before. */
  readonly questionId: number;
  readonly budget: BudgetRef;
  readonly need: number;
  readonly want: number;
  readonly ratePer30s: number;
}

/** A lease's total, as it is told to its node. */
export interface Grant {
  readonly leaseId: string;
  readonly spoolId: string;
  readonly budget: BudgetRef;
  readonly granted: number;
}

/** An open lease that holds something. */
export interface Holder {
  readonly leaseId: string;
  readonly spoolId: string;
  readonly held: number;
}

/** One that may have been granted more since it was asked to give back: what it answered then does not count that. */
export interface OtherHolder extends Holder {
  /** The lease's total. */
  readonly granted: number;
}

/** What came of trying a question in the database. */
export type Attempt =
  /** Committed. */
  | { readonly type: 'granted'; readonly grants: readonly Grant[] }
  /** Nothing was changed: the limit does not leave as much. */
  | { readonly type: 'short'; readonly book: BudgetBook; readonly own: Grant | undefined; readonly others: readonly OtherHolder[] }
  /** Nothing can be granted for a reason that is not the limit; `retire` names the node's lease if it stands in the way. */
  | { readonly type: 'refused'; readonly reason: string; readonly retire?: string };

/** What replicas tell each other. Budgets are named by `budgetId`. */
export type LeaseSignal =
  | { readonly type: 'recall'; readonly recallId: number; readonly spoolId: string; readonly leaseId: string; readonly retire: boolean }
  | { readonly type: 'answered'; readonly recallId: number }
  /** More may be granted than before; to others than the spool that gave it back, where one is named. */
  | { readonly type: 'room'; readonly budgetIds: readonly string[]; readonly givenBackBy?: string }
  /** The spool's leases have grown, and its stream is somewhere else. */
  | { readonly type: 'refresh'; readonly spoolId: string; readonly leaseIds: readonly string[] }
  | { readonly type: 'closed'; readonly spoolId: string; readonly leaseIds: readonly string[] };

export type QuestionsInput =
  /** The spool's stream is open here, in place of an earlier one; all its open leases have been told. */
  | { readonly type: 'connected'; readonly spoolId: string; readonly streamId: number }
  | { readonly type: 'disconnected'; readonly spoolId: string; readonly streamId: number }
  | { readonly type: 'question'; readonly question: Question }
  /** The very object that the effect named. */
  | { readonly type: 'attempted'; readonly question: Question; readonly attempt: Attempt }
  | { readonly type: 'recall_answered'; readonly spoolId: string; readonly recallId: number }
  /**
   * Something was given back, or a limit was raised: known here first. A spool that gave something back itself can have no
   * more than before, and may be about to go: a grant would be stranded with it.
   */
  | { readonly type: 'room'; readonly budgetIds: readonly string[]; readonly givenBackBy?: string }
  /** All holders are to give back what is free: a limit was lowered below what is settled and held, or a window is over. */
  | { readonly type: 'recall_all'; readonly budgetId: string; readonly holders: readonly Holder[] }
  /** A node was granted something that it did not ask for. */
  | { readonly type: 'granted'; readonly spoolId: string; readonly grants: readonly Grant[] }
  | { readonly type: 'closed'; readonly spoolId: string; readonly leaseIds: readonly string[] }
  | { readonly type: 'signal'; readonly signal: LeaseSignal }
  | { readonly type: 'tick' };

export type DenialReason = 'exhausted' | 'unreachable';

export interface Denial {
  readonly questionId: number;
  readonly budget: BudgetRef;
  readonly reason: DenialReason;
  /** What could be granted at most. */
  readonly left: number;
  readonly book: BudgetBook;
}

export type QuestionsEffect =
  /** Try it in the database; `attempted` follows, whatever happens. */
  | { readonly type: 'attempt'; readonly question: Question }
  /** To the spool's stream here; question 0 when nobody asked. */
  | { readonly type: 'grants'; readonly spoolId: string; readonly questionId: number; readonly grants: readonly Grant[] }
  | { readonly type: 'denial'; readonly spoolId: string; readonly denial: Denial }
  | { readonly type: 'recall'; readonly spoolId: string; readonly recallId: number; readonly leaseId: string; readonly retire: boolean }
  | { readonly type: 'closed'; readonly spoolId: string; readonly leaseIds: readonly string[] }
  /** Read these leases of the spool and tell their totals. */
  | { readonly type: 'refresh'; readonly spoolId: string; readonly leaseIds: readonly string[] }
  /** The spool asks more than a node does: end its stream. */
  | { readonly type: 'cut'; readonly spoolId: string; readonly reason: string }
  /** To all other replicas. */
  | { readonly type: 'signal'; readonly signal: LeaseSignal };

export interface QuestionsOptions {
  /** A number below 2^53 that no recall of any replica has: random. */
  newRecallId(): number;
  /** Nothing is granted until all nodes have declared. */
  frozen(): boolean;
}

type Short = Extract<Attempt, { type: 'short' }>;

/** The one question of a budget for which other holders are asked. */
interface Shortage {
  readonly question: Question;
  /** Leases whose holders were asked, those that have answered included, with what was granted on each by then. */
  readonly asked: Map<string, number>;
  /** By recall: the lease. */
  readonly waiting: Map<number, string>;
  /** When holders that have not answered count as unreachable; none before any was asked. */
  deadlineMs: number;
  trying: boolean;
  /** An answer came while it was tried, so that what the attempt found is out of date. */
  again: boolean;
}

interface Waiting {
  readonly question: Question;
  readonly untilMs: number;
}

interface Line {
  shortage: Shortage;
  readonly waiting: Waiting[];
  /** As the last attempt found the budget. */
  last: Short;
}

interface Recall {
  readonly spoolId: string;
  readonly leaseId: string;
  readonly budgetId: string;
  readonly retire: boolean;
  readonly forgetAtMs: number;
}

interface Denied {
  readonly question: Question;
  readonly forgetAtMs: number;
  trying: boolean;
}

const EMPTY_BOOK: BudgetBook = { limit: 0, settled: 0, held: 0 };

export class LeaseQuestions {
  readonly #options: QuestionsOptions;
  readonly #streams = new Map<string, { readonly streamId: number; open: number }>();
  /** Budgets that are short. */
  readonly #lines = new Map<string, Line>();
  /** Recalls that this replica has sent, or had sent, in the order of their forgetting. */
  readonly #recalls = new Map<number, Recall>();
  /** Recalls of other replicas that were passed on to a node here. */
  readonly #passedOn = new Map<number, { readonly spoolId: string; readonly forgetAtMs: number }>();
  /** By budget and spool; the keys also in the order of their forgetting. */
  readonly #denied = new Map<string, Map<string, Denied>>();
  readonly #deniedInOrder = new Map<string, { readonly budgetId: string; readonly spoolId: string; readonly forgetAtMs: number }>();
  #effects: QuestionsEffect[] = [];

  constructor(options: QuestionsOptions) {
    this.#options = options;
  }

  /** Budgets that are short just now. */
  get shortages(): number {
    return this.#lines.size;
  }

  /** When the next `tick` is due; undefined when nothing waits. */
  get nextDeadlineMs(): number | undefined {
    let next = Number.POSITIVE_INFINITY;
    for (const { shortage, waiting } of this.#lines.values()) {
      if (!shortage.trying) next = Math.min(next, shortage.deadlineMs);
      next = Math.min(next, waiting[0]?.untilMs ?? next);
    }
    return Number.isFinite(next) ? next : undefined;
  }

  step(input: QuestionsInput, nowMs: number): QuestionsEffect[] {
    this.#effects = [];
    switch (input.type) {
      case 'connected':
        this.#connected(input.spoolId, input.streamId);
        break;
      case 'disconnected':
        this.#disconnected(input.spoolId, input.streamId);
        break;
      case 'question':
        this.#asked(input.question, nowMs);
        break;
      case 'attempted':
        this.#attempted(input.question, input.attempt, nowMs);
        break;
      case 'recall_answered':
        this.#recallAnswered(input.spoolId, input.recallId);
        break;
      case 'room':
        this.#room(input.budgetIds, input.givenBackBy);
        this.#signal(input);
        break;
      case 'recall_all':
        for (const { leaseId, spoolId } of input.holders) this.#recall(input.budgetId, spoolId, leaseId, false, nowMs);
        break;
      case 'granted':
        this.#tell(input.spoolId, 0, input.grants);
        break;
      case 'closed': {
        const { spoolId, leaseIds } = input;
        if (this.#streams.has(spoolId)) this.#effects.push({ type: 'closed', spoolId, leaseIds });
        else this.#signal({ type: 'closed', spoolId, leaseIds });
        break;
      }
      case 'signal':
        this.#signalled(input.signal, nowMs);
        break;
      case 'tick':
        this.#tick(nowMs);
        break;
      default:
        input satisfies never;
    }
    return this.#effects;
  }

  #connected(spoolId: string, streamId: number): void {
    const before = this.#streams.get(spoolId);
    if (before !== undefined) this.#disconnected(spoolId, before.streamId);
    this.#streams.set(spoolId, { streamId, open: 0 });
    // It may have been between two streams when it was asked.
    for (const [recallId, recall] of this.#recalls) {
      if (recall.spoolId !== spoolId) continue;
      this.#effects.push({ type: 'recall', spoolId, recallId, leaseId: recall.leaseId, retire: recall.retire });
    }
  }

  #disconnected(spoolId: string, streamId: number): void {
    if (this.#streams.get(spoolId)?.streamId !== streamId) return;
    this.#streams.delete(spoolId);
    for (const [id, line] of [...this.#lines]) {
      for (const [index, { question }] of [...line.waiting.entries()].reverse()) {
        if (question.spoolId === spoolId) line.waiting.splice(index, 1);
      }
      if (line.shortage.question.spoolId === spoolId) this.#next(id, line);
    }
  }

  #asked(question: Question, nowMs: number): void {
    const stream = this.#streams.get(question.spoolId);
    if (stream?.streamId !== question.streamId) return;
    if (stream.open >= MAX_QUESTIONS_A_SPOOL) {
      this.#effects.push({ type: 'cut', spoolId: question.spoolId, reason: `more than ${MAX_QUESTIONS_A_SPOOL} questions are open` });
      return;
    }
    stream.open += 1;
    if (this.#options.frozen()) {
      this.#deny(question, 'unreachable', 0, EMPTY_BOOK, nowMs);
      return;
    }
    const line = this.#lines.get(budgetId(question.budget));
    if (line === undefined) this.#effects.push({ type: 'attempt', question });
    else if (question.need === 0) this.#deny(question, 'exhausted', mostFor(question.spoolId, line.last), line.last.book, nowMs);
    else this.#wait(line, question, nowMs);
  }

  #attempted(question: Question, attempt: Attempt, nowMs: number): void {
    const id = budgetId(question.budget);
    const line = this.#lines.get(id);
    const isShortage = line?.shortage.question === question;
    const denied = this.#denied.get(id)?.get(question.spoolId);
    if (question.questionId === 0 && denied !== undefined) denied.trying = false;
    switch (attempt.type) {
      case 'granted':
        this.#forget(id, question.spoolId);
        this.#grant(question, attempt.grants);
        if (isShortage) this.#next(id, line);
        return;
      case 'refused':
        if (attempt.retire !== undefined) this.#recall(id, question.spoolId, attempt.retire, true, nowMs);
        this.#deny(question, 'unreachable', 0, EMPTY_BOOK, nowMs);
        if (isShortage) this.#next(id, line);
        return;
      case 'short':
        if (question.questionId === 0) return;
        // Its stream is gone: nobody waits for it any more.
        if (this.#streams.get(question.spoolId)?.streamId !== question.streamId) return;
        if (isShortage) this.#weigh(id, line, attempt, nowMs);
        else if (question.need === 0) this.#denyShort(question, attempt, mostOf(attempt), nowMs);
        else if (line !== undefined) this.#wait(line, question, nowMs);
        else this.#begin(id, question, attempt, nowMs);
        return;
      default:
        attempt satisfies never;
    }
  }

  #begin(id: string, question: Question, attempt: Short, nowMs: number): void {
    const line: Line = { shortage: shortageOf(question, false), waiting: [], last: attempt };
    this.#lines.set(id, line);
    this.#weigh(id, line, attempt, nowMs);
  }

  /** What an attempt that came out short means for the question: more holders to ask, a denial, or waiting. */
  #weigh(id: string, line: Line, attempt: Short, nowMs: number): void {
    const { shortage } = line;
    const { question } = shortage;
    line.last = attempt;
    shortage.trying = false;
    if (shortage.again) {
      this.#retry(shortage);
      return;
    }
    const silent = new Set(shortage.waiting.values());
    const isNew = ({ leaseId, granted }: OtherHolder): boolean => granted > (shortage.asked.get(leaseId) ?? -1);
    const open = attempt.others.filter((holder) => silent.has(holder.leaseId) || isNew(holder));
    const most = grantable(attempt.book) + heldBy(open);
    if (question.need > most) {
      this.#denyShort(question, attempt, most, nowMs);
      this.#next(id, line);
    } else if (nowMs >= shortage.deadlineMs) {
      this.#own(question, attempt);
      this.#deny(question, 'unreachable', most, attempt.book, nowMs);
      this.#next(id, line);
    } else {
      for (const holder of open) {
        if (!isNew(holder)) continue;
        const { leaseId, spoolId, granted } = holder;
        shortage.asked.set(leaseId, granted);
        shortage.waiting.set(this.#recall(id, spoolId, leaseId, false, nowMs), leaseId);
      }
      shortage.deadlineMs = Math.min(shortage.deadlineMs, nowMs + RECALL_TIMEOUT_MS);
    }
  }

  #retry(shortage: Shortage): void {
    if (shortage.trying) {
      shortage.again = true;
      return;
    }
    shortage.trying = true;
    shortage.again = false;
    this.#effects.push({ type: 'attempt', question: shortage.question });
  }

  /** The shortage is over: the next question in line has its turn. */
  #next(id: string, line: Line): void {
    const next = line.waiting.shift();
    if (next === undefined) {
      this.#lines.delete(id);
      return;
    }
    line.shortage = shortageOf(next.question, true);
    this.#effects.push({ type: 'attempt', question: next.question });
  }

  /** In line; a newer question of a spool takes the place of its older one, whose node has given up. */
  #wait(line: Line, question: Question, nowMs: number): void {
    const waiting = { question, untilMs: nowMs + RECALL_TIMEOUT_MS };
    const index = line.waiting.findIndex((other) => other.question.spoolId === question.spoolId);
    if (index >= 0) {
      line.waiting.splice(index, 1);
      this.#answered(question);
    }
    line.waiting.push(waiting);
  }

  #recall(id: string, spoolId: string, leaseId: string, retire: boolean, nowMs: number): number {
    const recallId = this.#options.newRecallId();
    this.#recalls.set(recallId, { spoolId, leaseId, budgetId: id, retire, forgetAtMs: nowMs + REMEMBERED_MS });
    if (this.#streams.has(spoolId)) this.#effects.push({ type: 'recall', spoolId, recallId, leaseId, retire });
    else this.#signal({ type: 'recall', recallId, spoolId, leaseId, retire });
    return recallId;
  }

  #recallAnswered(spoolId: string, recallId: number): void {
    if (this.#recalls.get(recallId)?.spoolId === spoolId) {
      this.#answeredHere(recallId);
    } else if (this.#passedOn.get(recallId)?.spoolId === spoolId) {
      this.#passedOn.delete(recallId);
      this.#signal({ type: 'answered', recallId });
    }
  }

  #answeredHere(recallId: number): void {
    const recall = this.#recalls.get(recallId);
    if (recall === undefined) return;
    this.#recalls.delete(recallId);
    const shortage = this.#lines.get(recall.budgetId)?.shortage;
    if (shortage?.waiting.delete(recallId) === true) this.#retry(shortage);
    // Too late for the question it was sent for, or sent for none: others may be glad of it.
    else this.#room([recall.budgetId], recall.spoolId);
  }

  #room(budgetIds: readonly string[], givenBackBy: string | undefined): void {
    if (this.#options.frozen()) return;
    for (const id of budgetIds) {
      const line = this.#lines.get(id);
      if (line !== undefined) {
        this.#retry(line.shortage);
        continue;
      }
      for (const denied of this.#denied.get(id)?.values() ?? []) {
        const streamId = this.#streams.get(denied.question.spoolId)?.streamId;
        if (denied.trying || streamId === undefined || denied.question.spoolId === givenBackBy) continue;
        denied.trying = true;
        this.#effects.push({ type: 'attempt', question: { ...denied.question, streamId, questionId: 0 } });
      }
    }
  }

  #signalled(signal: LeaseSignal, nowMs: number): void {
    switch (signal.type) {
      case 'recall': {
        const { spoolId, recallId, leaseId, retire } = signal;
        if (!this.#streams.has(spoolId)) return;
        this.#passedOn.set(recallId, { spoolId, forgetAtMs: nowMs + REMEMBERED_MS });
        this.#effects.push({ type: 'recall', spoolId, recallId, leaseId, retire });
        return;
      }
      case 'answered':
        this.#answeredHere(signal.recallId);
        return;
      case 'room':
        this.#room(signal.budgetIds, signal.givenBackBy);
        return;
      case 'refresh':
      case 'closed':
        if (this.#streams.has(signal.spoolId)) this.#effects.push(signal);
        return;
      default:
        signal satisfies never;
    }
  }

  #tick(nowMs: number): void {
    for (const [id, line] of [...this.#lines]) {
      for (let first = line.waiting[0]; first !== undefined && first.untilMs <= nowMs; first = line.waiting[0]) {
        line.waiting.shift();
        this.#deny(first.question, 'unreachable', mostFor(first.question.spoolId, line.last), line.last.book, nowMs);
      }
      if (this.#lines.get(id) === line && !line.shortage.trying && line.shortage.deadlineMs <= nowMs) this.#retry(line.shortage);
    }
    forgetFirst(this.#recalls, nowMs);
    forgetFirst(this.#passedOn, nowMs);
    for (const { budgetId: id, spoolId, forgetAtMs } of this.#deniedInOrder.values()) {
      if (forgetAtMs > nowMs && this.#deniedInOrder.size <= MAX_REMEMBERED) break;
      this.#forget(id, spoolId);
    }
  }

  #grant(question: Question, grants: readonly Grant[]): void {
    const { spoolId, streamId, questionId } = question;
    // A newer stream counts its questions anew.
    this.#tell(spoolId, this.#streams.get(spoolId)?.streamId === streamId ? questionId : 0, grants);
    this.#answered(question);
  }

  /** Where the stream is at another replica, that one tells the node. */
  #tell(spoolId: string, questionId: number, grants: readonly Grant[]): void {
    if (this.#streams.has(spoolId)) this.#effects.push({ type: 'grants', spoolId, questionId, grants });
    else this.#signal({ type: 'refresh', spoolId, leaseIds: grants.map(({ leaseId }) => leaseId) });
  }

  #denyShort(question: Question, attempt: Short, left: number, nowMs: number): void {
    this.#own(question, attempt);
    this.#deny(question, 'exhausted', left, attempt.book, nowMs);
  }

  /** A node that is denied must know all that it was granted: a grant may have been lost on its way, between two streams. */
  #own({ spoolId }: Question, { own }: Short): void {
    if (own !== undefined) this.#effects.push({ type: 'grants', spoolId, questionId: 0, grants: [own] });
  }

  #deny(question: Question, reason: DenialReason, left: number, book: BudgetBook, nowMs: number): void {
    const { spoolId, streamId, questionId, budget, need } = question;
    if (questionId === 0 || this.#streams.get(spoolId)?.streamId !== streamId) return;
    this.#answered(question);
    this.#effects.push({ type: 'denial', spoolId, denial: { questionId, budget, reason, left, book } });
    if (need > 0) this.#remember(question, nowMs);
  }

  #answered({ spoolId, streamId, questionId }: Question): void {
    const stream = this.#streams.get(spoolId);
    if (stream?.streamId === streamId && questionId !== 0) stream.open -= 1;
  }

  #remember(question: Question, nowMs: number): void {
    const id = budgetId(question.budget);
    this.#forget(id, question.spoolId);
    const forgetAtMs = nowMs + REMEMBERED_MS;
    const denied = this.#denied.get(id) ?? new Map<string, Denied>();
    this.#denied.set(id, denied);
    denied.set(question.spoolId, { question, forgetAtMs, trying: false });
    this.#deniedInOrder.set(deniedKey(id, question.spoolId), { budgetId: id, spoolId: question.spoolId, forgetAtMs });
  }

  #forget(id: string, spoolId: string): void {
    const denied = this.#denied.get(id);
    if (denied?.delete(spoolId) !== true) return;
    if (denied.size === 0) this.#denied.delete(id);
    this.#deniedInOrder.delete(deniedKey(id, spoolId));
  }

  #signal(signal: LeaseSignal): void {
    this.#effects.push({ type: 'signal', signal });
  }
}

function shortageOf(question: Question, trying: boolean): Shortage {
  return { question, asked: new Map(), waiting: new Map(), deadlineMs: Number.POSITIVE_INFINITY, trying, again: false };
}

/** What could be granted at most if all others gave back all that they hold. */
function mostOf({ book, others }: Short): number {
  return grantable(book) + heldBy(others);
}

/** The same for another spool than the one that tried: that one's share may come back too, and its own is not among the others'. */
function mostFor(spoolId: string, { book, others }: Short): number {
  return Math.max(0, book.limit - book.settled - heldBy(others.filter((holder) => holder.spoolId === spoolId)));
}

function heldBy(holders: readonly Holder[]): number {
  return holders.reduce((sum, { held }) => sum + held, 0);
}

function deniedKey(id: string, spoolId: string): string {
  return `${id} ${spoolId}`;
}

/** Entries are in the order of their forgetting. */
function forgetFirst(entries: Map<number, { readonly forgetAtMs: number }>, nowMs: number): void {
  for (const [key, { forgetAtMs }] of entries) {
    if (forgetAtMs > nowMs) return;
    entries.delete(key);
  }
}
