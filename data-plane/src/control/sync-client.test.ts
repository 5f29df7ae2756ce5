import { createHash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import { type ConfigEntry, everyLane, LANES, type Lane } from '@meridian/domain/snapshot';
import { configEntryToWire } from '@meridian/wire/codec/entry';
import { laneFromWire, laneRevisionsFromWire, laneRevisionsToWire, laneToWire } from '@meridian/wire/codec/lane';
import { encodeSnapshotEntry, encodeSnapshotHead } from '@meridian/wire/codec/snapshot-content';
import type { ConfigEntry as WireEntry } from '@meridian/wire/gen/config_pb';
import {
  type Denials,
  type FetchSnapshotRequest,
  type FetchSnapshotResponse,
  FetchSnapshotResponseSchema,
  type Hello,
  type Nack,
  type SyncRequest,
  type SyncResponse,
  SyncResponseSchema,
  SyncService,
} from '@meridian/wire/gen/sync_pb';
import { SERVER_OPTIONS } from '@meridian/wire/grpc-options';
import { implement } from '@meridian/wire/grpc-service';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Picture } from './picture.ts';
import { SnapshotStore } from './snapshot-store.ts';
import { type SyncClient, startSyncClient } from './sync-client.ts';

const SEALING_KEY = new Uint8Array(32).fill(9);

function plan(id: string, version: number, name = `${id} at ${version}`): ConfigEntry {
  return { kind: 'plan', id, version, body: { kind: 'plan', value: { id, name, apiAccess: true } } };
}

function tombstone(id: string, version: number): ConfigEntry {
  return { kind: 'plan', id, version, body: undefined };
}

type Frame = SyncResponse['frame'];

/** A control plane of one process: a log for each lane, and the protocol over a real server. */
class ControlPlane {
  readonly events = new EventEmitter();
  readonly hellos: Hello[] = [];
  readonly nacks: Nack[] = [];
  readonly denials: Denials[] = [];
  dbEpoch = 'e1';
  /** Called for each chunk of a snapshot; what it gives is sent instead, undefined ends the call. */
  tamper: (chunk: FetchSnapshotResponse) => FetchSnapshotResponse | undefined = (chunk) => chunk;
  /** Called for each frame before it is sent; false drops the connection instead. */
  allow: (frame: Frame) => boolean = () => true;
  #log: { lane: Lane; rev: number; entry: WireEntry }[] = [];
  #state = new Map<string, WireEntry>();
  readonly #heads = everyLane(() => 0);
  readonly #acked = new Map<ServerDuplexStream<SyncRequest, SyncResponse>, Partial<Record<Lane, number>>>();
  readonly #sent = new Map<ServerDuplexStream<SyncRequest, SyncResponse>, Partial<Record<Lane, number>>>();
  #server: Server | undefined;
  port = 0;

  async listen(): Promise<void> {
    const server = new Server(SERVER_OPTIONS);
    implement(server, SyncService, { sync: (call) => this.#sync(call), fetchSnapshot: (call) => this.#fetch(call) });
    this.port = await new Promise((resolve, reject) =>
      server.bindAsync(`127.0.0.1:${this.port}`, ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      ),
    );
    this.#server = server;
  }

  stop(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
    this.#acked.clear();
    this.#sent.clear();
  }

  get heads(): Readonly<Record<Lane, number>> {
    return { ...this.#heads };
  }

  publish(lane: Lane, ...entries: ConfigEntry[]): void {
    this.publishWire(lane, ...entries.map(configEntryToWire));
  }

  publishWire(lane: Lane, ...entries: WireEntry[]): void {
    for (const entry of entries) {
      this.#log.push({ lane, rev: ++this.#heads[lane], entry });
      if (entry.deleted) this.#state.delete(`${entry.kind}/${entry.id}`);
      else this.#state.set(`${entry.kind}/${entry.id}`, entry);
    }
    this.push();
  }

  /** Restored from a backup: other entities, versions and revs, under another epoch. */
  restore(dbEpoch: string, entries: ConfigEntry[]): void {
    this.dbEpoch = dbEpoch;
    this.#log = [];
    this.#state = new Map();
    for (const lane of LANES) this.#heads[lane] = 0;
    this.publish('catalog', ...entries);
  }

  push(): void {
    for (const call of this.#acked.keys()) for (const lane of LANES) this.#sendNext(call, lane);
  }

  send(frame: Frame): void {
    for (const call of this.#acked.keys()) this.#write(call, frame);
  }

  heartbeat(): void {
    this.send(
      create(SyncResponseSchema, { frame: { case: 'heartbeat', value: { heads: laneRevisionsToWire(this.#heads), regionNodes: 2 } } })
        .frame,
    );
  }

  /** Ends every connection, as a crash would. */
  drop(): void {
    for (const call of [...this.#acked.keys()]) this.#drop(call);
  }

  /** Resolves when a node has acknowledged everything. */
  async caughtUp(): Promise<void> {
    while (![...this.#acked.values()].some((acked) => LANES.every((lane) => acked[lane] === this.#heads[lane]))) {
      await once(this.events, 'ack');
    }
  }

  #sync(call: ServerDuplexStream<SyncRequest, SyncResponse>): void {
    call.on('error', () => {});
    if (call.metadata.get('authorization')[0] !== 'Bearer join-token') return void call.destroy(new Error('who are you'));
    const forget = (): void => {
      this.#acked.delete(call);
      this.#sent.delete(call);
    };
    call.on('cancelled', forget).on('end', forget);
    call.on('data', ({ frame }: SyncRequest) => {
      if (frame.case === 'hello') this.#hello(call, frame.value);
      if (frame.case === 'nack') this.nacks.push(frame.value);
      if (frame.case === 'denials') this.denials.push(frame.value);
      if (frame.case === 'ack') {
        const lane = laneFromWire(frame.value.lane);
        const rev = Number(frame.value.rev);
        this.#acked.set(call, { ...this.#acked.get(call), [lane]: rev });
        this.#sent.set(call, { ...this.#sent.get(call), [lane]: rev });
        this.events.emit('ack');
        this.#sendNext(call, lane);
      }
    });
  }

  #hello(call: ServerDuplexStream<SyncRequest, SyncResponse>, hello: Hello): void {
    this.hellos.push(hello);
    this.events.emit('hello');
    this.#write(call, frameOf({ case: 'welcome', value: { dbEpoch: this.dbEpoch } }));
    if (hello.dbEpoch === this.dbEpoch && hello.cursors.length > 0) {
      this.#acked.set(call, laneRevisionsFromWire(hello.cursors));
      this.#sent.set(call, laneRevisionsFromWire(hello.cursors));
      this.events.emit('ack');
      for (const lane of LANES) this.#sendNext(call, lane);
      return;
    }
    this.#acked.set(call, {});
    this.#sent.set(call, {});
    const { sha256 } = this.#content();
    const heads = laneRevisionsToWire(this.#heads);
    this.#write(call, frameOf({ case: 'snapshotRef', value: { snapshotId: 'snp_1', dbEpoch: this.dbEpoch, heads, sha256 } }));
  }

  #content(): { packed: Buffer; sha256: Uint8Array } {
    const bytes = Buffer.concat([encodeSnapshotHead(this.dbEpoch, this.#heads), ...[...this.#state.values()].map(encodeSnapshotEntry)]);
    return { packed: gzipSync(bytes), sha256: createHash('sha256').update(bytes).digest() };
  }

  #fetch(call: ServerWritableStream<FetchSnapshotRequest, FetchSnapshotResponse>): void {
    call.on('error', () => {});
    const { packed } = this.#content();
    const half = Math.floor(packed.length / 2);
    for (const [index, chunk] of [packed.subarray(0, half), packed.subarray(half)].entries()) {
      const message = this.tamper(create(FetchSnapshotResponseSchema, { index, chunk, last: index === 1 }));
      if (message === undefined) break;
      call.write(message);
    }
    call.end();
  }

  /** One unacknowledged delta a lane. */
  #sendNext(call: ServerDuplexStream<SyncRequest, SyncResponse>, lane: Lane): void {
    const acked = this.#acked.get(call)?.[lane];
    if (acked === undefined || this.#sent.get(call)?.[lane] !== acked) return;
    const changes = this.#log.filter((change) => change.lane === lane && change.rev > acked).slice(0, 3);
    const rev = changes.at(-1)?.rev;
    if (rev === undefined) return;
    this.#sent.set(call, { ...this.#sent.get(call), [lane]: rev });
    const entries = changes.map((change) => change.entry);
    this.#write(call, frameOf({ case: 'delta', value: { lane: laneToWire(lane), prevRev: BigInt(acked), rev: BigInt(rev), entries } }));
  }

  #write(call: ServerDuplexStream<SyncRequest, SyncResponse>, frame: Frame): void {
    if (this.allow(frame)) call.write(create(SyncResponseSchema, { frame }));
    else this.#drop(call);
  }

  #drop(call: ServerDuplexStream<SyncRequest, SyncResponse>): void {
    this.#acked.delete(call);
    this.#sent.delete(call);
    call.destroy(new Error('connection lost'));
  }
}

function frameOf(frame: NonNullable<MessageInitShape<typeof SyncResponseSchema>['frame']>): Frame {
  return create(SyncResponseSchema, { frame }).frame;
}

let control: ControlPlane;
let dataFolder: string;
const running: { client: SyncClient; store: SnapshotStore }[] = [];

beforeEach(async () => {
  dataFolder = mkdtempSync(join(tmpdir(), 'sync-'));
  control = new ControlPlane();
  await control.listen();
});

afterEach(async () => {
  await stopNodes();
  control.stop();
  rmSync(dataFolder, { recursive: true, force: true });
});

async function startNode(options: { nowMs?: () => number; hasten?: number } = {}) {
  const picture = new Picture({ sealingKey: SEALING_KEY });
  const store = await SnapshotStore.open({ dataFolder, sealingKey: SEALING_KEY, alarm: () => undefined });
  const errors: object[] = [];
  const client = startSyncClient({
    address: `127.0.0.1:${control.port}`,
    joinToken: 'join-token',
    nodeId: 'nod_1',
    spoolId: 'spl_1',
    incarnation: 7n,
    region: 'us',
    build: 'test',
    picture,
    store,
    clock: { nowMs: options.nowMs ?? Date.now },
    random: () => 0,
    log: { info: () => {}, warn: () => {}, error: (fields) => errors.push(fields) },
    after: (delayMs, run) => {
      const timer = setTimeout(run, delayMs / (options.hasten ?? 1));
      return () => clearTimeout(timer);
    },
  });
  running.push({ client, store });
  return { client, picture, errors };
}

async function stopNodes(): Promise<void> {
  for (const { client, store } of running.splice(0)) {
    await client.close();
    await store.close();
  }
}

/** What would be a good snapshot of the same moment. */
function otherContent(): Uint8Array {
  return gzipSync(
    Buffer.concat([encodeSnapshotHead(control.dbEpoch, control.heads), encodeSnapshotEntry(configEntryToWire(plan('wrong', 1)))]),
  );
}

function reference(...entries: ConfigEntry[]): Picture {
  const picture = new Picture({ sealingKey: SEALING_KEY });
  for (const entry of entries) picture.apply(entry);
  return picture;
}

describe('a node', () => {
  it('that is new takes a snapshot, then follows every lane', async () => {
    control.publish('catalog', plan('a', 1), plan('b', 1));
    const { client, picture } = await startNode();
    await client.ready;
    expect(picture.plan('a')?.name).toBe('a at 1');
    expect(control.hellos[0]).toMatchObject({ nodeId: 'nod_1', spoolId: 'spl_1', incarnation: 7n, region: 'us', dbEpoch: '', cursors: [] });
    control.publish('customer', plan('a', 2));
    control.publish('security', plan('b', 2), tombstone('a', 3));
    await control.caughtUp();
    expect(picture.digest()).toEqual(reference(plan('b', 2)).digest());
    expect(client.status()).toMatchObject({ connected: true, dbEpoch: 'e1', cursors: control.heads, nacked: 0 });
  });

  it('that restarts while the control plane is away serves what it had, and goes on from there when it is back', async () => {
    control.publish('catalog', plan('a', 1), plan('b', 1));
    const before = await startNode();
    await before.client.ready;
    control.publish('security', tombstone('b', 2));
    control.publish('catalog', plan('c', 1));
    await control.caughtUp();
    await stopNodes();
    control.stop();

    const { client, picture, errors } = await startNode();
    await client.ready;
    expect(picture.digest()).toEqual(before.picture.digest());
    expect(client.status()).toMatchObject({ connected: false, dbEpoch: 'e1', cursors: control.heads });
    expect(client.status().configAgeMs).toBeGreaterThanOrEqual(0);

    control.hellos.length = 0;
    control.publish('customer', plan('a', 2));
    await control.listen();
    await control.caughtUp();
    expect(picture.plan('a')?.name).toBe('a at 2');
    expect(laneRevisionsFromWire(control.hellos[0]?.cursors ?? [])).toEqual({ security: 1, customer: 0, catalog: 3, bulk: 0 });
    expect(errors).toEqual([]);
  });

  it('whose connection is cut before any frame ends up with everything', async () => {
    let frames = 0;
    control.allow = () => ++frames % 7 !== 0;
    const expected: ConfigEntry[] = [];
    control.publish('catalog', plan('base', 1));
    const { client, picture } = await startNode({ hasten: 10 });
    await client.ready;
    for (let version = 1; version <= 20; version++) {
      for (const [index, lane] of LANES.entries()) {
        const entry = version % 5 === index ? tombstone(lane, version) : plan(lane, version);
        expected.push(entry);
        control.publish(lane, entry);
      }
    }
    await control.caughtUp();
    expect(control.hellos.length).toBeGreaterThan(3);
    expect(picture.digest()).toEqual(reference(plan('base', 1), ...expected).digest());
  });

  it('that sees a hole takes a snapshot instead of what comes after it', async () => {
    control.publish('catalog', plan('a', 1));
    const { client, picture } = await startNode({ hasten: 10 });
    await client.ready;
    await control.caughtUp();
    control.hellos.length = 0;
    control.send(
      frameOf({
        case: 'delta',
        value: { lane: laneToWire('catalog'), prevRev: 5n, rev: 6n, entries: [configEntryToWire(plan('wrong', 1))] },
      }),
    );
    await once(control.events, 'hello');
    expect(control.hellos[0]?.cursors).toEqual([]);
    await control.caughtUp();
    expect(picture.digest()).toEqual(reference(plan('a', 1)).digest());
  });

  it.each<[string, (chunk: FetchSnapshotResponse) => FetchSnapshotResponse | undefined]>([
    ['is cut short', (chunk) => (chunk.last ? undefined : chunk)],
    ['never says it ended', (chunk) => ({ ...chunk, last: false })],
    ['misses a chunk', (chunk) => ({ ...chunk, index: chunk.index * 2 })],
    ['is damaged', (chunk) => (chunk.last ? { ...chunk, chunk: chunk.chunk.map((byte) => byte ^ 1) } : chunk)],
    ['is sound, but not the one announced', (chunk) => ({ ...chunk, chunk: chunk.last ? otherContent() : new Uint8Array(0) })],
    ['holds something else', (chunk) => ({ ...chunk, chunk: chunk.last ? new Uint8Array(0) : gzipSync(Buffer.alloc(40)) })],
  ])('does not take a snapshot that %s, and asks again', async (_, tamper) => {
    control.publish('catalog', plan('a', 1));
    let failed = 0;
    control.tamper = (chunk) => {
      if (failed >= 2) return chunk;
      if (chunk.last) failed++;
      return tamper(chunk);
    };
    const { client, picture } = await startNode({ hasten: 10 });
    await client.ready;
    expect(failed).toBe(2);
    expect(control.hellos.length).toBe(3);
    expect(picture.digest()).toEqual(reference(plan('a', 1)).digest());
  });

  it('takes the whole picture of a restored database, and keeps serving until it has it', async () => {
    control.publish('catalog', plan('a', 9), plan('lost', 9));
    const { client, picture } = await startNode({ hasten: 10 });
    await client.ready;
    await control.caughtUp();
    let servedMeanwhile = false;
    control.tamper = (chunk) => {
      servedMeanwhile = picture.plan('lost') !== undefined;
      return chunk;
    };
    control.drop();
    control.restore('e2', [plan('a', 2)]);
    await control.caughtUp();
    expect(servedMeanwhile).toBe(true);
    expect(picture.digest()).toEqual(reference(plan('a', 2)).digest());
    expect(client.status().dbEpoch).toBe('e2');
    control.publish('catalog', plan('a', 3));
    await control.caughtUp();
    expect(picture.plan('a')?.name).toBe('a at 3');
  });

  it('names an entry that it cannot take, takes the rest, and is not held up', async () => {
    control.publish('catalog', plan('a', 1));
    const { client, picture } = await startNode();
    await client.ready;
    const bad = configEntryToWire(plan('b', 1));
    bad.kind = 'model';
    control.publishWire('catalog', bad, configEntryToWire(plan('c', 1)), { ...configEntryToWire(plan('d', 1)), kind: 'residency' });
    await control.caughtUp();
    expect(picture.plan('c')).toBeDefined();
    expect(control.nacks).toMatchObject([{ rev: 4n, entries: [{ kind: 'model', id: 'b', version: 1n, code: 'invalid_entry' }] }]);
    expect(client.status()).toMatchObject({ nacked: 1, unknownEntries: 1 });
  });

  it('leaves a control plane that has gone silent', async () => {
    control.publish('catalog', plan('a', 1));
    const { client } = await startNode({ hasten: 10 });
    await client.ready;
    await once(control.events, 'hello');
    expect(control.hellos.length).toBeGreaterThan(1);
  });

  it('knows how old its picture is: the time since it last knew that it had everything', async () => {
    let nowMs = 1_000_000;
    control.publish('catalog', plan('a', 1));
    const { client } = await startNode({ nowMs: () => nowMs });
    await client.ready;
    await control.caughtUp();
    control.heartbeat();
    control.publish('catalog', plan('b', 1));
    await control.caughtUp();
    expect(client.status()).toMatchObject({ configAgeMs: 0, regionNodes: 2, heads: { catalog: 1 } });
    nowMs += 5_000;
    expect(client.status().configAgeMs).toBe(5_000);
  });

  it('turns a long log of deltas into a new snapshot, from which it starts again', async () => {
    control.publish('catalog', plan('a', 1));
    const { client, picture } = await startNode();
    await client.ready;
    const name = 'x'.repeat(1_000_000);
    for (let version = 1; version <= 12; version++) control.publish('catalog', plan(`big-${version % 2}`, version, name));
    control.publishWire('catalog', { ...configEntryToWire(plan('d', 1)), kind: 'residency' });
    await control.caughtUp();
    control.publish('security', tombstone('a', 2));
    await control.caughtUp();
    await stopNodes();
    control.stop();
    expect(statSync(join(dataFolder, 'picture', 'snapshot-00000002.bin')).size).toBeLessThan(100_000);

    const again = await startNode();
    await again.client.ready;
    expect(again.picture.digest()).toEqual(picture.digest());
    expect(again.picture.plan('a')).toBeUndefined();
    expect(again.client.status()).toMatchObject({ cursors: control.heads, unknownEntries: 1 });
  });

  describe('that knows a refusal which a restored database has forgotten', () => {
    const key = (status: 'active' | 'revoked', version: number): ConfigEntry => ({
      kind: 'api_key',
      id: 'key_1',
      version,
      body: {
        kind: 'api_key',
        value: {
          id: 'key_1',
          accountId: 'acc_1',
          memberId: 'mem_1',
          name: '',
          hash: `01${'ab'.repeat(32)}`,
          status,
          expiresAtMs: undefined,
          allowedModels: [],
          allowedRegions: [],
        },
      },
    });
    const status = (picture: Picture) => picture.keyByHash(`01${'ab'.repeat(32)}`)?.status;

    async function forget(dbEpoch: string): Promise<Picture> {
      control.publish('customer', key('active', 1));
      const { client, picture } = await startNode({ hasten: 10 });
      await client.ready;
      control.publish('security', key('revoked', 2));
      await control.caughtUp();
      expect(control.denials).toEqual([]);
      control.drop();
      control.restore(dbEpoch, [key('active', 1)]);
      await control.caughtUp();
      return picture;
    }

    it('keeps it, also through a restart', async () => {
      expect(status(await forget('e2'))).toBe('revoked');
      await stopNodes();
      control.stop();
      const again = await startNode();
      await again.client.ready;
      expect(again.client.status().dbEpoch).toBe('e2');
      expect(status(again.picture)).toBe('revoked');
    });

    it('tells it behind the snapshot, and again at each Welcome and after a restart, until a newer version comes', async () => {
      const told = { dbEpoch: 'e2', entries: [{ kind: 'api_key', id: 'key_1', version: 2n, status: 'revoked' }] };
      await forget('e2');
      // A connection that seems silent on a slow machine tells it once more.
      const tellings = () => control.denials.length;
      expect(tellings()).toBeGreaterThan(0);
      let before = tellings();
      control.drop();
      await expect.poll(tellings).toBeGreaterThan(before);
      await stopNodes();
      before = tellings();
      const again = await startNode({ hasten: 10 });
      await expect.poll(tellings).toBeGreaterThan(before);
      for (const denials of control.denials) expect(denials).toMatchObject(told);
      control.publish('security', key('revoked', 3));
      await control.caughtUp();
      before = tellings();
      control.drop();
      await once(control.events, 'hello');
      // Acknowledged on this stream: whatever the node says at Welcome came before it.
      control.publish('catalog', plan('later', 1));
      await control.caughtUp();
      expect(tellings()).toBe(before);
      expect(status(again.picture)).toBe('revoked');
    });

    it('tells any number of them, a thousand at a time', async () => {
      const hash = (index: number) => `01${index.toString(16).padStart(64, '0')}`;
      const one = (index: number, is: 'active' | 'revoked', version: number): ConfigEntry => {
        const { body } = key(is, version);
        if (body?.kind !== 'api_key') throw new Error('not a key');
        const id = `key_${index}`;
        return { kind: 'api_key', id, version, body: { kind: 'api_key', value: { ...body.value, id, hash: hash(index) } } };
      };
      const all = (is: 'active' | 'revoked', version: number) => Array.from({ length: 2_100 }, (_, index) => one(index, is, version));
      control.publish('security', ...all('revoked', 2));
      await (await startNode({ hasten: 10 })).client.ready;
      control.drop();
      control.restore('e2', all('active', 1));
      await control.caughtUp();
      expect(control.denials.slice(0, 3).map(({ entries }) => entries.length)).toEqual([1_000, 1_000, 100]);
      expect(new Set(control.denials.flatMap(({ entries }) => entries.map(({ id }) => id))).size).toBe(2_100);
    });
  });

  it('closes at any moment', async () => {
    control.publish('catalog', plan('a', 1));
    const early = await startNode();
    await early.client.close();
    const late = await startNode();
    await late.client.ready;
    await late.client.close();
    await late.client.close();
    expect(late.client.status().connected).toBe(false);
  });
});
