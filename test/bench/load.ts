/**
 * The load generator: keep-alive connections over bare sockets, each sending its next request when the answer to the
 * last one is whole (closed loop). Run as a process with an IPC channel: takes one `Load`, answers with one `Measured`.
 */
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';

export interface Load {
  readonly origin: string;
  readonly apiKey: string;
  readonly connections: number;
  readonly stream: boolean;
  /** What the client speaks; chat when absent. */
  readonly speaks?: 'anthropic-messages' | undefined;
  /** Not counted. */
  readonly warmupMs: number;
  readonly measureMs: number;
}

export interface Measured {
  readonly requestsPerSecond: number;
  /** Events of streams; 0 for JSON. */
  readonly chunksPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** From the request to the first event of a stream, or to the head of a JSON answer. */
  readonly firstByteP50Ms: number;
  readonly firstByteP99Ms: number;
  /** Answers of another status than 200, and connections that broke. */
  readonly failures: number;
}

const EVENT = Buffer.from('data:');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

function requestOf(load: Load): Buffer {
  const isChat = load.speaks === undefined;
  const system = 'You are a helpful assistant.';
  const user = { role: 'user', content: 'Say something about foxes and dogs, in about thirty words, without naming a colour.' };
  const body = JSON.stringify({
    model: 'bench',
    ...(isChat ? { messages: [{ role: 'system', content: system }, user] } : { system, messages: [user] }),
    max_tokens: 64,
    ...(load.stream ? { stream: true, ...(isChat ? { stream_options: { include_usage: true } } : {}) } : {}),
  });
  const { host } = new URL(load.origin);
  return Buffer.from(
    `POST ${isChat ? '/v1/chat/completions' : '/v1/messages'} HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${load.apiKey}\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Runs one load. Rejects when no connection can be made. */
async function run(load: Load): Promise<Measured> {
  const request = requestOf(load);
  const { hostname, port } = new URL(load.origin);
  const startMs = performance.now() + load.warmupMs;
  const endMs = startMs + load.measureMs;
  const wholeMs: number[] = [];
  const firstMs: number[] = [];
  let events = 0;
  let failures = 0;

  const connection = () =>
    new Promise<void>((resolve) => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      let sentMs = 0;
      let firstAtMs = 0;
      let received = 0;
      let answerEvents = 0;
      /** Bytes of the whole answer; -1 while unknown or chunked. */
      let wholeBytes = -1;
      let tail: Buffer = Buffer.alloc(0);

      const send = () => {
        received = 0;
        wholeBytes = -1;
        firstAtMs = 0;
        answerEvents = 0;
        tail = Buffer.alloc(0);
        sentMs = performance.now();
        socket.write(request);
      };
      const done = () => {
        const nowMs = performance.now();
        if (sentMs >= startMs && nowMs <= endMs) {
          wholeMs.push(nowMs - sentMs);
          firstMs.push(firstAtMs - sentMs);
          events += answerEvents;
        }
        if (nowMs >= endMs) socket.end();
        else send();
      };
      socket.on('connect', send);
      socket.on('data', (chunk: Buffer) => {
        if (received === 0) {
          const head = chunk.indexOf('\r\n\r\n');
          const text = chunk.toString('latin1', 0, head === -1 ? chunk.length : head);
          if (!text.startsWith('HTTP/1.1 200')) failures++;
          const length = /content-length: *(\d+)/i.exec(text)?.[1];
          if (length !== undefined) wholeBytes = head + 4 + Number(length);
          if (!load.stream) firstAtMs = performance.now();
        }
        received += chunk.length;
        if (load.stream) {
          for (let at = chunk.indexOf(EVENT); at !== -1; at = chunk.indexOf(EVENT, at + EVENT.length)) {
            answerEvents++;
            if (firstAtMs === 0) firstAtMs = performance.now();
          }
        }
        if (wholeBytes !== -1) {
          if (received >= wholeBytes) done();
          return;
        }
        tail =
          chunk.length >= LAST_CHUNK.length
            ? chunk.subarray(-LAST_CHUNK.length)
            : Buffer.concat([tail, chunk]).subarray(-LAST_CHUNK.length);
        if (tail.equals(LAST_CHUNK)) done();
      });
      socket.on('error', () => failures++);
      socket.on('close', () => {
        if (performance.now() < endMs) failures++;
        resolve();
      });
    });

  await Promise.all(Array.from({ length: load.connections }, connection));
  const whole = Float64Array.from(wholeMs).sort();
  const first = Float64Array.from(firstMs).sort();
  return {
    requestsPerSecond: whole.length / (load.measureMs / 1_000),
    chunksPerSecond: events / (load.measureMs / 1_000),
    p50Ms: percentile(whole, 0.5),
    p99Ms: percentile(whole, 0.99),
    firstByteP50Ms: percentile(first, 0.5),
    firstByteP99Ms: percentile(first, 0.99),
    failures,
  };
}

if (process.send !== undefined) {
  process.on('message', (load: Load) => {
    void run(load).then((measured) => process.send?.(measured));
  });
  process.on('disconnect', () => process.exit(0));
  process.send({ type: 'ready', origin: '' });
}
