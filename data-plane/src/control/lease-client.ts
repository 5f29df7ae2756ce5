/**
 * The node's end of `Leases`: carries what the lease desk asks to the control plane, and back what it grants.
 *
 * A stream's life: *connecting* (Open, the declaration of every lease that the spool knows, 5 s to be answered) → *open* →
 * broken, then a pause with full jitter. The desk is told when a stream is open and when it no longer is; nothing else is
 * remembered of a broken stream, since the next one begins with all counters of both sides.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { budgetRefToWire, leaseRecordToWire } from '@meridian/wire/codec/lease';
import { WireFormatError } from '@meridian/wire/codec/wire-format-error';
import { LeaseService, type LeasesRequest, LeasesRequestSchema, type LeasesResponse } from '@meridian/wire/gen/lease_pb';
import type { LeaseEffects } from '../admission/grants.ts';
import type { LeaseDesk } from '../admission/lease-desk.ts';
import type { LeaseSink } from '../metering/usage-sink.ts';
import { type After, afterTimeout } from './after.ts';
import { Backoff, type BackoffLimits } from './backoff.ts';
import { ControlStream } from './control-stream.ts';
import { drained } from './drained.ts';
import { type LeaseInput, readLeaseFrame } from './lease-frame.ts';

export interface LeaseClientLimits extends BackoffLimits {
  readonly declarationLeases: number;
  readonly connectMs: number;
  /** Frames that may wait for a control plane which takes none, before the stream counts as dead. */
  readonly queuedFrames: number;
}

const LEASE_CLIENT_LIMITS: LeaseClientLimits = {
  declarationLeases: 1000,
  connectMs: 5000,
  queuedFrames: 10_000,
  leastBackoffMs: 200,
  mostBackoffMs: 10_000,
};

export interface LeaseClientOptions {
  /** host:port */
  readonly address: string;
  readonly joinToken: string;
  readonly nodeId: string;
  readonly region: string;
  readonly spool: LeaseSink & { readonly spoolId: string; readonly incarnation: bigint };
  /** Of the picture that the node holds; empty when it has none. */
  readonly dbEpoch: () => string;
  /** What is in the spool is wanted at the control plane without delay. */
  readonly hurry: () => void;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
  readonly log: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  readonly limits?: Partial<LeaseClientLimits>;
  /** The process's clock when absent; the one that admission reads. */
  readonly clock?: { nowMs(): number };
  /** Timers of the process when absent. */
  readonly after?: After;
}

/** Who is told what the control plane says; the lease desk. */
export type LeaseListener = Pick<LeaseDesk, 'opened' | 'disconnected' | 'grants' | 'denial' | 'recall' | 'closed' | 'tick'>;

export interface LeaseClientStatus {
  readonly connected: boolean;
  readonly streamsOpened: number;
  readonly streamsBroken: number;
  readonly questions: number;
  readonly grants: number;
  readonly denials: number;
  readonly recalls: number;
  readonly unreadableFrames: number;
  /** When a grant or a denial came last. */
  readonly lastAnswerAtMs: number | undefined;
}

/** Above 24.8 days a timer of the process would fire at once. The desk does not mind being woken early: it asks again. */
const MAX_TIMER_MS = 2 ** 31 - 1;

type Frame = NonNullable<MessageInitShape<typeof LeasesRequestSchema>['frame']>;

interface Session {
  readonly control: ControlStream<typeof LeaseService, LeasesRequest, LeasesResponse>;
  readonly dbEpoch: string;
  isOpen: boolean;
}

/** Makes the desk's effects happen from the start on; connects with `start`. Never throws and never gives up: what goes wrong is told and tried again. */
export class LeaseClient {
  readonly effects: LeaseEffects;
  readonly #options: LeaseClientOptions;
  readonly #limits: LeaseClientLimits;
  readonly #clock: { nowMs(): number };
  readonly #after: After;
  readonly #backoff: Backoff;
  #desk: LeaseListener | undefined;
  #session: Session | undefined;
  #closed = false;
  /** As the control plane said it last: newer than the picture's for a while after a restore. */
  #dbEpoch = '';
  #unwritten = 0;
  #cancelRetry: () => void = () => undefined;
  #cancelWake: () => void = () => undefined;
  readonly #counts = { streamsOpened: 0, streamsBroken: 0, questions: 0, grants: 0, denials: 0, recalls: 0, unreadableFrames: 0 };
  #lastAnswerAtMs: number | undefined;

  constructor(options: LeaseClientOptions) {
    this.#options = options;
    this.#limits = { ...LEASE_CLIENT_LIMITS, ...options.limits };
    this.#clock = options.clock ?? { nowMs: Date.now };
    this.#after = options.after ?? afterTimeout;
    this.#backoff = new Backoff(this.#limits, options.random);
    this.effects = {
      write: (record, written) => {
        this.#unwritten++;
        options.spool.lease(record, (error, seq) => {
          this.#unwritten--;
          written(error, seq, this.#clock.nowMs());
        });
      },
      ask: (question) => {
        if (this.#session?.isOpen !== true) return;
        this.#counts.questions++;
        const { questionId, budget, need, want, ratePer30s } = question;
        this.#send(this.#session, {
          case: 'question',
          value: {
            questionId: BigInt(questionId),
            budget: budgetRefToWire(budget),
            need: BigInt(need),
            want: BigInt(want),
            ratePer30s: BigInt(ratePer30s),
          },
        });
      },
      answerRecall: (answer) => {
        // The next stream has recalls of its own.
        if (this.#session?.isOpen === true) this.#send(this.#session, { case: 'recallAnswer', value: answer });
      },
      hurry: options.hurry,
      wakeAt: (atMs) => this.#wakeAt(atMs),
    };
  }

  start(desk: LeaseListener): void {
    this.#desk = desk;
    desk.tick(this.#clock.nowMs());
    this.#connect();
  }

  /** Records of the desk that the spool has not answered yet. */
  get unwritten(): number {
    return this.#unwritten;
  }

  /** Ends the stream; the desk is told. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelRetry();
    this.#endSession();
    this.#cancelWake();
  }

  status(): LeaseClientStatus {
    return { connected: this.#session?.isOpen === true, ...this.#counts, lastAnswerAtMs: this.#lastAnswerAtMs };
  }

  #connect(): void {
    const { spool, nodeId, region, joinToken, address } = this.#options;
    const control: Session['control'] = new ControlStream({
      service: LeaseService,
      address,
      joinToken,
      call: (calls, metadata) => calls.leases(metadata),
      received: (response) => this.#receive(session, response),
      broken: (error) => this.#break(session, error),
      after: this.#after,
    });
    const dbEpoch = this.#dbEpoch === '' ? this.#options.dbEpoch() : this.#dbEpoch;
    const session: Session = { control, dbEpoch, isOpen: false };
    this.#session = session;
    this.#send(session, { case: 'open', value: { nodeId, region, spoolId: spool.spoolId, incarnation: spool.incarnation, dbEpoch } });
    this.#declare(session).catch((error: unknown) => this.#break(session, error));
  }

  /** What the spool knows at this moment: whatever the desk writes later travels in the spool. */
  async #declare(session: Session): Promise<void> {
    const leases = this.#options.spool.leases();
    const size = this.#limits.declarationLeases;
    for (let at = 0; at === 0 || at < leases.length; at += size) {
      // A connection that gets no SETTINGS would hang for ever.
      if (!session.isOpen) session.control.watch(this.#limits.connectMs, 'the control plane did not answer');
      const value = { leases: leases.slice(at, at + size).map(leaseRecordToWire), last: at + size >= leases.length };
      const room = this.#send(session, { case: 'declaration', value });
      if (!room && session === this.#session) await drained(session.control.stream);
      if (session !== this.#session) return;
      // Many leases are encoded in turns, so that the node keeps answering meanwhile.
      if (!value.last) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #receive(session: Session, response: LeasesResponse): void {
    let input: LeaseInput | undefined;
    try {
      input = readLeaseFrame(response);
    } catch (error) {
      if (!(error instanceof WireFormatError)) throw error;
      this.#counts.unreadableFrames++;
      this.#options.log('a frame about leases could not be read', { frame: response.frame.case, err: error });
      return;
    }
    if (input === undefined) this.#counts.unreadableFrames++;
    else if (input.type === 'opened') this.#opened(session, input.dbEpoch, input.frozen);
    else if (session.isOpen) this.#tell(input);
  }

  #opened(session: Session, dbEpoch: string, frozen: boolean): void {
    session.control.unwatch();
    this.#dbEpoch = dbEpoch;
    if (session.dbEpoch !== '' && dbEpoch !== session.dbEpoch) {
      // Another history of leases: what was said as of the old one is said again. After a pause: replicas that do not all know
      // of the new epoch yet would send each node to and fro as fast as it can connect.
      this.#options.log('the leases are declared to a database of another epoch', { was: session.dbEpoch, dbEpoch });
      this.#break(session, new Error(`the database is of epoch ${dbEpoch}`));
      return;
    }
    session.isOpen = true;
    this.#backoff.succeeded();
    this.#counts.streamsOpened++;
    this.#options.log('leases open', { spoolId: this.#options.spool.spoolId, frozen });
    this.#desk?.opened({ dbEpoch, frozen }, this.#clock.nowMs());
  }

  #tell(input: Exclude<LeaseInput, { readonly type: 'opened' }>): void {
    const nowMs = this.#clock.nowMs();
    switch (input.type) {
      case 'grants':
        if (input.questionId !== 0) this.#lastAnswerAtMs = nowMs;
        this.#counts.grants += input.grants.length;
        this.#desk?.grants(input.grants, input.questionId, nowMs);
        break;
      case 'denial':
        this.#lastAnswerAtMs = nowMs;
        this.#counts.denials++;
        this.#desk?.denial(input.denial, nowMs);
        break;
      case 'recall':
        this.#counts.recalls++;
        this.#desk?.recall(input.recall, nowMs);
        break;
      case 'closed':
        this.#desk?.closed(input.leaseId, nowMs);
        break;
      default:
        input satisfies never;
    }
  }

  /** Returns whether the stream takes more; one that has taken nothing for long is broken. */
  #send(session: Session, frame: Frame): boolean {
    if (session.control.stream.writableLength >= this.#limits.queuedFrames) {
      this.#break(session, new Error('the control plane takes no frames'));
      return false;
    }
    return session.control.stream.write(create(LeasesRequestSchema, { frame }));
  }

  #wakeAt(atMs: number | undefined): void {
    this.#cancelWake();
    this.#cancelWake = () => undefined;
    if (atMs === undefined || this.#closed) return;
    const delayMs = Math.min(Math.max(0, atMs - this.#clock.nowMs()), MAX_TIMER_MS);
    this.#cancelWake = this.#after(delayMs, () => this.#desk?.tick(this.#clock.nowMs()));
  }

  #break(session: Session, error: unknown): void {
    if (session !== this.#session || this.#closed) return;
    this.#endSession();
    this.#counts.streamsBroken++;
    const delayMs = this.#backoff.failed();
    this.#options.log('leases broken', { err: error, delayMs: Math.round(delayMs) });
    this.#cancelRetry = this.#after(delayMs, () => this.#connect());
  }

  #endSession(): void {
    const session = this.#session;
    if (session === undefined) return;
    this.#session = undefined;
    session.control.end();
    if (session.isOpen) this.#desk?.disconnected(this.#clock.nowMs());
  }
}
