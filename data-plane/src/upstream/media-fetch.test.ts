import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createMediaFetch, isPublicAddress, MAX_MEDIA_BYTES, MAX_MEDIA_PER_REQUEST, type MediaFetch } from './media-fetch.ts';

const NOBODY_LEAVES = new AbortController().signal;
const servers: Server[] = [];
const fetches: MediaFetch[] = [];

afterEach(async () => {
  for (const fetcher of fetches.splice(0)) await fetcher.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serving(listener: RequestListener): Promise<{ readonly origin: string; readonly port: number }> {
  const server = createServer(listener);
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // it listens on a port
  return { origin: `http://127.0.0.1:${port}`, port };
}

function fetcher(allows?: (address: string) => boolean): MediaFetch {
  const made = createMediaFetch(allows === undefined ? {} : { allows });
  fetches.push(made);
  return made;
}

describe('an address', () => {
  it.each(['8.8.8.8', '1.1.1.1', '172.32.0.1', '2606:4700::1111', '2a00:1450:4001::1'])('(%s) is public', (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  it.each([
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '127.0.0.1',
    '127.255.255.254',
    '168.63.129.16',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::ffff:127.0.0.1',
    '::ffff:8.8.8.8',
    '64:ff9b::a9fe:a9fe',
    'fe80::1',
    'fc00::1',
    'fd12:3456::1',
    'ff02::1',
    '2001:db8::1',
    '2002:7f00:1::',
    'no address',
  ])('(%s) is not', (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });
});

describe('fetching', () => {
  it('gives each address its bytes and their type, through redirects', async () => {
    const { origin } = await serving((request, response) => {
      if (request.url === '/moved') response.writeHead(302, { location: '/there' }).end('away');
      else response.writeHead(200, { 'content-type': 'Image/PNG; charset=binary' }).end(`bytes of ${request.url}`);
    });
    const found = await fetcher(() => true).fetchAll([`${origin}/a`, `${origin}/moved`], NOBODY_LEAVES);
    expect([...found].map(([url, { mediaType, bytes }]) => [url, mediaType, bytes.toString()])).toEqual([
      [`${origin}/a`, 'image/png', 'bytes of /a'],
      [`${origin}/moved`, 'image/png', 'bytes of /there'],
    ]);
  });

  it('does not reach into our own network, whichever way it is written', async () => {
    let asked = 0;
    const { port } = await serving((_, response) => {
      asked++;
      response.end();
    });
    const hosts = ['127.0.0.1', 'localhost', '[::1]', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]', '0'];
    for (const host of hosts) {
      await expect(fetcher().fetchAll([`http://${host}:${port}/`], NOBODY_LEAVES)).rejects.toMatchObject({
        code: 'invalid_request_error',
        status: 400,
        message: expect.stringContaining('public internet'),
      });
    }
    expect(asked).toBe(0);
  });

  it('does not follow a redirect into it', async () => {
    let inside = 0;
    const secret = await serving((_, response) => {
      inside++;
      response.end('secret');
    });
    const { origin } = await serving((_, response) => response.writeHead(302, { location: `http://127.0.0.2:${secret.port}/` }).end());
    const outer = fetcher((address) => address === '127.0.0.1');
    await expect(outer.fetchAll([origin], NOBODY_LEAVES)).rejects.toMatchObject({ message: expect.stringContaining('public internet') });
    expect(inside).toBe(0);
  });

  it.each([
    ['file:///etc/passwd', 'not an http'],
    ['ftp://example.com/a', 'not an http'],
    ['http://user:secret@example.com/', 'not an http'],
    ['nonsense', 'not an http'],
    [`http://example.com/${'x'.repeat(5_000)}`, 'not an http'],
  ])('refuses %s', async (url, words) => {
    await expect(fetcher(() => true).fetchAll([url], NOBODY_LEAVES)).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining(words),
    });
  });

  it('ends with 400 for an answer without the medium, too many redirects, and nobody there', async () => {
    const { origin } = await serving((request, response) => {
      if (request.url === '/loop') response.writeHead(307, { location: '/loop' }).end();
      else if (request.url === '/cut') response.writeHead(200, { 'content-length': '100' }).end('half', () => response.destroy());
      else response.writeHead(404).end();
    });
    for (const [path, words] of [
      ['/none', 'status 404'],
      ['/loop', 'redirected'],
      ['/cut', 'cannot be reached'],
    ]) {
      await expect(fetcher(() => true).fetchAll([origin + path], NOBODY_LEAVES)).rejects.toMatchObject({
        status: 400,
        message: expect.stringContaining(words ?? ''),
      });
    }
    await expect(fetcher(() => true).fetchAll(['http://127.0.0.1:1/'], NOBODY_LEAVES)).rejects.toMatchObject({ status: 400 });
  });

  it('is bounded in number and in bytes, all of a request together', async () => {
    const half = Buffer.alloc(MAX_MEDIA_BYTES / 2 + 1);
    const { origin } = await serving((_, response) => response.end(half));
    const media = fetcher(() => true);
    await expect(media.fetchAll([`${origin}/1`, `${origin}/2`], NOBODY_LEAVES)).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('larger'),
    });
    const many = Array.from({ length: MAX_MEDIA_PER_REQUEST + 1 }, (_, index) => `${origin}/${index}`);
    await expect(media.fetchAll(many, NOBODY_LEAVES)).rejects.toMatchObject({ status: 400 });
    expect((await media.fetchAll([`${origin}/3`], NOBODY_LEAVES)).size).toBe(1);
  });

  it('ends when the client leaves', async () => {
    const left = new AbortController();
    const { origin } = await serving(() => left.abort());
    await expect(fetcher(() => true).fetchAll([origin], left.signal)).rejects.toMatchObject({ status: 400 });
  });
});
