import fs from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import type { LeaseRecord } from '@meridian/domain/lease';
import { leaseRecordFromWire } from '@meridian/wire/codec/lease';
import {
  DenialReason,
  LeaseService,
  type LeasesOpen,
  type LeasesRequest,
  type LeasesResponse,
  LeasesResponseSchema,
} from '@meridian/wire/gen/lease_pb';
import { SERVER_OPTIONS } from '@meridian/wire/grpc-options';
import { implement } from '@meridian/wire/grpc-service';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Spool } from '../metering/spool/spool.ts';
import { newFolder, openTestSpool } from '../metering/spool/testing.ts';
import { LeaseClient, type LeaseClientLimits, type LeaseListener } from './lease-client.ts';

type Stream = ServerDuplexStream<LeasesRequest, LeasesResponse>;
type Down = NonNullable<MessageInitShape<typeof LeasesResponseSchema>['frame']>;

const FAST: Partial<LeaseClientLimits> = { leastBackoffMs: 5, mostBackoffMs: 20 };

/** The control plane's side of `Leases`: a stream that has declared all is opened, and everything said on it is kept. */
class LeaseOffice {
  readonly opens: LeasesOpen[] = [];
  readonly tokens: string[] = [];
  /** Sizes of the declarations of each stream, and what they said. */
  readonly declarations: { sizes: number[]; leases: LeaseRecord[] }[] = [];
  readonly heard: LeasesRequest['frame'][] = [];
  dbEpoch = 'epoch-1';
  stream: Stream | undefined;
  address = '';
  readonly #server = new Server(SERVER_OPTIONS);
  #news: (() => void)[] = [];

  async listen(address = '127.0.0.1:0'): Promise<void> {
    implement(this.#server, LeaseService, { leases: (stream) => this.#serve(stream) });
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    this.address = `127.0.0.1:${port}`;
  }

  say(frame: Down): void {
    this.stream?.write(create(LeasesResponseSchema, { frame }));
  }

  /** Resolves with the next frame after the declarations. */
  async hears(count: number): Promise<LeasesRequest['frame'][]> {
    while (this.heard.length < count) await new Promise<void>((resolve) => this.#news.push(resolve));
    return this.heard;
  }

  /** Ends the stream as a failing server does: grpc-js turns the event into the call's status. */
  drop(): void {
    this.stream?.emit('error', { code: status.UNAVAILABLE, details: 'dropped' });
  }

  close(): void {
    this.#server.forceShutdown();
  }

  #serve(stream: Stream): void {
    this.stream = stream;
    this.tokens.push(String(stream.metadata.get('authorization')[0]));
    const said: { sizes: number[]; leases: LeaseRecord[] } = { sizes: [], leases: [] };
    this.declarations.push(said);
    stream.on('error', () => undefined);
    stream.on('end', () => stream.end());
    stream.on('data', ({ frame }: LeasesRequest) => {
      if (frame.case === 'open') this.opens.push(frame.value);
      else if (frame.case === 'declaration') {
        said.sizes.push(frame.value.leases.length);
        said.leases.push(...frame.value.leases.map(leaseRecordFromWire));
        if (frame.value.last) this.say({ case: 'opened', value: { dbEpoch: this.dbEpoch, serverTimeMs: 1n, frozen: false } });
      } else this.heard.push(frame);
      for (const tell of this.#news.splice(0)) tell();
    });
  }
}

/** Keeps what a desk is told, in order. */
class Told implements LeaseListener {
  readonly events: { readonly type: string; readonly value?: unknown }[] = [];
  readonly ticks: number[] = [];
  #news: (() => void)[] = [];

  opened(stream: { dbEpoch: string; frozen: boolean }): void {
    this.#add('opened', stream);
  }
  disconnected(): void {
    this.#add('disconnected');
  }
  grants(grants: unknown, questionId: number): void {
    this.#add('grants', { grants, questionId });
  }
  denial(denial: unknown): void {
    this.#add('denial', denial);
  }
  recall(recall: unknown): void {
    this.#add('recall', recall);
  }
  closed(leaseId: string): void {
    this.#add('closed', leaseId);
  }
  tick(nowMs: number): void {
    this.ticks.push(nowMs);
  }

  async until(type: string, count = 1): Promise<unknown[]> {
    for (;;) {
      const found = this.events.filter((event) => event.type === type);
      if (found.length >= count) return found.map((event) => event.value);
      await new Promise<void>((resolve) => this.#news.push(resolve));
    }
  }

  #add(type: string, value?: unknown): void {
    this.events.push(value === undefined ? { type } : { type, value });
    for (const tell of this.#news.splice(0)) tell();
  }
}

let folder: string;
let office: LeaseOffice;
let spool: Spool;
let client: LeaseClient | undefined;
let told: Told;
let log: string[];
let hurried: number;
beforeEach(async () => {
  folder = newFolder();
  office = new LeaseOffice();
  await office.listen();
  ({ spool } = await openTestSpool(folder, 7n));
  told = new Told();
  log = [];
  hurried = 0;
});
afterEach(async () => {
  client?.close();
  client = undefined;
  office.close();
  await spool.close();
  fs.rmSync(folder, { recursive: true });
});

function make(options: Partial<ConstructorParameters<typeof LeaseClient>[0]> = {}): LeaseClient {
  client = new LeaseClient({
    address: office.address,
    joinToken: 'join-me',
    nodeId: 'nod_test',
    region: 'eu',
    spool,
    dbEpoch: () => 'epoch-1',
    hurry: () => {
      hurried++;
    },
    random: Math.random,
    log: (message) => log.push(message),
    ...options,
    limits: { ...FAST, ...options.limits },
  });
  return client;
}

const BUDGET = { capId: 'prepaid_acc_1', windowStartMs: 0 };

function leaseOf(index: number, fields: Partial<LeaseRecord> = {}): LeaseRecord {
  const leaseId = index.toString(16).padStart(32, '0');
  const budget = { capId: `cap_${index}`, windowStartMs: 86_400_000 };
  return { leaseId, budget, granted: 1000 + index, returned: index, used: 0, closed: false, ...fields };
}

async function write(records: readonly LeaseRecord[]): Promise<void> {
  await Promise.all(
    records.map(
      (record) => new Promise<void>((resolve, reject) => spool.lease(record, (error) => (error === undefined ? resolve() : reject(error)))),
    ),
  );
}

const QUESTION = { questionId: 1, budget: BUDGET, need: 10, want: 2 ** 51, ratePer30s: 30 };
const WIRE_BUDGET = { capId: BUDGET.capId, windowStartMs: 0n };

describe('the stream of leases', () => {
  it('opens with the join token and a declaration of all that the spool knows, a thousand at a time, and only then is open', async () => {
    const leases = Array.from({ length: 2500 }, (_, index) => leaseOf(index, { closed: index === 3 }));
    await write(leases);
    const { effects } = make();
    client?.start(told);
    expect(client?.status().connected).toBe(false);
    effects.ask(QUESTION);
    effects.answerRecall({ recallId: 1n, leaseId: leaseOf(1).leaseId });
    await told.until('opened');
    effects.ask({ ...QUESTION, questionId: 2 });
    expect(await office.hears(1)).toMatchObject([{ case: 'question', value: { questionId: 2n } }]);
    expect(office.tokens).toEqual(['Bearer join-me']);
    expect(office.opens[0]).toMatchObject({
      nodeId: 'nod_test',
      region: 'eu',
      spoolId: spool.spoolId,
      incarnation: 7n,
      dbEpoch: 'epoch-1',
    });
    expect(office.declarations[0]?.sizes).toEqual([1000, 1000, 500]);
    expect(office.declarations[0]?.leases).toEqual(leases);
    expect(client?.status()).toMatchObject({ connected: true, streamsOpened: 1, streamsBroken: 0 });
  });

  it('declares nothing in one frame where the spool knows no lease', async () => {
    make().start(told);
    await told.until('opened');
    expect(office.declarations[0]?.sizes).toEqual([0]);
  });

  it('carries questions and answers to recalls up, and totals, denials, recalls and ends down', async () => {
    const { effects } = make();
    client?.start(told);
    await told.until('opened');
    effects.ask(QUESTION);
    effects.answerRecall({ recallId: 77n, leaseId: leaseOf(1).leaseId });
    expect(await office.hears(2)).toMatchObject([
      { case: 'question', value: { questionId: 1n, budget: WIRE_BUDGET, need: 10n, want: 2n ** 51n, ratePer30s: 30n } },
      { case: 'recallAnswer', value: { recallId: 77n, leaseId: leaseOf(1).leaseId } },
    ]);
    const { leaseId } = leaseOf(1);
    office.say({
      case: 'grants',
      value: { questionId: 1n, grants: [{ leaseId, spoolId: spool.spoolId, budget: WIRE_BUDGET, granted: 500n }] },
    });
    const denial = { questionId: 2n, budget: WIRE_BUDGET, left: 3n, limit: 100n, settled: 97n, held: 0n };
    office.say({ case: 'denial', value: { ...denial, reason: DenialReason.EXHAUSTED } });
    office.say({ case: 'denial', value: { ...denial, reason: DenialReason.UNREACHABLE } });
    office.say({ case: 'recall', value: { recallId: 5n, leaseId, retire: true } });
    office.say({ case: 'closed', value: { leaseId } });
    await told.until('closed');
    expect(told.events.slice(1)).toEqual([
      { type: 'grants', value: { grants: [{ leaseId, spoolId: spool.spoolId, budget: BUDGET, granted: 500 }], questionId: 1 } },
      { type: 'denial', value: { questionId: 2, budget: BUDGET, reason: 'exhausted', left: 3, limit: 100 } },
      { type: 'denial', value: { questionId: 2, budget: BUDGET, reason: 'unreachable', left: 3, limit: 100 } },
      { type: 'recall', value: { recallId: 5n, leaseId, retire: true } },
      { type: 'closed', value: leaseId },
    ]);
    expect(client?.status()).toMatchObject({ questions: 1, grants: 1, denials: 2, recalls: 1, unreadableFrames: 0 });
    expect(client?.status().lastAnswerAtMs).toBeGreaterThan(0);
  });

  it('goes on after frames that it cannot read', async () => {
    make().start(told);
    await told.until('opened');
    const { leaseId } = leaseOf(1);
    const grant = { leaseId, spoolId: spool.spoolId, budget: WIRE_BUDGET, granted: 500n };
    office.say({ case: 'grants', value: { grants: [{ ...grant, granted: -1n }] } });
    office.say({ case: 'grants', value: { grants: [{ ...grant, granted: 2n ** 60n }] } });
    office.say({ case: 'denial', value: { questionId: 1n, left: 1n, limit: 1n, reason: DenialReason.EXHAUSTED } });
    office.say({ case: 'recall', value: { recallId: 1n, leaseId: 'short' } });
    office.stream?.write(create(LeasesResponseSchema, {}));
    office.say({ case: 'grants', value: { grants: [grant] } });
    await told.until('grants');
    expect(told.events.slice(1)).toEqual([
      { type: 'grants', value: { grants: [{ leaseId, spoolId: spool.spoolId, budget: BUDGET, granted: 500 }], questionId: 0 } },
    ]);
    expect(client?.status()).toMatchObject({ connected: true, unreadableFrames: 5, streamsBroken: 0, lastAnswerAtMs: undefined });
    expect(log).toContain('a frame about leases could not be read');
  });

  it('tells the desk when it breaks, drops what is asked meanwhile, and declares everything anew', async () => {
    const { effects } = make();
    client?.start(told);
    await told.until('opened');
    await write([leaseOf(1)]);
    office.drop();
    await told.until('disconnected');
    effects.ask(QUESTION);
    effects.answerRecall({ recallId: 1n, leaseId: leaseOf(1).leaseId });
    await told.until('opened', 2);
    expect(office.declarations.at(-1)?.leases).toEqual([leaseOf(1)]);
    effects.ask({ ...QUESTION, questionId: 2 });
    expect(await office.hears(1)).toMatchObject([{ case: 'question', value: { questionId: 2n } }]);
    expect(told.events.map((event) => event.type)).toEqual(['opened', 'disconnected', 'opened']);
    expect(client?.status()).toMatchObject({ questions: 1, streamsOpened: 2, streamsBroken: 1 });
  });

  it('declares again where the database turns out to be of another epoch, without a word to the desk before', async () => {
    await write([leaseOf(1)]);
    office.dbEpoch = 'epoch-2';
    make().start(told);
    await told.until('opened');
    expect(office.opens.map((open) => open.dbEpoch)).toEqual(['epoch-1', 'epoch-2']);
    expect(office.declarations.map((said) => said.leases)).toEqual([[leaseOf(1)], [leaseOf(1)]]);
    expect(told.events).toEqual([{ type: 'opened', value: { dbEpoch: 'epoch-2', frozen: false } }]);
    office.drop();
    await told.until('opened', 2);
    expect(office.opens.at(-1)?.dbEpoch).toBe('epoch-2');
  });

  it('pauses ever longer while replicas differ about the epoch', async () => {
    const pausesMs: number[] = [];
    const third = Promise.withResolvers<void>();
    office.dbEpoch = 'epoch-2';
    make({
      random: () => 1,
      limits: { leastBackoffMs: 3, mostBackoffMs: 100, connectMs: 60_000 },
      after: (delayMs, run) => {
        if (delayMs < 60_000) {
          pausesMs.push(delayMs);
          if (pausesMs.length === 3) third.resolve();
          else setTimeout(run, delayMs);
          office.dbEpoch = office.dbEpoch === 'epoch-1' ? 'epoch-2' : 'epoch-1';
        }
        return () => undefined;
      },
    }).start(told);
    await third.promise;
    expect(pausesMs).toEqual([3, 6, 12]);
    expect(told.events).toEqual([]);
  });

  it('takes the epoch that it is told where it has no picture', async () => {
    make({ dbEpoch: () => '' }).start(told);
    await told.until('opened');
    office.drop();
    await told.until('opened', 2);
    expect(office.opens.map((open) => open.dbEpoch)).toEqual(['', 'epoch-1']);
  });

  it('gives up on a connection that says nothing, also in the middle of a declaration', async () => {
    await write(Array.from({ length: 40 }, (_, index) => leaseOf(index)));
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const bound = silent.address();
    if (bound === null || typeof bound === 'string') throw new Error('no port');
    const tried = Promise.withResolvers<void>();
    make({
      address: `127.0.0.1:${bound.port}`,
      limits: { connectMs: 30, declarationLeases: 1 },
      log: () => client?.status().streamsBroken === 2 && tried.resolve(),
    }).start(told);
    await tried.promise;
    expect(told.events).toEqual([]);
    client?.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
  });

  it('leaves a control plane that takes no frames any more', async () => {
    const { effects } = make({ limits: { queuedFrames: 50 } });
    client?.start(told);
    await told.until('opened');
    office.stream?.pause();
    const capId = 'c'.repeat(1000);
    for (let questionId = 1; client?.status().streamsBroken === 0 && questionId < 5000; questionId++) {
      effects.ask({ ...QUESTION, questionId, budget: { capId, windowStartMs: 0 } });
      if (questionId % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(client?.status().streamsBroken).toBe(1);
    await told.until('opened', 2);
  });

  it('is not opened again once it is closed', async () => {
    make().start(told);
    await told.until('opened');
    client?.close();
    client?.close();
    expect(told.events.map((event) => event.type)).toEqual(['opened', 'disconnected']);
    client?.effects.ask(QUESTION);
    client?.effects.wakeAt(0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(told.events).toHaveLength(2);
    expect(told.ticks).toHaveLength(1);
    expect(office.opens).toHaveLength(1);
  });
});

describe('what the desk has done', () => {
  it('lies in the spool with its seq, and is counted until then', async () => {
    const { effects } = make();
    const before = spool.lastSeq;
    const written = [leaseOf(1), leaseOf(2)].map(
      (record) => new Promise<number>((resolve) => effects.write(record, (_, seq) => resolve(seq))),
    );
    expect(client?.unwritten).toBe(2);
    expect(await Promise.all(written)).toEqual([before + 1, before + 2]);
    expect(client?.unwritten).toBe(0);
    expect(spool.leases()).toEqual([leaseOf(1), leaseOf(2)]);
  });

  it('wakes it once, at the time that was given last', () => {
    let nowMs = 1000;
    const timers: { delayMs: number; run: () => void; cancelled: boolean }[] = [];
    const { effects } = make({
      clock: { nowMs: () => nowMs },
      after: (delayMs, run) => {
        const timer = { delayMs, run, cancelled: false };
        timers.push(timer);
        return () => {
          timer.cancelled = true;
        };
      },
    });
    client?.start(told);
    expect(told.ticks).toEqual([1000]);
    timers.length = 0;
    effects.wakeAt(1500);
    effects.wakeAt(1200);
    effects.wakeAt(900);
    expect(timers.map(({ delayMs, cancelled }) => [delayMs, cancelled])).toEqual([
      [500, true],
      [200, true],
      [0, false],
    ]);
    nowMs = 1001;
    timers[2]?.run();
    expect(told.ticks).toEqual([1000, 1001]);
    effects.wakeAt(2000);
    effects.wakeAt(undefined);
    expect(timers.at(-1)).toMatchObject({ delayMs: 999, cancelled: true });
  });

  it('is not woken at once for the end of a month, which is further off than a timer of the process can be set', async () => {
    const { effects } = make({ clock: { nowMs: () => 0 } });
    client?.start(told);
    expect(told.ticks).toHaveLength(1);
    effects.wakeAt(31 * 24 * 3600 * 1000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(told.ticks).toHaveLength(1);
  });

  it('hurries the upload', () => {
    make().effects.hurry();
    expect(hurried).toBe(1);
  });
});
