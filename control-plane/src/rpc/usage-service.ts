/** Report: a node's usage in batches, each acknowledged once it is committed. */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import { errorToGrpc } from '@meridian/wire/codec/error';
import { readSafeInteger } from '@meridian/wire/codec/field';
import { type ReceivedRecord, usageBatchFromWire } from '@meridian/wire/codec/usage-batch';
import {
  type ReportOpen,
  type ReportRequest,
  type ReportResponse,
  ReportResponseSchema,
  type UsageBatch,
  UsageRecordSchema,
} from '@meridian/wire/gen/usage_pb';
import type { EncodedFrame } from '@meridian/wire/grpc-service';
import type { RestoreService } from '../restore/service.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type BatchRecord, SequenceGapError } from '../usage/batch.ts';
import type { UsageService } from '../usage/service.ts';
import { drained } from './drain.ts';
import type { RequireNode } from './node-identity.ts';
import { refusalOf } from './refusal.ts';

/** Streams of all nodes: each holds a batch of at most 8 MiB while it is ingested. */
const MAX_STREAMS = 1_000;
const MAX_INCARNATIONS = 10_000;
const DRAIN_TIMEOUT_MS = 30_000;

export type ReportCall = ServerDuplexStream<ReportRequest, ReportResponse | EncodedFrame>;

export interface UsageReportsDeps {
  readonly requireNode: RequireNode;
  readonly usage: Pick<UsageService, 'open' | 'cursors' | 'ingestBatch'>;
  readonly restore: Pick<RestoreService, 'admit' | 'replayed' | 'giveUp'>;
  /** Hears of the records of leases in a batch that is committed. */
  readonly leases: { ingested(spoolId: string, records: readonly LeaseRecord[]): void };
  readonly clock: { nowMs(): number };
  readonly metrics: Metrics;
  readonly logger: Logger;
}

type ResponseFrame = NonNullable<MessageInitShape<typeof ReportResponseSchema>['frame']>;

/** Who reports on a stream. */
interface Reporter {
  readonly spoolId: string;
  /** The folder's former id, if it had another. */
  readonly replacesSpoolId?: string;
  readonly nodeId: string;
  readonly region: string;
}

/** A stream whose Open was accepted. */
interface Session {
  readonly reporter: Reporter;
  /** The epoch in which it was. */
  readonly dbEpoch: string;
  /** By incarnation, the last seq that was retained at the Open and is not acknowledged yet. */
  readonly awaited: Map<bigint, number>;
}

export class UsageReports {
  readonly #deps: UsageReportsDeps;
  readonly #calls = new Set<ReportCall>();
  #draining = false;

  constructor(deps: UsageReportsDeps) {
    this.#deps = deps;
  }

  get streamCount(): number {
    return this.#calls.size;
  }

  /** The handler of `Report`. */
  handle(call: ReportCall): void {
    call.on('error', () => undefined);
    this.#serve(call)
      .catch((error: unknown) => this.#refuse(call, error))
      .finally(() => this.#calls.delete(call));
  }

  /** Ends every stream; a batch under way is committed, and acknowledged when its node asks again. */
  drain(): void {
    this.#draining = true;
    this.restart();
  }

  /** The database was set back: every node comes again, once it has declared its leases. */
  restart(): void {
    for (const call of this.#calls) call.emit('error', errorToGrpc(new GatewayError('overloaded', { retryAfterSeconds: 1 })));
  }

  async #serve(call: ReportCall): Promise<void> {
    this.#deps.requireNode(call.metadata);
    if (this.#draining || this.#calls.size >= MAX_STREAMS) throw new GatewayError('overloaded', { retryAfterSeconds: 1 });
    this.#calls.add(call);
    let session: Session | undefined;
    // One request at a time: batches are served in order, and the node's are held back by flow control meanwhile.
    for await (const request of requestsOf(call)) {
      const { frame } = request;
      if (frame.case === 'open' && session === undefined) {
        session = await this.#open(call, frame.value);
      } else if (frame.case === 'batch' && session !== undefined) {
        await this.#ingest(call, session, frame.value);
      } else {
        throw new GatewayError('invalid_state', { message: 'A stream begins with one Open; batches follow.' });
      }
      if (call.cancelled || this.#draining) return;
    }
    call.end();
  }

  async #open(call: ReportCall, open: ReportOpen): Promise<Session> {
    const { usage, restore } = this.#deps;
    const reporter = reporterOf(open);
    if (open.incarnations.length > MAX_INCARNATIONS) {
      throw new GatewayError('invalid_request_error', { message: `A spool has at most ${MAX_INCARNATIONS} incarnations.` });
    }
    const retained = open.incarnations.map(({ incarnation, firstSeq, lastSeq, ackedSeq }) => ({
      incarnation,
      firstSeq: readSafeInteger('first_seq', firstSeq, 1),
      lastSeq: readSafeInteger('last_seq', lastSeq),
      ackedSeq: readSafeInteger('acked_seq', ackedSeq),
    }));
    const { spoolId } = reporter;
    // Before anything is written down as lost: what the database does not know may be all that was lost.
    const { dbEpoch } = await restore.admit({ spoolId, dbEpoch: open.dbEpoch, acked: retained }, await usage.cursors(spoolId));
    const acked = await usage.open({ ...reporter, retained });
    const cursors = new Map(acked.map(({ incarnation, ackedSeq }) => [incarnation, ackedSeq]));
    const missing = retained.filter(({ incarnation, lastSeq }) => lastSeq > (cursors.get(incarnation) ?? 0));
    const session = { reporter, dbEpoch, awaited: new Map(missing.map(({ incarnation, lastSeq }) => [incarnation, lastSeq])) };
    await send(call, {
      case: 'opened',
      value: { dbEpoch, acked: acked.map(({ incarnation, ackedSeq }) => ({ incarnation, ackedSeq: BigInt(ackedSeq) })) },
    });
    if (session.awaited.size === 0) await this.#caughtUp(reporter);
    return session;
  }

  async #ingest(call: ReportCall, { reporter, dbEpoch, awaited }: Session, message: UsageBatch): Promise<void> {
    const { usage, leases, clock, metrics } = this.#deps;
    const startedAtMs = clock.nowMs();
    const { incarnation, firstSeq, lastSeq, records } = await usageBatchFromWire(message);
    const batch = { ...reporter, incarnation, firstSeq, lastSeq, records: records.map(recordOf) };
    const { ackedSeq } = await usage.ingestBatch(batch, dbEpoch);
    metrics.observeIngest(records.length, clock.nowMs() - startedAtMs);
    const told = records.flatMap((record) => (record.ok && record.kind === 'lease' ? [record.lease] : []));
    leases.ingested(reporter.spoolId, told);
    await send(call, { case: 'ack', value: { incarnation, ackedSeq: BigInt(ackedSeq), dbEpoch } });
    const last = awaited.get(incarnation);
    if (last === undefined || ackedSeq < last) return;
    awaited.delete(incarnation);
    if (awaited.size === 0) await this.#caughtUp(reporter);
  }

  /** All that the spool had when it came is ingested. */
  async #caughtUp({ spoolId, replacesSpoolId }: Reporter): Promise<void> {
    const { restore } = this.#deps;
    await restore.replayed(spoolId);
    if (replacesSpoolId !== undefined) await restore.giveUp(replacesSpoolId);
  }

  #refuse(call: ReportCall, error: unknown): void {
    if (call.cancelled || call.destroyed) return;
    // A gap is the node's: it opens a new stream and goes on from what is acknowledged.
    const gap = error instanceof SequenceGapError;
    const refusal = gap ? new GatewayError('invalid_state', { message: error.message, cause: error }) : refusalOf(error);
    this.#deps.logger.warn({ err: error }, 'a stream of usage was closed');
    call.emit('error', errorToGrpc(refusal));
  }
}

/** Without destroying the call at the end of the loop: its status is still to be sent. */
function requestsOf(call: ReportCall): AsyncIterable<ReportRequest> {
  return call.iterator({ destroyOnReturn: false });
}

async function send(call: ReportCall, frame: ResponseFrame): Promise<void> {
  if (call.cancelled || call.destroyed || call.writableEnded) return;
  call.write(create(ReportResponseSchema, { frame }));
  if (!(await drained(call, DRAIN_TIMEOUT_MS)) && !call.cancelled && !call.destroyed) {
    throw new GatewayError('overloaded', { message: 'Acknowledgements were not taken in time.' });
  }
}

/** A record that could not be read goes on with what can be read of it, to the dead letters. */
function recordOf(record: ReceivedRecord): BatchRecord {
  if (record.ok) return record.kind === 'final' ? { seq: record.seq, final: record.final } : { seq: record.seq, lease: record.lease };
  const final = record.message.record.case === 'final' ? record.message.record.value : undefined;
  return {
    seq: record.seq,
    unreadable: {
      reason: record.error.message,
      accountId: final?.accountId,
      requestId: final?.requestId,
      chargeNano: final?.chargeNano,
      leases: final?.leases.map(({ leaseId, amount }) => ({ leaseId, amount })) ?? [],
      payload: toBinary(UsageRecordSchema, record.message),
    },
  };
}

function reporterOf({ spoolId, nodeId, region, replacesSpoolId }: ReportOpen): Reporter {
  const named = [spoolId, nodeId, region].every((text) => text !== '' && text.length <= 128);
  if (!named) throw new GatewayError('invalid_request_error', { message: 'Open names the spool, the node and the region.' });
  if (replacesSpoolId.length > 128 || replacesSpoolId === spoolId) {
    throw new GatewayError('invalid_request_error', { message: 'The spool that is replaced has another id, of at most 128 characters.' });
  }
  return { spoolId, nodeId, region, ...(replacesSpoolId === '' ? {} : { replacesSpoolId }) };
}
