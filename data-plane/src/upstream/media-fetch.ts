/**
 * Fetches media that a customer's request points at, for providers that do not fetch. The address is the customer's word, so nothing inside
 * our own network may be reached by it: only public addresses are connected to, whatever a name resolves to at that moment, and each
 * redirect is looked at as the first address was.
 */
import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { GatewayError } from '@meridian/domain/error';
import { Agent, request } from 'undici';

export const MAX_MEDIA_PER_REQUEST = 16;
/** Of all media of a request together; what a provider takes in one body is about as much. */
export const MAX_MEDIA_BYTES = 20 * 1024 * 1024;
export const MEDIA_WITHIN_MS = 15_000;
const MAX_REDIRECTS = 3;
const CONNECT_WITHIN_MS = 3_000;
const MAX_URL_CHARACTERS = 4_096;
const MAX_HEAD_BYTES = 16 * 1024;

export interface FetchedMedium {
  /** As the server tells it, without parameters; empty where it does not. */
  readonly mediaType: string;
  readonly bytes: Buffer;
}

export interface MediaFetch {
  /** Resolves with what stands at each address; rejects with GatewayError 400 where one cannot be had. */
  fetchAll(urls: readonly string[], left: AbortSignal): Promise<ReadonlyMap<string, FetchedMedium>>;
  close(): Promise<void>;
}

/** Addresses that are not of the public internet: a list for each family, since IPv4 is looked for in a list of IPv6, too. */
const NOT_PUBLIC_IPV4 = new BlockList();
const NOT_PUBLIC_IPV6 = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  // Of one cloud, where each machine finds the host that it runs on.
  ['168.63.129.16', 32],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const) {
  NOT_PUBLIC_IPV4.addSubnet(network, prefix, 'ipv4');
}
for (const [network, prefix] of [
  // Of IPv6 only what is handed out to the world is public; of that, not what wraps or documents other addresses.
  ['::', 3],
  ['4000::', 2],
  ['8000::', 1],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  NOT_PUBLIC_IPV6.addSubnet(network, prefix, 'ipv6');
}

/** Whether an IP address is one of the public internet. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !NOT_PUBLIC_IPV4.check(address, 'ipv4');
    case 6:
      return !NOT_PUBLIC_IPV6.check(address, 'ipv6');
    default:
      return false;
  }
}

export interface MediaFetchOptions {
  /** Whether an address may be connected to; `isPublicAddress` when absent. */
  readonly allows?: (address: string) => boolean;
}

export function createMediaFetch({ allows = isPublicAddress }: MediaFetchOptions = {}): MediaFetch {
  /** Resolves as ever, and gives only what may be connected to: the check and the connection see the same addresses. */
  const allowedLookup: LookupFunction = (hostname, options, done) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) {
        done(error, '', 0);
        return;
      }
      const allowed = addresses.filter(({ address }) => allows(address));
      const [first] = allowed;
      if (first === undefined) done(Object.assign(new Error('the address is not public'), { code: 'ENOTPUBLIC' }), '', 0);
      else if (options.all === true) done(null, allowed);
      else done(null, first.address, first.family);
    });
  };
  const agent = new Agent({
    connections: 4,
    pipelining: 1,
    allowH2: false,
    maxHeaderSize: MAX_HEAD_BYTES,
    keepAliveTimeout: 1_000,
    headersTimeout: MEDIA_WITHIN_MS,
    bodyTimeout: MEDIA_WITHIN_MS,
    connect: { timeout: CONNECT_WITHIN_MS, lookup: allowedLookup },
  });

  const fetchOne = async (url: string, signal: AbortSignal, budget: { bytes: number }): Promise<FetchedMedium> => {
    let target = addressOf(url, url, allows);
    for (let redirects = 0; ; redirects++) {
      const answer = await request(target, { dispatcher: agent, signal, headers: { accept: '*/*', 'user-agent': 'meridian-media' } });
      const { location, 'content-type': contentType } = answer.headers;
      if (answer.statusCode >= 300 && answer.statusCode < 400 && typeof location === 'string') {
        await answer.body.dump({ limit: MAX_HEAD_BYTES, signal });
        if (redirects === MAX_REDIRECTS) throw refused(url, `is redirected more than ${MAX_REDIRECTS} times`);
        target = addressOf(new URL(location, target).href, url, allows);
        continue;
      }
      if (answer.statusCode !== 200) {
        answer.body.destroy();
        throw refused(url, `answered with status ${answer.statusCode}`);
      }
      const chunks: Buffer[] = [];
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        budget.bytes -= chunk.length;
        if (budget.bytes < 0) {
          answer.body.destroy();
          throw refused(url, `and what else has to be fetched is larger than ${MAX_MEDIA_BYTES} bytes`);
        }
        chunks.push(chunk);
      }
      const mediaType = (Array.isArray(contentType) ? contentType[0] : contentType)?.split(';')[0]?.trim().toLowerCase() ?? '';
      return { mediaType, bytes: Buffer.concat(chunks) };
    }
  };

  return {
    async fetchAll(urls, left) {
      if (urls.length > MAX_MEDIA_PER_REQUEST) {
        throw new GatewayError('invalid_request_error', {
          message: `At most ${MAX_MEDIA_PER_REQUEST} media of a request are fetched for this model. Send the others inline, in base64.`,
        });
      }
      const stop = new AbortController();
      const signal = AbortSignal.any([left, stop.signal, AbortSignal.timeout(MEDIA_WITHIN_MS)]);
      const budget = { bytes: MAX_MEDIA_BYTES };
      try {
        const one = async (url: string) => {
          try {
            return [url, await fetchOne(url, signal, budget)] as const;
          } catch (thrown) {
            throw thrown instanceof GatewayError ? thrown : refused(url, why(thrown), thrown);
          }
        };
        return new Map(await Promise.all(urls.map(one)));
      } finally {
        stop.abort();
      }
    },
    close: () => agent.close(),
  };
}

/** Throws GatewayError 400 for what is no address of a medium on the public internet, as far as the address itself tells. */
function addressOf(text: string, asked: string, allows: (address: string) => boolean): URL {
  const url = text.length <= MAX_URL_CHARACTERS && URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.username !== '' || url.password !== '') {
    throw refused(asked, 'is not an http or https address without credentials');
  }
  // The lookup is not asked about an address that is written in numbers.
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0 && !allows(host)) throw refused(asked, 'is not on the public internet');
  return url;
}

function why(thrown: unknown): string {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  if (code === 'ENOTPUBLIC') return 'is not on the public internet';
  if (thrown instanceof Error && thrown.name === 'TimeoutError') return `was not had within ${MEDIA_WITHIN_MS / 1000} s`;
  return 'cannot be reached';
}

function refused(url: string, reason: string, cause?: unknown): GatewayError {
  return new GatewayError('invalid_request_error', {
    message: `This model needs media inline, and '${url.slice(0, 256)}' ${reason}. Send it as a data URL, in base64.`,
    ...(cause === undefined ? {} : { cause }),
  });
}
