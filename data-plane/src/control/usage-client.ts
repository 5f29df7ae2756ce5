/**
 * Uploads the spool: one `Report` stream, batches up, acknowledgements down, and a new stream whenever the old one breaks.
 *
 * A stream's life: *connecting* (5 s to be answered) → *open* → broken, then a pause with full jitter. Nothing is remembered
 * of a broken stream: the next one goes on from the control plane's cursors.
 */
import { create } from '@bufbuild/protobuf';
import { usageBatchToWire } from '@meridian/wire/codec/usage-batch';
import {
  type ReportOpened,
  type ReportRequest,
  ReportRequestSchema,
  type ReportResponse,
  type UsageAck,
  UsageService,
} from '@meridian/wire/gen/usage_pb';
import { SHIPPER_LIMITS, Shipper, type ShipperLimits } from '../metering/spool/shipper.ts';
import type { Spool } from '../metering/spool/spool.ts';
import { type After, afterTimeout } from './after.ts';
import { Backoff, type BackoffLimits } from './backoff.ts';
import { ControlStream } from './control-stream.ts';
import { drained } from './drained.ts';

export interface UsageClientLimits extends ShipperLimits, BackoffLimits {
  readonly batchRecords: number;
  /** As the finals lie in the spool: their gzip stays under 256 KiB. */
  readonly batchBytes: number;
  readonly connectMs: number;
  /** How long batches in flight may wait for an acknowledgement before the stream counts as dead. */
  readonly ackMs: number;
}

const USAGE_CLIENT_LIMITS: UsageClientLimits = {
  ...SHIPPER_LIMITS,
  batchRecords: 1000,
  batchBytes: 384 * 1024,
  connectMs: 5000,
  ackMs: 30_000,
  leastBackoffMs: 200,
  mostBackoffMs: 10_000,
};

export interface UsageClientOptions {
  readonly spool: Spool;
  /** host:port */
  readonly address: string;
  readonly joinToken: string;
  readonly nodeId: string;
  readonly region: string;
  /** Told of all that the control plane has of this boot's records, also when a stream opens. */
  readonly onAcknowledged?: (seq: number) => void;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
  readonly log: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  readonly limits?: Partial<UsageClientLimits>;
  /** The process's clock when absent. */
  readonly clock?: { nowMs(): number };
  /** Timers of the process when absent. */
  readonly after?: After;
}

export interface UsageClientStatus {
  readonly connected: boolean;
  readonly inFlightBatches: number;
  /** Durable seqs that the control plane has not acknowledged. */
  readonly unackedSeqs: number;
  readonly streamsOpened: number;
  readonly streamsBroken: number;
  readonly lastAckAtMs: number | undefined;
}

export interface UsageClient {
  /** Uploads without delay until all that the spool holds is acknowledged: true; or until the time (ms from now) is over: false. */
  drain(deadlineMs: number): Promise<boolean>;
  /** What is written by now waits for no company: somebody waits for it. */
  hurry(): void;
  /** Ends the stream; nothing is uploaded any more. Idempotent. */
  close(): void;
  status(): UsageClientStatus;
}

/** Starts to upload. Never throws and never gives up: what goes wrong is logged and tried again. */
export function startUsageClient(options: UsageClientOptions): UsageClient {
  const client = new ReportingClient(options);
  client.start();
  return client;
}

type Session = ControlStream<typeof UsageService, ReportRequest, ReportResponse>;

class ReportingClient implements UsageClient {
  readonly #options: UsageClientOptions;
  readonly #limits: UsageClientLimits;
  readonly #clock: { nowMs(): number };
  readonly #after: After;
  readonly #backoff: Backoff;
  readonly #shipper: Shipper;
  #session: Session | undefined;
  #closed = false;
  #streamsOpened = 0;
  #streamsBroken = 0;
  #lastAckAtMs: number | undefined;
  #pumping = false;
  #pumpAgain = false;
  #cancelRetry: () => void = () => undefined;
  #cancelWait: () => void = () => undefined;
  #stopListening: () => void = () => undefined;
  readonly #drains = new Set<(drained: boolean) => void>();

  constructor(options: UsageClientOptions) {
    this.#options = options;
    this.#limits = { ...USAGE_CLIENT_LIMITS, ...options.limits };
    this.#clock = options.clock ?? { nowMs: Date.now };
    this.#after = options.after ?? afterTimeout;
    this.#backoff = new Backoff(this.#limits, options.random);
    this.#shipper = new Shipper(this.#limits);
  }

  start(): void {
    this.#stopListening = this.#options.spool.onDurable((seq, awaitedSeq) => {
      this.#shipper.durable(this.#clock.nowMs(), seq, awaitedSeq);
      this.#pump();
    });
    this.#connect();
  }

  drain(deadlineMs: number): Promise<boolean> {
    this.#shipper.hurry();
    if (this.#isDrained() || this.#closed) return Promise.resolve(this.#isDrained());
    if (this.#session === undefined) {
      // No time for a pause.
      this.#cancelRetry();
      this.#connect();
    }
    this.#pump();
    return new Promise((resolve) => {
      const finish = (drained: boolean) => {
        cancelDeadline();
        this.#drains.delete(finish);
        resolve(drained);
      };
      const cancelDeadline = this.#after(deadlineMs, () => finish(this.#isDrained()));
      this.#drains.add(finish);
    });
  }

  hurry(): void {
    this.#shipper.hurry(this.#options.spool.lastSeq);
    this.#pump();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopListening();
    this.#cancelRetry();
    this.#cancelWait();
    this.#endSession();
    for (const finish of [...this.#drains]) finish(this.#isDrained());
  }

  status(): UsageClientStatus {
    return {
      connected: this.#shipper.isOpen,
      inFlightBatches: this.#shipper.inFlight,
      unackedSeqs: this.#options.spool
        .incarnations()
        .reduce((sum, range) => sum + Math.max(0, range.lastSeq - this.#options.spool.ackedSeq(range.incarnation)), 0),
      streamsOpened: this.#streamsOpened,
      streamsBroken: this.#streamsBroken,
      lastAckAtMs: this.#lastAckAtMs,
    };
  }

  #connect(): void {
    const { spool, nodeId, region, joinToken, address } = this.#options;
    const session: Session = new ControlStream({
      service: UsageService,
      address,
      joinToken,
      call: (calls, metadata) => calls.report(metadata),
      received: (response) => this.#receive(session, response),
      broken: (error) => this.#break(session, error),
      after: this.#after,
    });
    this.#session = session;
    // A connection that gets no SETTINGS would hang for ever.
    session.watch(this.#limits.connectMs, 'the control plane did not answer');
    const ranges = spool.incarnations();
    this.#shipper.open(ranges);
    const incarnations = ranges.map((range) => ({
      incarnation: range.incarnation,
      firstSeq: BigInt(range.firstSeq),
      lastSeq: BigInt(range.lastSeq),
      ackedSeq: BigInt(spool.ackedSeq(range.incarnation)),
    }));
    const replacesSpoolId = spool.replacesSpoolId ?? '';
    const open = { nodeId, region, spoolId: spool.spoolId, replacesSpoolId, dbEpoch: spool.dbEpoch, incarnations };
    session.stream.write(create(ReportRequestSchema, { frame: { case: 'open', value: open } }));
  }

  #receive(session: Session, { frame }: ReportResponse): void {
    if (frame.case === 'opened') this.#opened(session, frame.value);
    else if (frame.case === 'ack') this.#acknowledged(session, frame.value);
  }

  #opened(session: Session, opened: ReportOpened): void {
    const { spool, log } = this.#options;
    session.unwatch();
    this.#streamsOpened++;
    const acked = new Map(opened.acked.map((cursor) => [cursor.incarnation, Number(cursor.ackedSeq)]));
    for (const { incarnation, ackedSeq, lostSeqs } of this.#shipper.opened(acked)) {
      if (lostSeqs > 0)
        log('usage records are gone that the control plane lacks', { incarnation: String(incarnation), ackedSeq, lostSeqs });
      if (ackedSeq < spool.ackedSeq(incarnation)) spool.rewind(incarnation, ackedSeq);
      else spool.acknowledge(incarnation, ackedSeq);
    }
    // Only now: what was acknowledged in another epoch must never be told as this one's.
    spool.enterEpoch(opened.dbEpoch);
    this.#tellAcknowledged();
    log('usage upload open', { spoolId: spool.spoolId, unackedSeqs: this.#shipper.unackedSeqs });
    this.#finishDrains();
    this.#pump();
  }

  #acknowledged(session: Session, ack: UsageAck): void {
    const seq = Number(ack.ackedSeq);
    switch (this.#shipper.acknowledged(ack.incarnation, seq)) {
      case 'ahead':
        this.#break(session, new Error(`an acknowledgement of ${seq}, which was not sent`));
        return;
      case 'stale':
        return;
      case 'advanced':
        this.#backoff.succeeded();
        this.#lastAckAtMs = this.#clock.nowMs();
        this.#options.spool.acknowledge(ack.incarnation, seq);
        this.#tellAcknowledged();
        this.#watchAck(session);
        this.#finishDrains();
        this.#pump();
    }
  }

  #tellAcknowledged(): void {
    const { spool, onAcknowledged } = this.#options;
    onAcknowledged?.(spool.ackedSeq(spool.incarnation));
  }

  /** Sends what may be sent; one at a time, in order. */
  #pump(): void {
    const session = this.#session;
    if (session === undefined) return;
    if (this.#pumping) {
      this.#pumpAgain = true;
      return;
    }
    this.#pumping = true;
    this.#send(session)
      .catch((error: unknown) => this.#break(session, error))
      .finally(() => {
        this.#pumping = false;
        if (!this.#pumpAgain) return;
        this.#pumpAgain = false;
        this.#pump();
      });
  }

  async #send(session: Session): Promise<void> {
    const { spool } = this.#options;
    const limits = { maxRecords: this.#limits.batchRecords, maxBytes: this.#limits.batchBytes };
    this.#cancelWait();
    for (;;) {
      const step = this.#shipper.next(this.#clock.nowMs());
      if (session !== this.#session || step.kind === 'idle') return;
      if (step.kind === 'wait') {
        this.#cancelWait = this.#after(step.waitMs, () => this.#pump());
        return;
      }
      const batch = await spool.readFrom(step.incarnation, step.fromSeq, limits);
      if (batch === undefined) throw new Error(`seq ${step.fromSeq} of the spool cannot be read`);
      const message = await usageBatchToWire(batch);
      if (session !== this.#session) return;
      this.#shipper.sent(this.#clock.nowMs(), batch);
      if (this.#shipper.inFlight === 1) this.#watchAck(session);
      const room = session.stream.write(create(ReportRequestSchema, { frame: { case: 'batch', value: message } }));
      if (!room) await drained(session.stream);
    }
  }

  #watchAck(session: Session): void {
    if (this.#shipper.inFlight > 0) session.watch(this.#limits.ackMs, 'the control plane acknowledged nothing');
    else session.unwatch();
  }

  #break(session: Session, error: unknown): void {
    if (session !== this.#session || this.#closed) return;
    this.#endSession();
    this.#streamsBroken++;
    const delayMs = this.#backoff.failed();
    this.#options.log('usage upload broken', { err: error, delayMs: Math.round(delayMs) });
    this.#cancelRetry = this.#after(delayMs, () => this.#connect());
  }

  #endSession(): void {
    const session = this.#session;
    if (session === undefined) return;
    this.#session = undefined;
    this.#shipper.close();
    this.#cancelWait();
    session.end();
  }

  #isDrained(): boolean {
    const { spool } = this.#options;
    return spool.durableSeq === spool.lastSeq && spool.incarnations().every((range) => spool.ackedSeq(range.incarnation) >= range.lastSeq);
  }

  #finishDrains(): void {
    if (this.#drains.size === 0 || !this.#isDrained()) return;
    for (const finish of [...this.#drains]) finish(true);
  }
}
