import fs from 'node:fs';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { usageBatchFromWire } from '@meridian/wire/codec/usage-batch';
import { type ReportOpen, type ReportRequest, type ReportResponse, ReportResponseSchema, UsageService } from '@meridian/wire/gen/usage_pb';
import { SERVER_OPTIONS } from '@meridian/wire/grpc-options';
import { implement } from '@meridian/wire/grpc-service';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { durable, finalOf, intentOf, newFolder, openTestSpool, writeFinal, writeIntent } from '../metering/spool/testing.ts';
import { startUsageClient, type UsageClient, type UsageClientLimits } from './usage-client.ts';

type Stream = ServerDuplexStream<ReportRequest, ReportResponse>;

const FAST: Partial<UsageClientLimits> = { leastBackoffMs: 5, mostBackoffMs: 20, lingerMs: 0, quietMs: 20, batchRecords: 7 };

/** What may go wrong at the control plane with one batch. */
type Fault = 'none' | 'drop before commit' | 'drop after commit' | 'ack twice' | 'ack lower' | 'forget' | 'ack ahead';

/**
 * The ingest side of Report as the contract has it: a cursor for each incarnation, seqs at or below it skipped, a gap closes
 * the stream, batches in order.
 */
class Ingest {
  readonly cursors = new Map<bigint, number>();
  /** Every (incarnation, seq) whose effect was applied, with how often. */
  readonly applied = new Map<string, number>();
  readonly order: string[] = [];
  readonly tokens: string[] = [];
  readonly opens: ReportOpen[] = [];
  readonly batches: { firstSeq: number; lastSeq: number; finals: number }[] = [];
  readonly gaps: string[] = [];
  fault: () => Fault = () => 'none';
  readonly #server = new Server(SERVER_OPTIONS);
  readonly #streams = new Set<Stream>();
  address = '';
  dbEpoch = 'epoch-1';

  async listen(address = '127.0.0.1:0'): Promise<void> {
    implement(this.#server, UsageService, { report: (stream) => this.#serve(stream) });
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    this.address = `127.0.0.1:${port}`;
  }

  dropStreams(): void {
    for (const stream of this.#streams) drop(stream);
  }

  close(): void {
    this.#server.forceShutdown();
  }

  #serve(stream: Stream): void {
    this.#streams.add(stream);
    stream.on('error', () => this.#streams.delete(stream));
    stream.on('close', () => this.#streams.delete(stream));
    let turn = Promise.resolve();
    let over = false;
    stream.on('data', (request: ReportRequest) => {
      turn = turn.then(async () => {
        if (over) return;
        over = await this.#take(stream, request);
        if (over) drop(stream);
      });
    });
    stream.on('end', () => stream.end());
  }

  async #take(stream: Stream, { frame }: ReportRequest): Promise<boolean> {
    if (frame.case === 'open') {
      this.tokens.push(String(stream.metadata.get('authorization')[0]));
      this.opens.push(frame.value);
      const acked = [...this.cursors].map(([incarnation, seq]) => ({ incarnation, ackedSeq: BigInt(seq) }));
      stream.write(create(ReportResponseSchema, { frame: { case: 'opened', value: { dbEpoch: this.dbEpoch, acked } } }));
      return false;
    }
    if (frame.case !== 'batch') return true;
    const batch = await usageBatchFromWire(frame.value);
    const cursor = this.cursors.get(batch.incarnation) ?? 0;
    if (batch.firstSeq > cursor + 1) {
      this.gaps.push(`${batch.firstSeq} behind ${cursor}`);
      return true;
    }
    const fault = this.fault();
    if (fault === 'drop before commit') return true;
    this.batches.push({ firstSeq: batch.firstSeq, lastSeq: batch.lastSeq, finals: batch.records.length });
    for (const record of batch.records) {
      if (record.seq <= cursor) continue;
      const key = `${batch.incarnation}/${record.seq}`;
      this.applied.set(key, (this.applied.get(key) ?? 0) + 1);
      if (record.ok && record.kind === 'final') this.order.push(record.final.requestId);
    }
    const advanced = Math.max(cursor, batch.lastSeq);
    this.cursors.set(batch.incarnation, advanced);
    if (fault === 'drop after commit') return true;
    if (fault === 'forget') return false;
    if (fault === 'ack lower') this.#ack(stream, batch.incarnation, Math.max(0, cursor - 3));
    this.#ack(stream, batch.incarnation, fault === 'ack ahead' ? advanced + 1000 : advanced);
    if (fault === 'ack twice') this.#ack(stream, batch.incarnation, advanced);
    return false;
  }

  #ack(stream: Stream, incarnation: bigint, seq: number): void {
    stream.write(
      create(ReportResponseSchema, { frame: { case: 'ack', value: { incarnation, ackedSeq: BigInt(seq), dbEpoch: this.dbEpoch } } }),
    );
  }
}

/** Ends a stream as a failing server does: grpc-js turns the event into the call's status. */
function drop(stream: Stream): void {
  stream.emit('error', { code: status.UNAVAILABLE, details: 'dropped' });
}

let folder: string;
let ingest: Ingest;
let client: UsageClient | undefined;
beforeEach(async () => {
  folder = newFolder();
  ingest = new Ingest();
  await ingest.listen();
});
afterEach(() => {
  client?.close();
  client = undefined;
  ingest.close();
  fs.rmSync(folder, { recursive: true });
});

function start(
  spool: Parameters<typeof startUsageClient>[0]['spool'],
  limits: Partial<UsageClientLimits> = {},
  log: string[] = [],
): UsageClient {
  client = startUsageClient({
    spool,
    address: ingest.address,
    joinToken: 'join-me',
    nodeId: 'nod_test',
    region: 'eu',
    random: Math.random,
    log: (message) => log.push(message),
    limits: { ...FAST, ...limits },
  });
  return client;
}

/** A generator of numbers 0 ≤ x < 1 that repeats with its seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('the upload of usage', () => {
  it('opens with what is retained and the join token, and delivers every final in order', async () => {
    const first = await openTestSpool(folder, 11n);
    for (let index = 0; index < 30; index++) {
      await writeIntent(first.spool, intentOf(`old-${index}`));
      await writeFinal(first.spool, finalOf(`old-${index}`));
    }
    await first.spool.close();
    const { spool } = await openTestSpool(folder, 5n);
    for (let index = 0; index < 30; index++) await writeFinal(spool, finalOf(`new-${index}`));
    await durable(spool);
    expect(await start(spool).drain(20_000)).toBe(true);
    expect(ingest.tokens).toEqual(['Bearer join-me']);
    expect(ingest.opens[0]).toMatchObject({ nodeId: 'nod_test', region: 'eu', spoolId: spool.spoolId });
    expect(ingest.opens[0]?.incarnations.map((range) => [range.incarnation, range.firstSeq, range.lastSeq])).toEqual([
      [11n, 1n, 60n],
      [5n, 1n, 31n],
    ]);
    const names = (prefix: string) => Array.from({ length: 30 }, (_, index) => `${prefix}-${index}`);
    expect(ingest.order).toEqual([...names('old'), ...names('new')]);
    expect(spool.ackedSeq(11n)).toBe(60);
    expect(spool.ackedSeq(5n)).toBe(31);
    client?.close();
    await spool.close();
  });

  it.each([1, 2, 3, 4, 5, 6])(
    'applies each record exactly once through broken streams and odd acknowledgements (seed %i)',
    async (seed) => {
      const random = seeded(seed);
      const faults: Fault[] = ['drop before commit', 'drop after commit', 'ack twice', 'ack lower', 'forget', 'ack ahead'];
      ingest.fault = () => (random() < 0.5 ? 'none' : (faults[Math.floor(random() * faults.length)] ?? 'none'));
      const { spool } = await openTestSpool(folder, 1n, { limits: { segmentBytes: 20_000 } });
      // A forgotten acknowledgement holds the stream up until it counts as dead.
      const running = start(spool, { ackMs: 50 });
      for (let index = 0; index < 300; index++) {
        await writeIntent(spool, intentOf(`r${index}`));
        await writeFinal(spool, finalOf(`r${index}`));
        if (index % 100 === 50) ingest.dropStreams();
      }
      await durable(spool);
      expect(await running.drain(25_000)).toBe(true);
      expect(ingest.gaps).toEqual([]);
      expect(ingest.cursors.get(1n)).toBe(600);
      expect([...ingest.applied.values()].every((times) => times === 1)).toBe(true);
      expect(ingest.order).toEqual(Array.from({ length: 300 }, (_, index) => `r${index}`));
      expect(running.status().streamsBroken).toBeGreaterThan(1);
      running.close();
      await spool.close();
    },
  );

  it('sends again from a lower cursor when the control plane was restored', async () => {
    const { spool, alarms } = await openTestSpool(folder, 1n);
    for (let index = 0; index < 20; index++) await writeFinal(spool, finalOf(`r${index}`, 3n));
    await durable(spool);
    const running = start(spool);
    expect(await running.drain(10_000)).toBe(true);
    ingest.cursors.set(1n, 12);
    ingest.order.length = 0;
    const rewound = Promise.withResolvers<number>();
    ingest.fault = () => {
      rewound.resolve(spool.ackedSeq(1n));
      return 'none';
    };
    ingest.dropStreams();
    expect(await rewound.promise).toBe(12);
    expect(await running.drain(10_000)).toBe(true);
    expect(ingest.order).toEqual(Array.from({ length: 8 }, (_, index) => `r${index + 12}`));
    expect(alarms).toEqual(['the control plane has less than it acknowledged']);
    running.close();
    await spool.close();
  });

  it('says in which epoch of the database it was acknowledged, also after a restart', async () => {
    const first = await openTestSpool(folder, 11n);
    await writeFinal(first.spool, finalOf('one'));
    expect(await start(first.spool).drain(20_000)).toBe(true);
    ingest.dropStreams();
    await expect.poll(() => ingest.opens.length).toBe(2);
    client?.close();
    await first.spool.close();
    const { spool } = await openTestSpool(folder, 12n);
    ingest.dbEpoch = 'epoch-2';
    ingest.cursors.clear();
    expect(await start(spool).drain(20_000)).toBe(true);
    // Of this the control plane sees that its database was set back: it had acknowledged more in that epoch.
    expect(ingest.opens[2]).toMatchObject({
      dbEpoch: 'epoch-1',
      incarnations: [{ incarnation: 11n, ackedSeq: BigInt(first.spool.lastSeq) }, {}],
    });
    client?.close();
    await spool.close();
    const last = await openTestSpool(folder, 13n);
    expect(last.spool.dbEpoch).toBe('epoch-2');
    await start(last.spool).drain(20_000);
    expect(ingest.opens.map(({ dbEpoch }) => dbEpoch)).toEqual(['', 'epoch-1', 'epoch-1', 'epoch-2']);
  });

  it('uploads without delay what is wanted, and tells how far this boot’s records are acknowledged', async () => {
    const { spool } = await openTestSpool(folder, 1n);
    const acked: number[] = [];
    const awaited = Promise.withResolvers<void>();
    let wanted = Number.POSITIVE_INFINITY;
    client = startUsageClient({
      spool,
      address: ingest.address,
      joinToken: 'join-me',
      nodeId: 'nod_test',
      region: 'eu',
      random: Math.random,
      log: () => undefined,
      limits: { ...FAST, lingerMs: 3_600_000, quietMs: 3_600_000 },
      onAcknowledged: (seq) => {
        acked.push(seq);
        if (seq >= wanted) awaited.resolve();
      },
    });
    const lease = { leaseId: '1'.repeat(32), budget: { capId: 'prepaid_acc_1', windowStartMs: 0 }, used: 0, closed: false };
    wanted = await new Promise<number>((resolve) => spool.lease({ ...lease, granted: 9, returned: 9 }, (_, seq) => resolve(seq)));
    client.hurry();
    await awaited.promise;
    expect(acked.at(-1)).toBe(wanted);
    expect(acked.length).toBeGreaterThan(1);
    expect(ingest.applied.get(`1/${wanted}`)).toBe(1);
    expect(ingest.opens[0]?.replacesSpoolId).toBe('');
    client.close();
    await spool.close();
  });

  it('names the id that the folder had before it went backwards', async () => {
    const first = await openTestSpool(folder, 11n);
    await writeFinal(first.spool, finalOf('old'));
    await durable(first.spool);
    const former = first.spool.spoolId;
    await first.spool.close();
    fs.writeFileSync(path.join(folder, 'acked.json'), JSON.stringify({ '000000000000000b': 1000 }));
    const { spool } = await openTestSpool(folder, 5n);
    expect(await start(spool).drain(10_000)).toBe(true);
    expect(spool.spoolId).not.toBe(former);
    expect(ingest.opens[0]).toMatchObject({ spoolId: spool.spoolId, replacesSpoolId: former });
    client?.close();
    await spool.close();
  });

  it('gets seqs without a final acknowledged too, so that a quiet node can delete them', async () => {
    const { spool } = await openTestSpool(folder, 1n);
    const running = start(spool);
    await writeIntent(spool, intentOf('open'));
    await durable(spool);
    expect(await running.drain(10_000)).toBe(true);
    expect(ingest.batches).toEqual([{ firstSeq: 1, lastSeq: 1, finals: 0 }]);
    expect(spool.ackedSeq(1n)).toBe(1);
    running.close();
    await spool.close();
  });

  it('uploads when the control plane comes back, without a restart', async () => {
    const { address } = ingest;
    ingest.close();
    const { spool } = await openTestSpool(folder, 1n);
    await writeFinal(spool, finalOf('r'));
    await durable(spool);
    const log: string[] = [];
    client = startUsageClient({
      spool,
      address,
      joinToken: 'join-me',
      nodeId: 'nod_test',
      region: 'eu',
      random: Math.random,
      log: (message) => log.push(message),
      limits: FAST,
    });
    expect(await client.drain(100)).toBe(false);
    expect(log).toContain('usage upload broken');
    ingest = new Ingest();
    await ingest.listen(address);
    expect(await client.drain(20_000)).toBe(true);
    expect(ingest.order).toEqual(['r']);
    client.close();
    await spool.close();
  });

  it('gives up on a connection that says nothing', async () => {
    const { createServer } = await import('node:net');
    const sockets = new Set<import('node:net').Socket>();
    const silent = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const bound = silent.address();
    if (bound === null || typeof bound === 'string') throw new Error('no port');
    const { spool } = await openTestSpool(folder, 1n);
    const tried = Promise.withResolvers<void>();
    client = startUsageClient({
      spool,
      address: `127.0.0.1:${bound.port}`,
      joinToken: 'join-me',
      nodeId: 'nod_test',
      region: 'eu',
      random: Math.random,
      log: (message) => message === 'usage upload broken' && client?.status().streamsBroken === 2 && tried.resolve(),
      limits: { ...FAST, connectMs: 30 },
    });
    await tried.promise;
    client.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
    await spool.close();
  });
});
