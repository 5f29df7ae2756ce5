/**
 * One life of the control plane: its streams, what it remembers between frames, and when it asks the database. The rules are
 * the real ones; only the calls to gRPC and SQL are carried out here instead.
 */
import { LeaseQuestions, type Question, type QuestionsEffect, type QuestionsInput } from '@meridian/control-plane/budgets/questions';
import { HelloAdmission } from '@meridian/control-plane/rpc/hello-admission';
import { SyncStream } from '@meridian/control-plane/rpc/sync-stream';
import { DeltaEncoder } from '@meridian/control-plane/snapshots/delta';
import { LogGapError, LogWindow } from '@meridian/control-plane/snapshots/log-window';
import { SequenceGapError } from '@meridian/control-plane/usage/batch';
import { type BudgetRef, budgetId } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import { everyLane, LANES, type Lane } from '@meridian/domain/snapshot';
import { type Books, snapshotOf } from './books.ts';
import type { Dice } from './dice.ts';
import type { LeasesDown, LeasesUp, ReportDown, ReportUp, SnapshotContent, SpoolName, SyncDown, SyncUp } from './frames.ts';
import type { Life } from './life.ts';
import type { Listener, StreamEnd, StreamHandlers } from './network.ts';
import type { Planned, Timeline } from './timeline.ts';

/** What others want to know of it. */
export interface ControlObserver {
  /** It is decided that a node gets no more of a budget, since there is no more than `left`. */
  exhausted(spoolId: string, questionId: number, budget: BudgetRef, left: number): void;
}

export interface ControlPlaneDeps {
  readonly life: Life;
  readonly timeline: Timeline;
  readonly dice: Dice;
  readonly books: Books;
  readonly observer: ControlObserver;
}

const TICK_MS = 1_000;
const SNAPSHOT_AGE_MS = 600_000;
const MAX_POLL_MS = 25;

interface SyncSession {
  readonly end: StreamEnd<SyncDown>;
  readonly stream: SyncStream;
  nodeId: string | undefined;
  release: () => void;
  ended: boolean;
}

interface LeaseSession {
  readonly end: StreamEnd<LeasesDown>;
  readonly streamId: number;
  spool: SpoolName | undefined;
  open: boolean;
  ended: boolean;
}

export class ControlPlane {
  readonly #deps: ControlPlaneDeps;
  readonly #questions: LeaseQuestions;
  readonly #deltas: DeltaEncoder;
  readonly #admission: HelloAdmission;
  readonly #syncs = new Set<SyncSession>();
  readonly #reports = new Map<StreamEnd<ReportDown>, SpoolName>();
  /** By spool. */
  readonly #leases = new Map<string, LeaseSession>();
  #windows: Record<Lane, LogWindow>;
  #tailEpoch: string;
  #snapshot: (SnapshotContent & { readonly builtMs: number }) | undefined;
  #polling = false;
  #streamCount = 0;
  #questionTick: Planned | undefined;
  #tick: Planned | undefined;
  #countedMs: number;
  /** Heartbeats are left out: nothing but time goes by. */
  quiet = false;

  constructor(deps: ControlPlaneDeps) {
    this.#deps = deps;
    const { timeline, dice, books } = deps;
    this.#windows = this.#loadWindows();
    this.#tailEpoch = books.dbEpoch;
    this.#deltas = new DeltaEncoder((lane) => this.#windows[lane]);
    this.#admission = new HelloAdmission(timeline.nowMs);
    this.#questions = new LeaseQuestions({ newRecallId: () => dice.between(1, 2 ** 40), frozen: () => books.frozen });
    this.#countedMs = timeline.nowMs;
    this.#planTick();
  }

  get life(): Life {
    return this.#deps.life;
  }

  get sync(): Listener<SyncUp, SyncDown> {
    return { life: this.life, accept: (end) => this.#acceptSync(end) };
  }

  get report(): Listener<ReportUp, ReportDown> {
    return { life: this.life, accept: (end) => this.#acceptReport(end) };
  }

  get lease(): Listener<LeasesUp, LeasesDown> {
    return { life: this.life, accept: (end) => this.#acceptLeases(end) };
  }

  /** Something was published: the tail reads it within its interval. */
  published(): void {
    if (this.#polling) return;
    this.#polling = true;
    this.life.after(this.#deps.dice.between(0, MAX_POLL_MS), 'polls the log', () => {
      this.#polling = false;
      this.#poll();
    });
  }

  /** Limits have changed. */
  limitsChanged({ raised, lowered }: { readonly raised: readonly string[]; readonly lowered: readonly string[] }): void {
    for (const id of lowered) this.recall(id);
    if (raised.length > 0) this.#ask({ type: 'room', budgetIds: raised });
  }

  /** Asks all holders of a budget to give back what is free. */
  recall(id: string): void {
    const holders = this.#deps.books.holders(id);
    if (holders.length > 0) this.#ask({ type: 'recall_all', budgetId: id, holders });
  }

  /** Counts how long spools are silent, and gives up those that were for a day. */
  countSilence(): void {
    const { timeline, books } = this.#deps;
    const passedMs = timeline.nowMs - this.#countedMs;
    this.#countedMs = timeline.nowMs;
    const connected = new Set([...this.#leases.keys(), ...[...this.#reports.values()].map((spool) => spool.spoolId)]);
    for (const { spoolId, leaseIds } of books.countSilence(timeline.nowMs, passedMs, connected)) {
      if (leaseIds.length > 0) this.#ask({ type: 'closed', spoolId, leaseIds });
    }
  }

  #planTick(): void {
    this.#tick = this.life.after(TICK_MS, 'ticks', () => {
      this.#planTick();
      if (this.quiet) return;
      this.#second();
    });
  }

  /** The next second, after a time without ticks. */
  resume(): void {
    this.#tick?.cancel();
    this.quiet = false;
    this.#planTick();
  }

  pause(): void {
    this.#tick?.cancel();
    this.quiet = true;
  }

  #second(): void {
    const { books, timeline } = this.#deps;
    const heads = this.#heads();
    for (const session of [...this.#syncs]) {
      if (session.nodeId === undefined) continue;
      session.stream.check();
      if (!session.ended) session.end.send({ kind: 'heartbeat', heads });
    }
    this.countSilence();
    this.#ask({ type: 'tick' });
    for (const { spoolId, leaseIds } of books.closeEmptied(timeline.nowMs)) this.#ask({ type: 'closed', spoolId, leaseIds });
    books.publishBalances(timeline.nowMs);
    this.published();
  }

  // Sync

  #acceptSync(end: StreamEnd<SyncDown>): StreamHandlers<SyncUp> {
    const session: SyncSession = {
      end,
      stream: new SyncStream({
        outlet: {
          write: (frame) => {
            end.send({ kind: 'delta', frame });
            return true;
          },
        },
        window: (lane) => this.#windows[lane],
        delta: (lane, prevRev) => this.#deltas.after(lane, prevRev),
        clock: { nowMs: () => this.#deps.timeline.nowMs },
        onSent: () => undefined,
        onApplied: () => undefined,
        onSnapshotApplied: () => session.release(),
        onResync: (reason) => {
          end.send({ kind: 'resync_required', reason });
          this.#endSync(session);
        },
      }),
      nodeId: undefined,
      release: () => undefined,
      ended: false,
    };
    this.#syncs.add(session);
    return {
      receive: (frame) => this.#syncFrame(session, frame),
      ended: () => this.#endSync(session),
    };
  }

  #syncFrame(session: SyncSession, frame: SyncUp): void {
    if (session.ended) return;
    switch (frame.kind) {
      case 'hello':
        session.nodeId = frame.nodeId;
        this.#later('welcomes', () => this.#hello(session, frame));
        return;
      case 'sync_ack': {
        const wrong = session.stream.acknowledge(frame.lane, frame.rev);
        if (wrong !== undefined) session.stream.resync(wrong);
        return;
      }
      case 'fetch':
        if (this.#snapshot?.id === frame.snapshotId) session.end.send({ kind: 'snapshot', content: this.#snapshot });
        this.#endSync(session);
        return;
      default:
        frame satisfies never;
    }
  }

  #hello(session: SyncSession, hello: Extract<SyncUp, { kind: 'hello' }>): void {
    if (session.ended) return;
    const { timeline, books } = this.#deps;
    const retryMs = this.#admission.hello(timeline.nowMs);
    if (retryMs !== undefined) {
      this.#goaway(session, retryMs, 'too many nodes come back at once');
      return;
    }
    const resume = this.#resumable(hello);
    if (resume === undefined) {
      const place = this.#admission.snapshot();
      if (typeof place === 'number') {
        this.#goaway(session, place, 'too many nodes take a snapshot');
        return;
      }
      session.release = place;
    }
    for (const other of [...this.#syncs]) if (other !== session && other.nodeId === hello.nodeId) this.#endSync(other);
    session.end.send({ kind: 'welcome', dbEpoch: this.#tailEpoch });
    if (resume !== undefined) {
      session.stream.follow(resume);
      return;
    }
    if (
      this.#snapshot === undefined ||
      timeline.nowMs - this.#snapshot.builtMs > SNAPSHOT_AGE_MS ||
      this.#snapshot.dbEpoch !== books.dbEpoch
    ) {
      this.#snapshot = { id: this.#deps.dice.hex(16), dbEpoch: books.dbEpoch, builtMs: timeline.nowMs, ...snapshotOf(books) };
    }
    session.end.send({ kind: 'snapshot_ref', snapshot: this.#snapshot });
    session.stream.fetch(this.#snapshot.heads);
  }

  #resumable({ dbEpoch, cursors }: Extract<SyncUp, { kind: 'hello' }>): Record<Lane, number> | undefined {
    if (dbEpoch !== this.#tailEpoch || LANES.some((lane) => cursors[lane] === undefined)) return undefined;
    const at = everyLane((lane) => cursors[lane] ?? 0);
    return LANES.some((lane) => at[lane] < this.#windows[lane].base || at[lane] > this.#windows[lane].head) ? undefined : at;
  }

  #goaway(session: SyncSession, retryAfterMs: number, reason: string): void {
    session.end.send({ kind: 'goaway', retryAfterMs, reason });
    this.#endSync(session);
  }

  #endSync(session: SyncSession): void {
    if (session.ended) return;
    session.ended = true;
    session.stream.end();
    session.release();
    this.#syncs.delete(session);
    session.end.close();
  }

  #heads(): Record<Lane, number> {
    return everyLane((lane) => this.#windows[lane].head);
  }

  #poll(): void {
    const { books } = this.#deps;
    if (books.dbEpoch !== this.#tailEpoch || LANES.some((lane) => books.head(lane) < this.#windows[lane].head)) {
      this.#resetTail();
      return;
    }
    for (const lane of LANES) {
      const window = this.#windows[lane];
      const head = books.head(lane);
      if (head === window.head) continue;
      try {
        window.append(this.#rows(lane, window.head, head));
      } catch (error) {
        if (!(error instanceof LogGapError)) throw error;
        this.#resetTail();
        return;
      }
      for (const session of [...this.#syncs]) session.stream.pump();
    }
  }

  #resetTail(): void {
    this.#windows = this.#loadWindows();
    this.#tailEpoch = this.#deps.books.dbEpoch;
    this.#deltas.clear();
    for (const session of [...this.#syncs]) if (session.nodeId !== undefined) session.stream.resync('the log starts anew');
  }

  #loadWindows(): Record<Lane, LogWindow> {
    const { books } = this.#deps;
    const open = (lane: Lane): LogWindow => {
      const head = books.head(lane);
      // A short tail, so that nodes fall out of it.
      const rows = this.#rows(lane, Math.max(0, head - 60), head);
      const window = new LogWindow(head - rows.length, { maxBytes: 16 * 1024, coalesces: lane === 'bulk' });
      window.append(rows);
      return window;
    };
    return everyLane(open);
  }

  #rows(lane: Lane, after: number, upto: number) {
    const rows = [];
    for (let rev = after + 1; rev <= upto; rev++) {
      const row = this.#deps.books.logRow(lane, rev);
      if (row !== undefined) rows.push(row);
    }
    return rows;
  }

  // Report

  #acceptReport(end: StreamEnd<ReportDown>): StreamHandlers<ReportUp> {
    const { books, timeline } = this.#deps;
    const queue: ReportUp[] = [];
    let opened: Extract<ReportUp, { kind: 'report_open' }> | undefined;
    let busy = false;
    let ended = false;
    const finish = (): void => {
      ended = true;
      this.#reports.delete(end);
      end.close();
    };
    const open = (frame: Extract<ReportUp, { kind: 'report_open' }>): void => {
      opened = frame;
      const answer = books.openReport(timeline.nowMs, frame, frame.retained);
      if (answer === undefined) {
        finish();
        return;
      }
      this.life.effect();
      if (ended) return;
      this.#reports.set(end, frame);
      end.send({ kind: 'report_opened', dbEpoch: books.dbEpoch, acked: answer.acked });
    };
    const ingest = ({ batch }: Extract<ReportUp, { kind: 'batch' }>): void => {
      if (opened === undefined) {
        finish();
        return;
      }
      try {
        const result = books.ingest(timeline.nowMs, opened, batch, opened.retained);
        this.life.effect();
        for (const each of result.closed) this.#ask({ type: 'closed', ...each });
        if (result.roomIn.length > 0) this.#ask({ type: 'room', budgetIds: result.roomIn, givenBackBy: opened.spoolId });
        if (!ended) end.send({ kind: 'usage_ack', incarnation: batch.incarnation, ackedSeq: result.ackedSeq });
      } catch (error) {
        if (!(error instanceof SequenceGapError)) throw error;
        finish();
      }
    };
    const pump = (): void => {
      const next = queue.shift();
      if (next === undefined || busy) {
        if (next !== undefined) queue.unshift(next);
        return;
      }
      busy = true;
      // A batch that has arrived is committed although its stream has ended.
      this.#later(next.kind === 'batch' ? 'ingests' : 'opens a report', () => {
        busy = false;
        if (next.kind === 'batch') ingest(next);
        else open(next);
        pump();
      });
    };
    return {
      receive: (frame) => {
        queue.push(frame);
        pump();
      },
      ended: () => {
        ended = true;
        queue.length = 0;
        this.#reports.delete(end);
      },
    };
  }

  // Leases

  #acceptLeases(end: StreamEnd<LeasesDown>): StreamHandlers<LeasesUp> {
    const session: LeaseSession = { end, streamId: ++this.#streamCount, spool: undefined, open: false, ended: false };
    return {
      receive: (frame) => this.#leasesFrame(session, frame),
      ended: () => this.#endLeases(session),
    };
  }

  #leasesFrame(session: LeaseSession, frame: LeasesUp): void {
    const { spool } = session;
    switch (frame.kind) {
      case 'leases_open':
        session.spool = frame;
        return;
      case 'declaration':
        this.#later('takes a declaration', () => this.#declared(session, frame.leases));
        return;
      case 'question': {
        if (spool === undefined || !session.open) return;
        const { questionId, budget, need, want, ratePer30s } = frame;
        const question: Question = { spoolId: spool.spoolId, streamId: session.streamId, questionId, budget, need, want, ratePer30s };
        this.#ask({ type: 'question', question });
        return;
      }
      case 'recall_answer':
        if (spool !== undefined && session.open) {
          this.#ask({ type: 'recall_answered', spoolId: spool.spoolId, recallId: Number(frame.recallId) });
        }
        return;
      default:
        frame satisfies never;
    }
  }

  #declared(session: LeaseSession, leases: readonly LeaseRecord[]): void {
    const { spool } = session;
    if (spool === undefined) return;
    const { books, timeline } = this.#deps;
    const { closed, open } = books.declare(timeline.nowMs, spool, leases);
    this.life.effect();
    if (session.ended) return;
    const before = this.#leases.get(spool.spoolId);
    if (before !== undefined) this.#endLeases(before);
    this.#leases.set(spool.spoolId, session);
    session.open = true;
    session.end.send({ kind: 'leases_opened', dbEpoch: books.dbEpoch, frozen: books.frozen });
    for (const leaseId of closed) session.end.send({ kind: 'lease_closed', leaseId });
    if (open.length > 0) session.end.send({ kind: 'grants', questionId: 0, grants: open });
    this.#ask({ type: 'connected', spoolId: spool.spoolId, streamId: session.streamId });
  }

  #endLeases(session: LeaseSession): void {
    if (session.ended) return;
    session.ended = true;
    const { spool } = session;
    session.end.close();
    if (spool === undefined || this.#leases.get(spool.spoolId) !== session) return;
    this.#leases.delete(spool.spoolId);
    this.#ask({ type: 'disconnected', spoolId: spool.spoolId, streamId: session.streamId });
  }

  #ask(input: QuestionsInput): void {
    const effects = this.#questions.step(input, this.#deps.timeline.nowMs);
    for (const effect of effects) this.#carryOut(effect);
    this.#planQuestionTick();
  }

  #planQuestionTick(): void {
    this.#questionTick?.cancel();
    const atMs = this.#questions.nextDeadlineMs;
    if (atMs === undefined) return;
    const delayMs = Math.max(0, atMs - this.#deps.timeline.nowMs);
    this.#questionTick = this.life.after(delayMs, 'ticks for questions', () => this.#ask({ type: 'tick' }));
  }

  #carryOut(effect: QuestionsEffect): void {
    const { books, timeline, observer } = this.#deps;
    switch (effect.type) {
      case 'attempt': {
        const { question } = effect;
        this.#later(`tries ${budgetId(question.budget)}`, () => {
          const attempt = books.tryGrant(timeline.nowMs, question);
          this.life.effect();
          this.#ask({ type: 'attempted', question, attempt });
        });
        return;
      }
      case 'grants':
        this.#tell(effect.spoolId, { kind: 'grants', questionId: effect.questionId, grants: effect.grants });
        return;
      case 'denial': {
        const { questionId, budget, reason, left, book } = effect.denial;
        if (reason === 'exhausted') observer.exhausted(effect.spoolId, questionId, budget, left);
        this.#tell(effect.spoolId, { kind: 'denial', denial: { questionId, budget, reason, left, limit: book.limit } });
        return;
      }
      case 'recall':
        if (effect.retire) books.retire(timeline.nowMs, effect.leaseId);
        this.#tell(effect.spoolId, { kind: 'recall', recallId: BigInt(effect.recallId), leaseId: effect.leaseId, retire: effect.retire });
        return;
      case 'closed':
        for (const leaseId of effect.leaseIds) this.#tell(effect.spoolId, { kind: 'lease_closed', leaseId });
        return;
      case 'refresh':
        this.#later('reads leases', () => {
          const grants = books.openLeases(effect.spoolId).filter((grant) => effect.leaseIds.includes(grant.leaseId));
          if (grants.length > 0) this.#tell(effect.spoolId, { kind: 'grants', questionId: 0, grants });
        });
        return;
      case 'cut': {
        const session = this.#leases.get(effect.spoolId);
        if (session !== undefined) this.#endLeases(session);
        return;
      }
      case 'signal':
        // There is one replica.
        return;
      default:
        effect satisfies never;
    }
  }

  #tell(spoolId: string, frame: LeasesDown): void {
    const session = this.#leases.get(spoolId);
    if (session?.open === true) session.end.send(frame);
  }

  /** The time that a transaction takes; it runs at its commit. */
  #later(label: string, run: () => void): void {
    const { dice } = this.#deps;
    this.life.after(1 + Math.floor(dice.exponential(2)), label, run);
  }
}
