/**
 * The least upstream that the references and the gateway can be measured against: one JSON answer and one stream, both
 * ready as bytes, over bare sockets. Run as a process with an IPC channel; says `{type: 'ready', origin}`.
 */
import { createServer, type Socket } from 'node:net';

const STREAM_EVENTS = 32;

const USAGE = { prompt_tokens: 24, completion_tokens: STREAM_EVENTS, total_tokens: 24 + STREAM_EVENTS };
const HEAD = { id: 'chatcmpl-bench', created: 1_700_000_000, model: 'bench' };

const answerBody = JSON.stringify({
  ...HEAD,
  object: 'chat.completion',
  choices: [
    { index: 0, message: { role: 'assistant', content: 'The quick brown fox jumps over the lazy dog. '.repeat(8) }, finish_reason: 'stop' },
  ],
  usage: USAGE,
});
const ANSWER = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: bench\r\ncontent-length: ${Buffer.byteLength(answerBody)}\r\n\r\n${answerBody}`,
);

function chunked(data: string): string {
  const event = `data: ${data}\n\n`;
  return `${Buffer.byteLength(event).toString(16)}\r\n${event}\r\n`;
}
function delta(choices: unknown[], usage: unknown): string {
  return chunked(JSON.stringify({ ...HEAD, object: 'chat.completion.chunk', choices, usage }));
}
const STREAM_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: bench\r\ntransfer-encoding: chunked\r\n\r\n';
/** Written one by one, each in a turn of its own, so that a proxy sees them apart. */
const STREAM: readonly Buffer[] = [
  Buffer.from(STREAM_HEAD + delta([{ index: 0, delta: { role: 'assistant', content: 'The' }, finish_reason: null }], null)),
  ...Array.from({ length: STREAM_EVENTS - 2 }, () =>
    Buffer.from(delta([{ index: 0, delta: { content: ' quick' }, finish_reason: null }], null)),
  ),
  Buffer.from(`${delta([{ index: 0, delta: {}, finish_reason: 'stop' }], null)}${delta([], USAGE)}${chunked('[DONE]')}0\r\n\r\n`),
];

function stream(socket: Socket, next: number): void {
  const bytes = STREAM[next];
  if (bytes === undefined || socket.destroyed) return;
  socket.write(bytes);
  setImmediate(stream, socket, next + 1);
}

const server = createServer({ noDelay: true }, (socket) => {
  let held: Buffer | undefined;
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    const bytes = held === undefined ? chunk : Buffer.concat([held, chunk]);
    held = undefined;
    const head = bytes.indexOf('\r\n\r\n');
    const length = head === -1 ? Number.NaN : Number(/content-length: *(\d+)/i.exec(bytes.toString('latin1', 0, head))?.[1] ?? 0);
    if (!(bytes.length >= head + 4 + length)) {
      held = bytes;
      return;
    }
    if (bytes.includes('"stream":true', head)) stream(socket, 0);
    else socket.write(ANSWER);
  });
});
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  process.send?.({ type: 'ready', origin: `http://127.0.0.1:${address.port}` });
});
process.on('disconnect', () => process.exit(0));
