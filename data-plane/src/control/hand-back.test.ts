import fs from 'node:fs';
import { create } from '@bufbuild/protobuf';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { type BudgetRef, budgetId } from '@meridian/domain/budget';
import { budgetRefFromWire, budgetRefToWire } from '@meridian/wire/codec/lease';
import { usageBatchFromWire } from '@meridian/wire/codec/usage-batch';
import { LeaseService, LeasesResponseSchema } from '@meridian/wire/gen/lease_pb';
import { ReportResponseSchema, UsageService } from '@meridian/wire/gen/usage_pb';
import { SERVER_OPTIONS } from '@meridian/wire/grpc-options';
import { implement } from '@meridian/wire/grpc-service';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BudgetAmount, Reservation } from '../admission/grants.ts';
import { LeaseDesk } from '../admission/lease-desk.ts';
import type { Spool } from '../metering/spool/spool.ts';
import { finalOf, newFolder, openTestSpool, writeFinal } from '../metering/spool/testing.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { handBack } from './hand-back.ts';
import { LeaseClient } from './lease-client.ts';
import { registerLeaseMetrics } from './lease-metrics.ts';
import { startUsageClient, type UsageClient } from './usage-client.ts';

/** A control plane that grants what is asked, and keeps each lease's counters from what it grants and ingests. */
class Books {
  readonly leases = new Map<string, { granted: number; returned: number; used: number }>();
  /** Ingested, but nobody is told. */
  silent = false;
  /** Set: questions are answered after the next batch. */
  lateAnswers: (() => void)[] | undefined;
  address = '';
  readonly #server = new Server(SERVER_OPTIONS);
  #acked = new Map<bigint, bigint>();

  async listen(): Promise<void> {
    implement(this.#server, LeaseService, {
      leases: (call) => {
        let spoolId = '';
        const ids = new Map<string, string>();
        call.on('error', () => undefined);
        call.on('end', () => call.end());
        call.on('data', ({ frame }) => {
          if (frame.case === 'open') spoolId = frame.value.spoolId;
          if (frame.case === 'declaration' && frame.value.last) {
            const value = { dbEpoch: 'e1', serverTimeMs: 1n, frozen: false };
            call.write(create(LeasesResponseSchema, { frame: { case: 'opened', value } }));
          }
          if (frame.case !== 'question') return;
          const { questionId, want } = frame.value;
          const budget = budgetRefFromWire(frame.value.budget);
          const answer = (): void => {
            const leaseId = ids.get(budgetId(budget)) ?? (ids.size + 1).toString(16).padStart(32, '0');
            ids.set(budgetId(budget), leaseId);
            const lease = this.#lease(leaseId);
            lease.granted += Number(want);
            const grants = [{ leaseId, spoolId, budget: budgetRefToWire(budget), granted: BigInt(lease.granted) }];
            call.write(create(LeasesResponseSchema, { frame: { case: 'grants', value: { questionId, grants } } }));
          };
          if (this.lateAnswers === undefined) answer();
          else this.lateAnswers.push(answer);
        });
      },
    });
    implement(this.#server, UsageService, {
      report: (call) => {
        let turn = Promise.resolve();
        call.on('error', () => undefined);
        call.on('end', () => call.end());
        call.on('data', ({ frame }) => {
          if (frame.case === 'open') {
            const acked = [...this.#acked].map(([incarnation, ackedSeq]) => ({ incarnation, ackedSeq }));
            call.write(create(ReportResponseSchema, { frame: { case: 'opened', value: { dbEpoch: 'e1', acked } } }));
          }
          if (frame.case !== 'batch') return;
          const { value } = frame;
          turn = turn.then(async () => {
            for (const record of (await usageBatchFromWire(value)).records) {
              if (!record.ok) throw record.error;
              if (record.kind === 'lease') this.#lease(record.lease.leaseId).returned = record.lease.returned;
              else for (const { leaseId, amount } of record.final.leases) this.#lease(leaseId).used += Number(amount);
            }
            this.#acked.set(value.incarnation, value.lastSeq);
            if (this.silent) return;
            const ack = { incarnation: value.incarnation, ackedSeq: value.lastSeq, dbEpoch: 'e1' };
            call.write(create(ReportResponseSchema, { frame: { case: 'ack', value: ack } }));
            for (const answer of this.lateAnswers?.splice(0) ?? []) answer();
          });
        });
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    this.address = `127.0.0.1:${port}`;
  }

  get granted(): number {
    return [...this.leases.values()].reduce((sum, lease) => sum + lease.granted, 0);
  }

  get held(): number {
    return [...this.leases.values()].reduce((sum, { granted, returned, used }) => sum + granted - returned - used, 0);
  }

  close(): void {
    this.#server.forceShutdown();
  }

  #lease(leaseId: string): { granted: number; returned: number; used: number } {
    const lease = this.leases.get(leaseId) ?? { granted: 0, returned: 0, used: 0 };
    this.leases.set(leaseId, lease);
    return lease;
  }
}

const PREPAID: BudgetRef = { capId: 'prepaid_acc_1', windowStartMs: 0 };

let folder: string;
let books: Books;
let spool: Spool;
let leases: LeaseClient;
let usage: UsageClient;
let desk: LeaseDesk;
const clock = { nowMs: Date.now };

beforeEach(async () => {
  folder = newFolder();
  books = new Books();
  await books.listen();
  ({ spool } = await openTestSpool(folder, 7n));
});
afterEach(async () => {
  leases.close();
  usage.close();
  books.close();
  await spool.close();
  fs.rmSync(folder, { recursive: true });
});

/** Resolves when the desk may ask. */
async function start(address = books.address): Promise<void> {
  const link = { address, joinToken: 'join-me', nodeId: 'nod_1', region: 'eu', random: Math.random, spool };
  const opened = Promise.withResolvers<void>();
  leases = new LeaseClient({
    ...link,
    dbEpoch: () => 'e1',
    hurry: () => usage.hurry(),
    log: (message) => message.startsWith('leases ') && opened.resolve(),
  });
  desk = new LeaseDesk({ recovered: spool.leases(), spoolId: spool.spoolId, effects: leases.effects, nowMs: Date.now() });
  // Nothing is uploaded by itself: what reaches the books was hurried.
  const limits = { lingerMs: 3_600_000, quietMs: 3_600_000 };
  const onAcknowledged = (seq: number): void => desk.acknowledged(seq, Date.now());
  usage = startUsageClient({ ...link, onAcknowledged, log: () => undefined, limits });
  leases.start(desk);
  await opened.promise;
}

function reserve(amount: number, budget = PREPAID): Promise<Reservation> {
  const amounts: BudgetAmount[] = [{ budget, scope: 'account', window: 'prepaid', unit: 'nano_usd', amount }];
  return new Promise((resolve, reject) => {
    desk.reserve(amounts, Date.now(), (outcome) => {
      if (outcome.kind === 'reserved') resolve(outcome.reservation);
      else reject(new Error(JSON.stringify(outcome.refusal)));
    });
  });
}

/** Nothing changes by itself after this. */
async function answered(): Promise<void> {
  do await new Promise((resolve) => setTimeout(resolve, 1));
  while (desk.status().questions > 0 || leases.unwritten > 0);
}

async function charge(reservation: Reservation, amount: number): Promise<void> {
  const named = reservation.leases.map(({ leaseId }) => ({ leaseId, amount: BigInt(amount) }));
  await writeFinal(spool, { ...finalOf(`r${Math.random()}`, BigInt(amount)), leases: named });
  desk.settle(
    reservation,
    reservation.leases.map(() => amount),
    Date.now(),
  );
}

describe('a node that goes', () => {
  it('gives back all that is free, and goes when the control plane has it', async () => {
    await start();
    for (const amount of [700, 20, 100_000]) await charge(await reserve(amount), amount - 1);
    await charge(await reserve(50, { capId: 'cap_1', windowStartMs: 0 }), 0);
    expect(books.held).toBeGreaterThan(0);
    expect(await handBack({ desk, leases, usage, clock }, 10_000)).toBe(true);
    expect(books.held).toBe(0);
    expect(books.granted).toBeGreaterThan(100_000);
    expect(spool.ackedSeq(7n)).toBe(spool.lastSeq);
  });

  it('gives back what is free where everything else is acknowledged already', async () => {
    await start();
    await charge(await reserve(1000), 10);
    await answered();
    expect(await usage.drain(10_000)).toBe(true);
    expect(books.held).toBeGreaterThan(0);
    expect(await handBack({ desk, leases, usage, clock }, 10_000)).toBe(true);
    expect(books.held).toBe(0);
  });

  it('gives back what was granted to a last question too', async () => {
    await start();
    await charge(await reserve(1000), 1000);
    books.lateAnswers = [];
    const refused = reserve(5_000_000);
    refused.catch(() => undefined);
    const before = books.granted;
    expect(await handBack({ desk, leases, usage, clock }, 10_000)).toBe(true);
    await expect(refused).rejects.toThrow('the node is going');
    expect(books.granted).toBeGreaterThan(before);
    expect(books.held).toBe(0);
  });

  it('keeps its leases for the next start where no control plane is', async () => {
    await start();
    await charge(await reserve(1000), 10);
    const { address } = books;
    leases.close();
    usage.close();
    books.close();
    await start(address);
    const [before] = spool.leases();
    expect(before).toMatchObject({ used: 10, returned: 0 });
    expect(await handBack({ desk, leases, usage, clock }, 200)).toBe(false);
    expect(spool.leases()).toEqual([before]);
  });

  it.each([0, 3_600_000])('does not wait longer than it may, where its clock is set back by %d ms meanwhile', async (backMs) => {
    await start();
    await charge(await reserve(1000), 10);
    books.silent = true;
    const startMs = performance.now();
    const setBack = { nowMs: () => Date.now() - (performance.now() - startMs > 100 ? backMs : 0) };
    expect(await handBack({ desk, leases, usage, clock: setBack }, 300)).toBe(false);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(299);
    expect(spool.leases()[0]?.returned).toBeGreaterThan(0);
  });
});

describe('the figures of leases', () => {
  it('tell by unit what is held, free and set aside', async () => {
    await start();
    const metrics = createMetrics();
    registerLeaseMetrics(metrics, { desk, client: leases, unitOfCap: (capId) => (capId === 'cap_1' ? 'images' : undefined), clock });
    const settled = await reserve(1000);
    await charge(settled, 400);
    await reserve(100);
    await reserve(3, { capId: 'cap_1', windowStartMs: 0 });
    await reserve(5, { capId: 'cap_gone', windowStartMs: 0 });
    await answered();
    const text = await metrics.registry.metrics();
    const figure = (name: string): number => Number(new RegExp(`^${name.replaceAll(/[{}]/g, '\\$&')} (\\S+)$`, 'm').exec(text)?.[1]);
    const held = desk.leaseOn(PREPAID);
    if (held === undefined) throw new Error('no lease');
    expect(held.reserved).toBe(100);
    expect(figure('meridian_lease_held{unit="nano_usd"}')).toBe(held.granted - 400);
    expect(figure('meridian_lease_free{unit="nano_usd"}')).toBe(held.granted - 500);
    expect(figure('meridian_lease_reserved{unit="nano_usd"}')).toBe(100);
    expect(figure('meridian_lease_reserved{unit="images"}')).toBe(3);
    expect(figure('meridian_lease_reserved{unit="chat_completions"}')).toBe(0);
    expect(figure('meridian_lease_reserved{unit="unknown"}')).toBe(5);
    expect(figure('meridian_leases_open')).toBe(3);
    expect(figure('meridian_lease_connected')).toBe(1);
    expect(figure('meridian_lease_questions_total')).toBeGreaterThanOrEqual(3);
    expect(figure('meridian_lease_answer_age_seconds')).toBeLessThan(60);
    expect(figure('meridian_lease_denials_total')).toBe(0);
    await charge(await reserve(100), 100);
    await answered();
    expect(await metrics.registry.metrics()).toContain(`meridian_lease_held{unit="nano_usd"} ${held.granted - 500}\n`);
    desk.closed(held.id, Date.now());
    await answered();
    expect(await metrics.registry.metrics()).toContain('meridian_lease_held{unit="nano_usd"} 0\n');
  });
});
