/**
 * A TCP proxy whose connections can be stalled, cut, reset, or made to carry bytes in one direction only. What it has
 * taken from one side is bounded by what the other side takes.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';

export type Direction = 'to_target' | 'to_client';

interface Pair {
  readonly client: Socket;
  readonly target: Socket;
}

export class FaultyProxy {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #stalled = new Set<Direction>();
  readonly #dropping = new Set<Direction>();
  #refusing = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens on a port (0: any free one). `target` is asked for each connection. */
  static async listen(port: number, target: () => number): Promise<FaultyProxy> {
    const server = createServer({ pauseOnConnect: true });
    const proxy = new FaultyProxy(server);
    server.on('connection', (client) => proxy.#connect(client, target()));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy does not listen');
    return address.port;
  }

  /** Cuts every connection by a reset. */
  resetAll(): void {
    for (const { client, target } of this.#pairs) {
      client.resetAndDestroy();
      target.resetAndDestroy();
    }
  }

  /** Bytes in this direction wait until `heal`. */
  stall(direction: Direction): void {
    this.#stalled.add(direction);
    for (const pair of this.#pairs) (direction === 'to_target' ? pair.client : pair.target).pause();
  }

  /** Bytes in this direction are thrown away until `heal`, which then resets the connections: their streams have holes. */
  drop(direction: Direction): void {
    this.#dropping.add(direction);
  }

  /** New connections are reset at once. */
  refuse(): void {
    this.#refusing = true;
  }

  /** Everything flows again. */
  heal(): void {
    this.#refusing = false;
    const holes = this.#dropping.size > 0;
    this.#stalled.clear();
    this.#dropping.clear();
    if (holes) this.resetAll();
    for (const { client, target } of this.#pairs) {
      client.resume();
      target.resume();
    }
  }

  async close(): Promise<void> {
    this.resetAll();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #connect(client: Socket, port: number): void {
    client.on('error', () => undefined);
    if (this.#refusing) {
      client.resetAndDestroy();
      return;
    }
    const target = createConnection({ port, host: '127.0.0.1', noDelay: true });
    client.setNoDelay(true);
    const pair: Pair = { client, target };
    this.#pairs.add(pair);
    target.on('error', () => client.destroy());
    client.on('close', () => {
      this.#pairs.delete(pair);
      target.destroy();
    });
    target.on('close', () => client.destroy());
    this.#carry('to_target', client, target);
    this.#carry('to_client', target, client);
  }

  #carry(direction: Direction, from: Socket, to: Socket): void {
    from.on('data', (bytes) => {
      if (this.#dropping.has(direction)) return;
      if (!to.write(bytes)) from.pause();
    });
    to.on('drain', () => {
      if (!this.#stalled.has(direction)) from.resume();
    });
    from.on('end', () => to.end());
    if (!this.#stalled.has(direction)) from.resume();
    else from.pause();
  }
}
