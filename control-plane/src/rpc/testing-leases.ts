/** A node's end of Leases, for tests: it counts what it is granted, and gives back what is recalled as ingest would take it. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { type BudgetRef, budgetId } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import { budgetRefFromWire, budgetRefToWire, leaseRecordToWire } from '@meridian/wire/codec/lease';
import {
  DenialReason,
  type LeaseDenial,
  type LeaseRecall,
  LeaseService,
  type LeasesRequest,
  LeasesRequestSchema,
  type LeasesResponse,
} from '@meridian/wire/gen/lease_pb';
import { channelOptions } from '@meridian/wire/grpc-options';
import { makeClient, type ServiceClient } from '@meridian/wire/grpc-service';
import { sql } from 'kysely';
import { escrowOf, writeBack } from '../budgets/books.ts';
import type { Database } from '../database/connect.ts';
import { transaction } from '../database/transaction.ts';
import { authorized } from './testing.ts';

export type Answer =
  | { readonly granted: true }
  | { readonly granted: false; readonly reason: 'exhausted' | 'unreachable'; readonly left: number; readonly frame: LeaseDenial };

interface HeldLease {
  readonly leaseId: string;
  readonly budget: BudgetRef;
  granted: number;
  returned: number;
  /** Used, or set aside for a request: not free. */
  taken: number;
  closed: boolean;
}

export interface TestLeaseNodeOptions {
  readonly spoolId: string;
  readonly region?: string;
  readonly token?: string;
  /** What it knows from before. */
  readonly from?: TestLeaseNode;
}

export class TestLeaseNode {
  readonly spoolId: string;
  readonly leases = new Map<string, HeldLease>();
  readonly frames: LeasesResponse[] = [];
  readonly recalls: LeaseRecall[] = [];
  /** False: recalls are kept and not answered. */
  answering = true;
  /** Ended, with the gRPC status where it was not OK. */
  readonly ended: Promise<Error | undefined>;
  readonly #db: Database;
  readonly #client: ServiceClient<typeof LeaseService>;
  readonly #stream: ClientDuplexStream<LeasesRequest, LeasesResponse>;
  readonly #answers = new Map<number, (answer: Answer) => void>();
  readonly #waiting: { readonly wanted: () => boolean; readonly resolve: () => void }[] = [];
  #lastQuestionId = 0;

  constructor(address: string, db: Database, { spoolId, token, from }: TestLeaseNodeOptions) {
    this.spoolId = spoolId;
    this.#db = db;
    for (const [leaseId, lease] of from?.leases ?? []) this.leases.set(leaseId, { ...lease });
    this.#client = makeClient(LeaseService, address, credentials.createInsecure(), channelOptions());
    this.#stream = this.#client.calls.leases(authorized(token));
    this.#stream.on('data', (response) => this.#receive(response));
    this.ended = new Promise((resolve) => {
      this.#stream.on('error', (error) => resolve(error));
      this.#stream.on('end', () => resolve(undefined));
    });
  }

  /** Connects, declares what it has, and is told that its leases are open. */
  static async open(address: string, db: Database, options: TestLeaseNodeOptions): Promise<TestLeaseNode> {
    const node = new TestLeaseNode(address, db, options);
    node.say(options.region);
    node.declare();
    await node.until(() => node.frames.some(({ frame }) => frame.case === 'opened'));
    return node;
  }

  say(region = 'us'): void {
    const value = { nodeId: `nod_${this.spoolId}`, region, spoolId: this.spoolId, incarnation: 7n, dbEpoch: '' };
    this.send({ case: 'open', value });
  }

  declare(records: readonly LeaseRecord[] = [...this.leases.values()].map(recordOf), last = true): void {
    this.send({ case: 'declaration', value: { leases: records.map(leaseRecordToWire), last } });
  }

  send(frame: NonNullable<MessageInitShape<typeof LeasesRequestSchema>['frame']>): void {
    this.#stream.write(create(LeasesRequestSchema, { frame }));
  }

  ask(budget: BudgetRef, need: number, more: { readonly want?: number; readonly rate?: number } = {}): Promise<Answer> {
    this.#lastQuestionId += 1;
    const questionId = this.#lastQuestionId;
    const answer = new Promise<Answer>((resolve) => this.#answers.set(questionId, resolve));
    const { want = need, rate = 0 } = more;
    this.send({
      case: 'question',
      value: {
        questionId: BigInt(questionId),
        budget: budgetRefToWire(budget),
        need: BigInt(need),
        want: BigInt(want),
        ratePer30s: BigInt(rate),
      },
    });
    return answer;
  }

  /** Its open lease on a budget. */
  lease(budget: BudgetRef): HeldLease | undefined {
    return [...this.leases.values()].find((lease) => !lease.closed && budgetId(lease.budget) === budgetId(budget));
  }

  free(budget: BudgetRef): number {
    const lease = this.lease(budget);
    return lease === undefined ? 0 : lease.granted - lease.returned - lease.taken;
  }

  /** Gives back what is free of a lease, as one record of its spool that is ingested. */
  async giveBack(lease: HeldLease): Promise<void> {
    lease.returned = lease.granted - lease.taken;
    await takeBack(this.#db, lease);
  }

  /** Answers a recall once its return is ingested. */
  async answer({ recallId, leaseId }: LeaseRecall): Promise<void> {
    const lease = this.leases.get(leaseId);
    if (lease !== undefined) await this.giveBack(lease);
    this.send({ case: 'recallAnswer', value: { recallId, leaseId } });
  }

  /** Resolves once it is so; rejects when the stream ends before. */
  async until(wanted: () => boolean): Promise<void> {
    if (wanted()) return;
    const seen = new Promise<void>((resolve) => this.#waiting.push({ wanted, resolve }));
    await Promise.race([
      seen,
      this.ended.then((error) => {
        if (!wanted()) throw error ?? new Error('the stream ended');
      }),
    ]);
  }

  /** Reads nothing from the connection any more. */
  pause(): void {
    this.#stream.pause();
  }

  async close(): Promise<void> {
    this.#stream.cancel();
    await this.ended;
    this.#client.channel.close();
  }

  #receive(response: LeasesResponse): void {
    this.frames.push(response);
    const { frame } = response;
    switch (frame.case) {
      case 'grants':
        for (const grant of frame.value.grants) {
          if (grant.spoolId !== this.spoolId) throw new Error(`${this.spoolId} was told a grant of ${grant.spoolId}`);
          const lease = this.leases.get(grant.leaseId) ?? {
            leaseId: grant.leaseId,
            budget: budgetRefFromWire(grant.budget),
            granted: 0,
            returned: 0,
            taken: 0,
            closed: false,
          };
          lease.granted = Math.max(lease.granted, Number(grant.granted));
          this.leases.set(grant.leaseId, lease);
        }
        this.#answered(Number(frame.value.questionId), { granted: true });
        break;
      case 'denial': {
        const { questionId, reason, left } = frame.value;
        const word = reason === DenialReason.EXHAUSTED ? 'exhausted' : 'unreachable';
        this.#answered(Number(questionId), { granted: false, reason: word, left: Number(left), frame: frame.value });
        break;
      }
      case 'recall':
        this.recalls.push(frame.value);
        if (this.answering) this.answer(frame.value).catch(() => undefined);
        break;
      case 'closed': {
        const lease = this.leases.get(frame.value.leaseId);
        if (lease !== undefined) lease.closed = true;
        break;
      }
      case 'opened':
      case undefined:
        break;
      default:
        frame satisfies never;
    }
    for (const waiting of [...this.#waiting]) {
      if (!waiting.wanted()) continue;
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      waiting.resolve();
    }
  }

  #answered(questionId: number, answer: Answer): void {
    this.#answers.get(questionId)?.(answer);
    this.#answers.delete(questionId);
  }
}

function recordOf({ leaseId, budget, granted, returned, taken, closed }: HeldLease): LeaseRecord {
  return { leaseId, budget, granted, returned, used: taken, closed };
}

async function takeBack(db: Database, { leaseId, returned }: { leaseId: string; returned: number }): Promise<void> {
  await transaction(db, async (trx) => {
    const escrow = await escrowOf(trx, { leaseIds: [leaseId] }, { nowMs: Date.now() });
    escrow.takeBack({ leaseId, returned });
    await writeBack(trx, escrow.changes(), Date.now());
  });
}

/** A cap of an account of its own; its budgets are made when they are asked for. */
export async function makeCap(
  db: Database,
  capId: string,
  { limit, window = 'utc_day', unit = 'chat_completions' }: { limit: number; window?: string; unit?: string },
): Promise<void> {
  const accountId = `acc_of_${capId}`;
  await sql`INSERT INTO plan (id, name, api_access, created_at) VALUES ('test', 'Test', true, now()) ON CONFLICT DO NOTHING`.execute(db);
  await sql`
    INSERT INTO account (id, name, plan_id, status, created_at) VALUES (${accountId}, 'a', 'test', 'active', now())`.execute(db);
  await sql`
    INSERT INTO cap (id, account_id, scope, scope_id, window_kind, unit, limit_amount, created_at)
    VALUES (${capId}, ${accountId}, 'account', ${accountId}, ${window}, ${unit}, ${limit}::bigint, now())`.execute(db);
}

export interface BudgetRow {
  readonly limit: number;
  readonly settled: number;
  readonly held: number;
}

export async function budgetRow(db: Database, budget: BudgetRef): Promise<BudgetRow> {
  const row = await db
    .selectFrom('budget')
    .select(['limit_amount', 'settled', 'held'])
    .where('id', '=', budgetId(budget))
    .executeTakeFirstOrThrow();
  return { limit: Number(row.limit_amount), settled: Number(row.settled), held: Number(row.held) };
}
