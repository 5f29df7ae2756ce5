import { once } from 'node:events';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FaultyProxy } from './faulty-proxy.ts';

/** A reset is an error first; what counts is the end. */
function closedOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

describe('the faulty proxy', () => {
  let echo: Server;
  let proxy: FaultyProxy;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    echo = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (bytes) => socket.write(bytes));
    });
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const address = echo.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    proxy = await FaultyProxy.listen(0, () => address.port);
  });

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await proxy.close();
    await new Promise((resolve) => echo.close(resolve));
  });

  async function connect(): Promise<Socket> {
    const socket = createConnection({ port: proxy.port, host: '127.0.0.1' });
    sockets.push(socket);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }

  async function said(socket: Socket, text: string): Promise<string> {
    const answer = once(socket, 'data');
    socket.write(text);
    return String((await answer)[0]);
  }

  it('carries bytes both ways', async () => {
    expect(await said(await connect(), 'hello')).toBe('hello');
  });

  it('holds bytes back while stalled, and hands them on afterwards', async () => {
    const socket = await connect();
    await said(socket, 'first');
    proxy.stall('to_client');
    const heard: string[] = [];
    socket.on('data', (bytes) => heard.push(String(bytes)));
    socket.write('second');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(heard).toEqual([]);
    proxy.heal();
    await expect.poll(() => heard.join('')).toBe('second');
  });

  it('throws bytes of one direction away, and resets what then has a hole', async () => {
    const socket = await connect();
    await said(socket, 'first');
    proxy.drop('to_target');
    const heard: string[] = [];
    socket.on('data', (bytes) => heard.push(String(bytes)));
    socket.write('lost');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(heard).toEqual([]);
    const closed = closedOf(socket);
    proxy.heal();
    await closed;
    expect(await said(await connect(), 'again')).toBe('again');
  });

  it('resets what is open, and refuses what comes', async () => {
    const socket = await connect();
    const closed = closedOf(socket);
    proxy.resetAll();
    await closed;
    proxy.refuse();
    const refused = createConnection({ port: proxy.port, host: '127.0.0.1' });
    sockets.push(refused);
    refused.on('error', () => undefined);
    await closedOf(refused);
  });
});
