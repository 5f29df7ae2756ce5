import { create } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import {
  type ReportRequest,
  ReportRequestSchema,
  type ReportResponse,
  ReportResponseSchema,
  UsageService,
} from '@meridian/wire/gen/usage_pb';
import { SERVER_OPTIONS } from '@meridian/wire/grpc-options';
import { implement } from '@meridian/wire/grpc-service';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { After } from './after.ts';
import { ControlStream } from './control-stream.ts';

type Call = ServerDuplexStream<ReportRequest, ReportResponse>;

const ack = (ackedSeq: bigint): ReportResponse =>
  create(ReportResponseSchema, { frame: { case: 'ack', value: { incarnation: 1n, ackedSeq } } });

let server: Server;
let address = '';
let accepted = Promise.withResolvers<Call>();
let heard: string[] = [];
let wake = Promise.withResolvers<void>();
let opened: ControlStream<typeof UsageService, ReportRequest, ReportResponse> | undefined;

beforeEach(async () => {
  accepted = Promise.withResolvers<Call>();
  heard = [];
  wake = Promise.withResolvers<void>();
  server = new Server(SERVER_OPTIONS);
  implement(server, UsageService, {
    report: (call) => {
      call.on('error', () => undefined);
      call.on('data', () => accepted.resolve(call));
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  address = `127.0.0.1:${port}`;
});
afterEach(() => {
  opened?.end();
  server.forceShutdown();
});

function note(text: string): void {
  heard.push(text);
  wake.resolve();
}

/** Opens one whose first frame the server has. */
async function open(after?: After): Promise<{ stream: NonNullable<typeof opened>; call: Call }> {
  opened = new ControlStream({
    service: UsageService,
    address,
    joinToken: 'join-token',
    call: (calls, metadata) => calls.report(metadata),
    received: ({ frame }) => note(`received ${frame.case === 'ack' ? frame.value.ackedSeq : frame.case}`),
    broken: (error) => note(`broken: ${error.message}`),
    ...(after === undefined ? {} : { after }),
  });
  opened.stream.write(create(ReportRequestSchema, { frame: { case: 'open', value: {} } }));
  return { stream: opened, call: await accepted.promise };
}

it('says who it is, and hands on what comes', async () => {
  const { call } = await open();
  expect(call.metadata.get('authorization')).toEqual(['Bearer join-token']);
  call.write(ack(7n));
  await wake.promise;
  expect(heard).toEqual(['received 7']);
});

it.each<[string, (call: Call) => void, string]>([
  ['fails', (call) => call.emit('error', { code: status.UNAVAILABLE, details: 'gone' }), 'broken: 14 UNAVAILABLE: gone'],
  ['is ended', (call) => call.end(), 'broken: the control plane ended the stream'],
])('tells that the call %s', async (_, happen, told) => {
  const { call } = await open();
  happen(call);
  await wake.promise;
  expect(heard[0]).toBe(told);
});

it('tells nothing any more once it is ended, and the server sees it go', async () => {
  const timers: (() => void)[] = [];
  const { stream, call } = await open((_, run) => {
    timers.push(run);
    return () => undefined;
  });
  const gone = new Promise<void>((resolve) => call.on('cancelled', () => resolve()));
  const over = new Promise<void>((resolve) => stream.stream.on('error', () => resolve()));
  stream.watch(1000, 'nothing came');
  stream.end();
  stream.end();
  timers[0]?.();
  await Promise.all([gone, over]);
  expect(heard).toEqual([]);
});

it('is broken when what it watches for does not come, by the last watch alone', async () => {
  const timers: { readonly delayMs: number; readonly run: () => void; cancelled: boolean }[] = [];
  const { stream } = await open((delayMs, run) => {
    const timer = { delayMs, run, cancelled: false };
    timers.push(timer);
    return () => {
      timer.cancelled = true;
    };
  });
  stream.watch(1000, 'no answer');
  stream.watch(2000, 'no acknowledgement');
  expect(timers.map(({ delayMs, cancelled }) => [delayMs, cancelled])).toEqual([
    [1000, true],
    [2000, false],
  ]);
  timers[1]?.run();
  expect(heard).toEqual(['broken: no acknowledgement']);
  stream.watch(3000, 'no answer');
  stream.unwatch();
  stream.watch(4000, 'no answer');
  stream.end();
  expect(timers.slice(2).map(({ cancelled }) => cancelled)).toEqual([true, true]);
});
