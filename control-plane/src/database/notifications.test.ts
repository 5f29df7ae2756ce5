import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listen, MAX_PAYLOAD_BYTES, type Notifications, type NotificationsOptions } from './notifications.ts';
import { type TestDatabase, testDatabase } from './testing.ts';

let database: TestDatabase;
const open: Notifications[] = [];

beforeEach(async () => {
  database = await testDatabase();
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
  await database.drop();
});

interface Listener {
  readonly notifications: Notifications;
  readonly heard: string[];
  readonly errors: Error[];
}

async function start(channel = 'words', more: Partial<NotificationsOptions> = {}): Promise<Listener> {
  const heard: string[] = [];
  const errors: Error[] = [];
  const notifications = listen({
    url: database.url,
    channel,
    onMessage: (payload) => heard.push(payload),
    onError: (error) => errors.push(error),
    applicationName: `test ${channel}`,
    ...more,
  });
  open.push(notifications);
  await eventually(() => notifications.listening);
  return { notifications, heard, errors };
}

async function eventually(wanted: () => boolean): Promise<void> {
  const untilMs = Date.now() + 20_000;
  while (!wanted()) {
    if (Date.now() > untilMs) throw new Error('it did not come about');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('notifications', () => {
  it('reach every listener of the channel, the sender included, in their order', async () => {
    const [a, b, other] = [await start(), await start(), await start('other')];
    for (const word of ['one', "two's", 'x'.repeat(MAX_PAYLOAD_BYTES)]) await a.notifications.publish(word);
    await eventually(() => b.heard.length === 3 && a.heard.length === 3);
    expect(b.heard).toEqual(['one', "two's", 'x'.repeat(MAX_PAYLOAD_BYTES)]);
    expect(other.heard).toEqual([]);
  });

  it('go on after the connection is lost; what is said meanwhile is refused', async () => {
    const [a, b] = [await start('a'), await start('a')];
    const server = new pg.Client({ connectionString: database.url });
    await server.connect();
    await server.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test a'`);
    await server.end();
    await eventually(() => a.errors.length > 0);
    expect(a.notifications.listening).toBe(false);
    await expect(a.notifications.publish('lost')).rejects.toThrow('no connection');
    await eventually(() => a.notifications.listening && b.notifications.listening);
    await a.notifications.publish('heard');
    await eventually(() => b.heard.length > 0);
    expect(b.heard).toEqual(['heard']);
  });

  it('go on after a server has fallen silent without an end of the connection', async () => {
    const server = new URL(database.url);
    const sockets: Socket[] = [];
    const proxy = createServer((inner) => {
      const outer = connect(Number(server.port), server.hostname);
      sockets.push(inner, outer);
      for (const socket of [inner, outer]) socket.on('error', () => undefined);
      inner.pipe(outer).pipe(inner);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const through = new URL(database.url);
    through.hostname = '127.0.0.1';
    through.port = String((proxy.address() as AddressInfo).port);
    const [a, b] = [await start('a', { url: through.href, probeMs: 300 }), await start('a')];
    for (const socket of sockets) socket.unpipe().pause();
    await eventually(() => a.errors.length > 0);
    await eventually(() => a.notifications.listening);
    await b.notifications.publish('heard');
    await eventually(() => a.heard.length > 0);
    expect(a.heard).toEqual(['heard']);
    await a.notifications.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => proxy.close(resolve));
  });

  it('are tried again and again while there is no server, until they are closed', async () => {
    const errors: Error[] = [];
    const nowhere = listen({
      url: 'postgres://nobody@127.0.0.1:1/nothing',
      channel: 'words',
      onMessage: () => undefined,
      onError: (error) => errors.push(error),
    });
    await eventually(() => errors.length >= 2);
    await nowhere.close();
    const count = errors.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(errors.length).toBe(count);
  });
});
