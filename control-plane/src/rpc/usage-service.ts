/** Report: a node's usage in batches, each acknowledged once it is committed. */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';
import { errorToGrpc } from '@meridian/wire/codec/error';
import { readSafeInteger } from '@meridian/wire/codec/field';
import { type ReceivedRecord, usageBatchFromWire } from '@meridian/wire/codec/usage-batch';
import { WireFormatError } from '@meridian/wire/codec/wire-format-error';
import {
  type ReportOpen,
  type ReportRequest,
  type ReportResponse,
  ReportResponseSchema,
  type UsageBatch,
  UsageRecordSchema,
} from '@meridian/wire/gen/usage_pb';
import type { EncodedFrame } from '@meridian/wire/grpc-service';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type BatchRecord, SequenceGapError } from '../usage/batch.ts';
import type { UsageService } from '../usage/service.ts';
import { drained } from './drain.ts';
import type { RequireNode } from './node-identity.ts';

/** Streams of all nodes: each holds a batch of at most 8 MiB while it is ingested. */
const MAX_STREAMS = 1_000;
const MAX_INCARNATIONS = 10_000;
const DRAIN_TIMEOUT_MS = 30_000;

export type ReportCall = ServerDuplexStream<ReportRequest, ReportResponse | EncodedFrame>;

export interface UsageReportsDeps {
  readonly requireNode: RequireNode;
  readonly usage: Pick<UsageService, 'open' | 'ingestBatch'>;
  /** The epoch of the database as it is now. */
  dbEpoch(): string;
  readonly clock: { nowMs(): number };
  readonly metrics: Metrics;
  readonly logger: Logger;
}

type ResponseFrame = NonNullable<MessageInitShape<typeof ReportResponseSchema>['frame']>;

/** Who reports on a stream. */
interface Reporter {
  readonly spoolId: string;
  readonly nodeId: string;
  readonly region: string;
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
    for (const call of this.#calls) call.emit('error', errorToGrpc(new GatewayError('overloaded', { retryAfterSeconds: 1 })));
  }

  async #serve(call: ReportCall): Promise<void> {
    this.#deps.requireNode(call.metadata);
    if (this.#draining || this.#calls.size >= MAX_STREAMS) throw new GatewayError('overloaded', { retryAfterSeconds: 1 });
    this.#calls.add(call);
    let reporter: Reporter | undefined;
    // One request at a time: batches are served in order, and the node's are held back by flow control meanwhile.
    for await (const request of requestsOf(call)) {
      const { frame } = request;
      if (frame.case === 'open' && reporter === undefined) {
        reporter = reporterOf(frame.value);
        await this.#open(call, reporter, frame.value);
      } else if (frame.case === 'batch' && reporter !== undefined) {
        await this.#ingest(call, reporter, frame.value);
      } else {
        throw new GatewayError('invalid_state', { message: 'A stream begins with one Open; batches follow.' });
      }
      if (call.cancelled || this.#draining) return;
    }
    call.end();
  }

  async #open(call: ReportCall, reporter: Reporter, open: ReportOpen): Promise<void> {
    if (open.incarnations.length > MAX_INCARNATIONS) {
      throw new GatewayError('invalid_request_error', { message: `A spool has at most ${MAX_INCARNATIONS} incarnations.` });
    }
    const retained = open.incarnations.map(({ incarnation, firstSeq, lastSeq }) => ({
      incarnation,
      firstSeq: readSafeInteger('first_seq', firstSeq, 1),
      lastSeq: readSafeInteger('last_seq', lastSeq),
    }));
    const acked = await this.#deps.usage.open({ ...reporter, retained });
    await send(call, {
      case: 'opened',
      value: {
        dbEpoch: this.#deps.dbEpoch(),
        acked: acked.map(({ incarnation, ackedSeq }) => ({ incarnation, ackedSeq: BigInt(ackedSeq) })),
      },
    });
  }

  async #ingest(call: ReportCall, reporter: Reporter, message: UsageBatch): Promise<void> {
    const { usage, clock, metrics, dbEpoch } = this.#deps;
    const startedAtMs = clock.nowMs();
    const { incarnation, firstSeq, lastSeq, records } = await usageBatchFromWire(message);
    const { ackedSeq } = await usage.ingestBatch({ ...reporter, incarnation, firstSeq, lastSeq, records: records.map(recordOf) });
    metrics.observeIngest(records.length, clock.nowMs() - startedAtMs);
    await send(call, { case: 'ack', value: { incarnation, ackedSeq: BigInt(ackedSeq), dbEpoch: dbEpoch() } });
  }

  #refuse(call: ReportCall, error: unknown): void {
    if (call.cancelled || call.destroyed) return;
    const refusal = refusalOf(error);
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

/** A gap, or a batch that says nothing sensible, is the node's: it opens a new stream and goes on from what is acknowledged. */
function refusalOf(error: unknown): GatewayError {
  if (error instanceof SequenceGapError) return new GatewayError('invalid_state', { message: error.message, cause: error });
  if (error instanceof WireFormatError) return new GatewayError('invalid_request_error', { message: error.message, cause: error });
  return GatewayError.from(error);
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

function reporterOf({ spoolId, nodeId, region }: ReportOpen): Reporter {
  const named = [spoolId, nodeId, region].every((text) => text !== '' && text.length <= 128);
  if (!named) throw new GatewayError('invalid_request_error', { message: 'Open names the spool, the node and the region.' });
  return { spoolId, nodeId, region };
}
