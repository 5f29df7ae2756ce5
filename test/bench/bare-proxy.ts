/** The reference: what a Node proxy costs that does nothing but read the model and forward (http + undici's dispatch). */
import { createServer } from 'node:http';
import { Pool } from 'undici';

const pool = new Pool(process.argv[2] ?? '', { connections: 512, pipelining: 1, allowH2: false, headersTimeout: 0, bodyTimeout: 0 });

const server = createServer({ noDelay: true }, (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const [first] = chunks;
    const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
    const { model } = JSON.parse(body.toString()) as { model: string }; // a bench's own request
    pool.dispatch(
      { path: request.url ?? '/', method: 'POST', headers: { 'content-type': 'application/json', 'x-model': model }, body },
      {
        onRequestStart() {},
        onResponseStart(_controller, status, headers) {
          const kept = { ...headers };
          delete kept.connection;
          delete kept['transfer-encoding'];
          response.writeHead(status, kept);
        },
        onResponseData(_controller, chunk) {
          response.write(chunk);
        },
        onResponseEnd() {
          response.end();
        },
        onResponseError() {
          response.destroy();
        },
      },
    );
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  process.send?.({ type: 'ready', origin: `http://127.0.0.1:${address.port}` });
});
process.on('disconnect', () => process.exit(0));
