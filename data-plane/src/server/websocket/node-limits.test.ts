/** The bounds that all WebSockets of a key, and of a node, share, each filled for real. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { formatApiKey, hashApiKey } from '@meridian/domain/api-key';
import { configEntityId } from '@meridian/wire/codec/entry';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PEPPER } from '../../control/testing.ts';
import { startTestNode, type TestNode } from '../../testing.ts';
import { Conversation, StateRoom } from './conversation.ts';
import {
  CLOSE_WITHIN_MS,
  MAX_CONNECTIONS,
  MAX_CONNECTIONS_PER_KEY,
  MAX_KEY_MESSAGE_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_NODE_MESSAGE_BYTES,
  MAX_NODE_STATE_BYTES,
  MAX_STATE_BYTES,
} from './limits.ts';
import { counting, errorOf, notLetIn, TestClient } from './testing.ts';

const TIMEOUT_MS = 120_000;
const MEBIBYTE = 1024 * 1024;

let node: TestNode;
let clients: TestClient[];
let sockets: Socket[];
beforeEach(async () => {
  clients = [];
  sockets = [];
  node = await startTestNode(counting().provider, { endpoint: { dialect: 'openai-responses' } });
});
afterEach(async () => {
  for (const client of clients) client.ws.terminate();
  for (const socket of sockets) socket.destroy();
  await node.stop();
});

/** Another key of the account. */
function anotherKey(): string {
  const key = node.picture.keyByHash(hashApiKey(PEPPER, node.apiKey));
  if (key === undefined) throw new Error('no key');
  const text = formatApiKey('sk-mrd-', randomBytes(20));
  const body = { kind: 'api_key', value: { ...key, id: `key_${text.slice(-12)}`, hash: hashApiKey(PEPPER, text) } } as const;
  node.picture.apply({ kind: 'api_key', id: configEntityId(body), version: 1, body });
  return text;
}

function client(apiKey: string): TestClient {
  const made = new TestClient(`${node.url.replace('http', 'ws')}/v1/responses`, apiKey);
  clients.push(made);
  return made;
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function metric(name: string): Promise<number> {
  return Number(/ ([\d.e+]+)$/m.exec((await node.metrics.registry.getSingleMetricAsString(`meridian_websocket_${name}`)).trim())?.[1]);
}

/** A connection at the level of bytes, which costs the test little. */
async function bareConnection(apiKey: string): Promise<Socket> {
  const socket = connect(node.port, '127.0.0.1');
  sockets.push(socket);
  socket.on('error', () => {});
  socket.write(
    `GET /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  const [head] = (await once(socket, 'data')) as [Buffer];
  if (!head.toString('latin1').startsWith('HTTP/1.1 101 ')) throw new Error(head.toString('latin1'));
  socket.resume();
  return socket;
}

const BLOCK = Buffer.alloc(MEBIBYTE, 'x');

/** Sends a text message but for its last byte. Resolves when all of it has left; false when the node closes the connection before that. */
async function beginMessage(socket: Socket, mebibytes: number): Promise<boolean> {
  const head = Buffer.alloc(14);
  head[0] = 0x81;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(mebibytes * MEBIBYTE + 1), 2);
  let isClosed = false;
  // The node has nothing else to say here.
  const closed = once(socket, 'data').then(([frame]: Buffer[]) => {
    isClosed = true;
    expect([frame?.[0], frame?.readUInt16BE(2)]).toEqual([0x88, 1013]);
  });
  socket.write(head);
  for (let sent = 0; sent < mebibytes && !isClosed; sent++) {
    if (!socket.write(BLOCK)) await Promise.race([once(socket, 'drain'), closed]);
  }
  await until(() => socket.writableLength === 0 || isClosed);
  return !isClosed;
}

describe('the connections of a node', () => {
  it(
    `are at most ${MAX_CONNECTIONS}, and one that closes makes room`,
    async () => {
      for (let count = 0; count < MAX_CONNECTIONS; count += MAX_CONNECTIONS_PER_KEY) {
        const apiKey = anotherKey();
        await Promise.all(Array.from({ length: MAX_CONNECTIONS_PER_KEY }, () => bareConnection(apiKey)));
      }
      expect(await metric('connections')).toBe(MAX_CONNECTIONS);
      const refused = await notLetIn(client(node.apiKey));
      expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
      expect(JSON.parse(refused.body)).toMatchObject({ error: { code: 'overloaded' } });
      sockets[0]?.destroy();
      await until(async () => (await metric('connections')) < MAX_CONNECTIONS);
      expect((await (await client(node.apiKey).opened()).turn({ input: 'x' })).status).toBe('completed');
      await node.finals(1);
      for (const socket of sockets) socket.destroy();
      for (const each of clients) each.ws.terminate();
      await until(async () => (await metric('connections')) === 0);
    },
    TIMEOUT_MS,
  );
});

describe('messages that do not end', () => {
  const MESSAGE_MEBIBYTES = MAX_MESSAGE_BYTES / MEBIBYTE - 1;
  const MESSAGE_BYTES = MESSAGE_MEBIBYTES * MEBIBYTE;

  /** As many as the node takes of a key, each whole but for its last byte before the next begins. */
  async function fill(apiKey: string, heldBefore: number, most = Number.POSITIVE_INFINITY): Promise<number> {
    let held = 0;
    while (held < most && (await beginMessage(await bareConnection(apiKey), MESSAGE_MEBIBYTES))) {
      held++;
      await until(async () => (await metric('message_bytes')) >= (heldBefore + held) * MESSAGE_BYTES);
    }
    return held;
  }

  /** What was cut off is free when it has had its time to close. */
  async function cutOffIsFree(held: number): Promise<void> {
    node.pass(CLOSE_WITHIN_MS);
    await until(async () => (await metric('message_bytes')) < held * MESSAGE_BYTES + MEBIBYTE);
  }

  it(
    'take of the room of a key what it has, and nothing of another',
    async () => {
      const [greedy, other] = [anotherKey(), anotherKey()];
      const held = await fill(greedy, 0);
      expect(await metric('message_bytes')).toBeLessThanOrEqual(MAX_KEY_MESSAGE_BYTES + MEBIBYTE);
      expect(held).toBe(Math.floor(MAX_KEY_MESSAGE_BYTES / MESSAGE_BYTES));
      await cutOffIsFree(held);
      // Small ones are served, of that key too, and large ones of others.
      for (const apiKey of [greedy, other]) {
        const served = await client(apiKey).opened();
        expect((await served.turn({ input: 'x' })).status).toBe('completed');
      }
      expect(await fill(other, held, 1)).toBe(1);
      const told = await client(greedy).opened();
      // There is room for the message, but not for the request that is made of it.
      told.create({ input: 'x'.repeat(MAX_KEY_MESSAGE_BYTES - held * MESSAGE_BYTES - MEBIBYTE) });
      expect(errorOf(await told.next())).toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
      await node.finals(2);
      for (const socket of sockets) socket.destroy();
      await until(async () => (await metric('message_bytes')) === 0);
    },
    TIMEOUT_MS,
  );

  it(
    'never take more than the node has, and all of it is free when they are gone',
    async () => {
      const ofKey = Math.floor(MAX_KEY_MESSAGE_BYTES / MESSAGE_BYTES);
      let held = 0;
      for (let filled = ofKey; filled === ofKey; held += filled) filled = await fill(anotherKey(), held, ofKey);
      expect(held).toBe(Math.floor(MAX_NODE_MESSAGE_BYTES / MESSAGE_BYTES));
      expect(await metric('message_bytes')).toBeLessThanOrEqual(MAX_NODE_MESSAGE_BYTES + MEBIBYTE);
      await cutOffIsFree(held);
      // What is small goes on.
      expect((await (await client(node.apiKey).opened()).turn({ input: 'x' })).status).toBe('completed');
      await node.finals(1);
      for (const socket of sockets) socket.destroy();
      await until(async () => (await metric('message_bytes')) === 0);
    },
    TIMEOUT_MS,
  );
});

describe('what all connections remember', () => {
  it('is bounded: whoever comes when it is full keeps nothing that is large, and what others keep stays', () => {
    const room = new StateRoom(MAX_NODE_STATE_BYTES);
    const items = [Buffer.alloc(MAX_STATE_BYTES - MEBIBYTE / 16, ' ')];
    const keeping = (): Conversation => {
      const conversation = new Conversation(room);
      conversation.keep({ id: 'r', lane: undefined, parent: undefined, items, tools: undefined });
      return conversation;
    };
    const fitting = Math.floor(MAX_NODE_STATE_BYTES / MAX_STATE_BYTES);
    const conversations = Array.from({ length: fitting }, keeping);
    const late = [keeping(), keeping(), keeping()];
    expect(room.bytes).toBeLessThanOrEqual(MAX_NODE_STATE_BYTES);
    expect(late.filter((conversation) => conversation.hold('r') !== undefined).length).toBeLessThan(late.length);
    expect(conversations.every((conversation) => conversation.hold('r') !== undefined)).toBe(true);
  });
});
