/** A TCP proxy that hands on what its target answers after a while, in order: a server that is slow, or far. */
import { once } from 'node:events';
import { createConnection, createServer, type Socket } from 'node:net';

export interface DelayingProxy {
  readonly port: number;
  /** Of all that is answered from now on. */
  delayMs: number;
  close(): Promise<void>;
}

export async function startDelayingProxy(targetPort: number): Promise<DelayingProxy> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    const target = createConnection({ port: targetPort, host: '127.0.0.1', noDelay: true });
    /** When the answer before this one is handed on: what comes later never overtakes it. */
    let lastMs = 0;
    for (const [socket, other] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    client.pipe(target);
    target.on('data', (bytes) => {
      const nowMs = performance.now();
      lastMs = Math.max(lastMs, nowMs + proxy.delayMs);
      if (lastMs <= nowMs) client.write(bytes);
      else setTimeout(() => client.write(bytes), lastMs - nowMs);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy does not listen on a port');
  const proxy: DelayingProxy = {
    port: address.port,
    delayMs: 0,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}
