/** Leases: nodes say which shares of budgets they have, ask for more, and give back what is recalled. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import { errorToGrpc } from '@meridian/wire/codec/error';
import { readSafeInteger } from '@meridian/wire/codec/field';
import { budgetRefFromWire, budgetRefToWire, leaseRecordFromWire } from '@meridian/wire/codec/lease';
import {
  DenialReason,
  type LeaseDeclaration,
  type LeaseQuestion,
  type LeasesOpen,
  type LeasesRequest,
  type LeasesResponse,
  LeasesResponseSchema,
} from '@meridian/wire/gen/lease_pb';
import type { EncodedFrame } from '@meridian/wire/grpc-service';
import type { Leases, OpenedSpool } from '../budgets/leases.ts';
import type { Denial, Grant, Question } from '../budgets/questions.ts';
import type { LeaseConnection, LeaseOutlet, QuestionsRunner } from '../budgets/questions-runner.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { RequireNode } from './node-identity.ts';
import { checkNodeName } from './node-name.ts';
import { refusalOf, streamRefusal } from './refusal.ts';

/** Streams of all nodes, those included that have not declared yet. */
const MAX_STREAMS = 5_000;
/** A stream that has not said what it holds for this long is closed. */
const OPEN_TIMEOUT_MS = 30_000;
const MAX_LEASES_A_FRAME = 1_000;
/** A node has one open lease a budget, and its retained records name those of some days. */
const MAX_DECLARED = 1_000_000;
/** Grants in one frame. */
const GRANTS_A_FRAME = 1_000;
/** Frames that wait for a node which takes none, before its stream is ended: it is told everything again when it comes back. */
const MAX_QUEUED_FRAMES = 10_000;

export type LeasesCall = ServerDuplexStream<LeasesRequest, LeasesResponse | EncodedFrame>;

export interface LeasesSpool {
  readonly spoolId: string;
  readonly nodeId: string;
  readonly region: string;
}

/** What a declaration means to the database as it is now. */
export interface Declarations {
  dbEpoch(): string;
  /** Nothing is granted until all nodes have declared and replayed. */
  frozen(): boolean;
  /** Takes all that a spool's node has declared, and compares or merges it; names what is closed here. */
  declare(spool: LeasesSpool, records: readonly LeaseRecord[]): Promise<{ readonly closed: readonly string[] }>;
}

export interface LeaseHubDeps {
  readonly requireNode: RequireNode;
  readonly leases: Pick<Leases, 'open'>;
  readonly runner: QuestionsRunner;
  readonly declarations: Declarations;
  readonly clock: { nowMs(): number };
  readonly logger: Logger;
}

type ResponseFrame = NonNullable<MessageInitShape<typeof LeasesResponseSchema>['frame']>;

interface Session {
  readonly call: LeasesCall;
  readonly openedAtMs: number;
  spool: LeasesSpool | undefined;
  readonly declared: LeaseRecord[];
  /** The last declaration came. */
  isDeclared: boolean;
  connection: LeaseConnection | undefined;
  lastQuestionId: number;
  /** Frames that wait; those that were written are held by the call, which takes no more at the moment. */
  readonly queue: LeasesResponse[];
  isBlocked: boolean;
  ended: boolean;
}

export class LeaseHub {
  readonly #deps: LeaseHubDeps;
  readonly #sessions = new Set<Session>();
  #draining = false;

  constructor(deps: LeaseHubDeps) {
    this.#deps = deps;
  }

  get streamCount(): number {
    return this.#sessions.size;
  }

  /** The handler of `Leases`. */
  handle(call: LeasesCall): void {
    // A client that breaks off makes the stream fail; that is its end, and nothing to report.
    call.on('error', () => undefined);
    const refusal = streamRefusal(this.#deps.requireNode, call.metadata, this.#draining || this.#sessions.size >= MAX_STREAMS);
    if (refusal !== undefined) {
      call.emit('error', errorToGrpc(refusal));
      return;
    }
    const session: Session = {
      call,
      openedAtMs: this.#deps.clock.nowMs(),
      spool: undefined,
      declared: [],
      isDeclared: false,
      connection: undefined,
      lastQuestionId: 0,
      queue: [],
      // Nothing goes before LeasesOpened.
      isBlocked: true,
      ended: false,
    };
    this.#sessions.add(session);
    call.on('data', (request: LeasesRequest) => {
      try {
        this.#receive(session, request);
      } catch (error) {
        this.#fail(session, refusalOf(error));
      }
    });
    call.on('end', () => this.#ended(session));
    call.on('close', () => this.#ended(session));
    call.on('drain', () => this.#flush(session));
  }

  /** Once a second: streams that never said what they hold. */
  tick(): void {
    const nowMs = this.#deps.clock.nowMs();
    for (const session of this.#sessions) {
      if (session.isDeclared || nowMs - session.openedAtMs < OPEN_TIMEOUT_MS) continue;
      this.#fail(session, new GatewayError('invalid_state', { message: 'no declaration' }));
    }
  }

  /** Sends every node away, to come back to another replica or to this one when it is up again. */
  drain(): void {
    this.#draining = true;
    this.restart();
  }

  /** Sends every node away, to come back and declare anew: the database was set back. */
  restart(): void {
    for (const session of [...this.#sessions]) this.#fail(session, new GatewayError('overloaded', { retryAfterSeconds: 1 }));
  }

  #receive(session: Session, { frame }: LeasesRequest): void {
    if (session.ended) return;
    switch (frame.case) {
      case 'open':
        if (session.spool !== undefined) throw new GatewayError('invalid_state', { message: 'a second Open' });
        session.spool = spoolOf(frame.value);
        this.#supersede(session, session.spool.spoolId);
        return;
      case 'declaration':
        this.#declared(session, frame.value);
        return;
      case 'question':
        connectionOf(session).ask(questionOf(session, frame.value));
        return;
      case 'recallAnswer':
        connectionOf(session).recallAnswered(readSafeInteger('recall_id', frame.value.recallId));
        return;
      case undefined:
        // A newer node may say more than this build knows.
        return;
      default:
        frame satisfies never;
    }
  }

  #declared(session: Session, { leases, last }: LeaseDeclaration): void {
    if (session.spool === undefined || session.isDeclared)
      throw new GatewayError('invalid_state', { message: 'a declaration out of turn' });
    if (leases.length > MAX_LEASES_A_FRAME || session.declared.length + leases.length > MAX_DECLARED) {
      throw new GatewayError('invalid_request_error', { message: `A declaration has at most ${MAX_LEASES_A_FRAME} leases a frame.` });
    }
    for (const lease of leases) session.declared.push(leaseRecordFromWire(lease));
    if (!last) return;
    session.isDeclared = true;
    this.#open(session, session.spool).catch((error: unknown) => this.#fail(session, refusalOf(error)));
  }

  async #open(session: Session, spool: LeasesSpool): Promise<void> {
    const { declarations, leases, runner, logger } = this.#deps;
    const records = session.declared.splice(0);
    const { closed } = await declarations.declare(spool, records);
    if (session.ended) return;
    // From here on nothing that is granted to the spool passes this stream by: it waits for LeasesOpened, as all else does.
    session.connection = runner.connect(spool.spoolId, this.#outlet(session));
    const opened = await leases.open(spool, records);
    if (session.ended) return;
    this.#welcome(session, [...new Set([...closed, ...opened.closed])], opened);
    logger.info({ ...spool, openLeases: opened.grants.length, declared: records.length }, 'leases are open');
    runner.opened(opened);
  }

  #welcome(session: Session, closed: readonly string[], { grants: open }: OpenedSpool): void {
    const { declarations, clock } = this.#deps;
    const value = { dbEpoch: declarations.dbEpoch(), serverTimeMs: BigInt(clock.nowMs()), frozen: declarations.frozen() };
    const first: ResponseFrame[] = [{ case: 'opened', value }, ...pagesOf(open, GRANTS_A_FRAME).map((grants) => grantsFrame(0, grants))];
    for (const leaseId of closed) first.push({ case: 'closed', value: { leaseId } });
    session.queue.unshift(...first.map((frame) => create(LeasesResponseSchema, { frame })));
    this.#flush(session);
  }

  #outlet(session: Session): LeaseOutlet {
    return {
      grants: (questionId, grants) => this.#write(session, grantsFrame(questionId, grants)),
      denial: (denial) => this.#write(session, denialFrame(denial)),
      recall: (recallId, leaseId, retire) =>
        this.#write(session, { case: 'recall', value: { recallId: BigInt(recallId), leaseId, retire } }),
      closed: (leaseIds) => {
        for (const leaseId of leaseIds) this.#write(session, { case: 'closed', value: { leaseId } });
      },
      cut: (reason) => this.#fail(session, new GatewayError('overloaded', { message: reason, retryAfterSeconds: 1 })),
    };
  }

  #write(session: Session, frame: ResponseFrame): void {
    if (session.ended) return;
    if (session.queue.length >= MAX_QUEUED_FRAMES) {
      this.#fail(session, new GatewayError('overloaded', { message: 'Answers were not taken in time.', retryAfterSeconds: 1 }));
      return;
    }
    session.queue.push(create(LeasesResponseSchema, { frame }));
    if (!session.isBlocked) this.#flush(session);
  }

  /** Writes what waits, as far as the call takes it. */
  #flush(session: Session): void {
    session.isBlocked = false;
    let written = 0;
    for (const frame of session.queue) {
      if (session.ended || session.isBlocked) break;
      written += 1;
      session.isBlocked = !session.call.write(frame);
    }
    session.queue.splice(0, written);
  }

  /** A node that comes back before its old connection is seen to be dead. */
  #supersede(session: Session, spoolId: string): void {
    for (const other of [...this.#sessions]) {
      if (other === session || other.spool?.spoolId !== spoolId) continue;
      this.#end(other);
      other.call.end();
    }
  }

  #fail(session: Session, error: GatewayError): void {
    if (session.ended) return;
    this.#deps.logger.warn({ nodeId: session.spool?.nodeId, err: error }, 'a stream of leases was closed');
    this.#end(session);
    session.call.emit('error', errorToGrpc(error));
  }

  #end(session: Session): void {
    if (session.ended) return;
    session.ended = true;
    session.queue.length = 0;
    session.connection?.disconnect();
    this.#sessions.delete(session);
  }

  /** The node has ended its side, or is gone. */
  #ended(session: Session): void {
    if (session.ended) return;
    this.#end(session);
    session.call.end();
  }
}

function pagesOf<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));
}

function spoolOf({ nodeId, region, spoolId }: LeasesOpen): LeasesSpool {
  checkNodeName({ nodeId, region });
  if (spoolId === '' || spoolId.length > 128) {
    throw new GatewayError('invalid_request_error', { message: 'spool_id has 1 to 128 characters' });
  }
  return { nodeId, region, spoolId };
}

function connectionOf({ connection }: Session): LeaseConnection {
  if (connection === undefined) throw new GatewayError('invalid_state', { message: 'Open and declarations come before all else.' });
  return connection;
}

function questionOf(session: Session, question: LeaseQuestion): Omit<Question, 'spoolId' | 'streamId'> {
  const questionId = readSafeInteger('question_id', question.questionId, session.lastQuestionId + 1);
  session.lastQuestionId = questionId;
  return {
    questionId,
    budget: budgetRefFromWire(question.budget),
    need: readSafeInteger('need', question.need),
    want: readSafeInteger('want', question.want),
    ratePer30s: readSafeInteger('rate_per_30s', question.ratePer30s),
  };
}

function grantsFrame(questionId: number, grants: readonly Grant[]): ResponseFrame {
  return {
    case: 'grants',
    value: {
      questionId: BigInt(questionId),
      grants: grants.map(({ leaseId, spoolId, budget, granted }) => ({
        leaseId,
        spoolId,
        budget: budgetRefToWire(budget),
        granted: BigInt(granted),
      })),
    },
  };
}

function denialFrame({ questionId, budget, reason, left, book }: Denial): ResponseFrame {
  return {
    case: 'denial',
    value: {
      questionId: BigInt(questionId),
      budget: budgetRefToWire(budget),
      reason: reason === 'exhausted' ? DenialReason.EXHAUSTED : DenialReason.UNREACHABLE,
      left: BigInt(left),
      limit: BigInt(book.limit),
      settled: BigInt(book.settled),
      held: BigInt(book.held),
    },
  };
}
