/**
 * Who we buy from: where a call goes, and with which headers. No translation; what is said there is the dialect's.
 *
 * A provider's ways are data, so that a new one is a file beside this one and a line in the registry.
 */
import type { DialectName, Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import type { ProviderAuth } from '@meridian/domain/provider-auth';
import type { Quirk } from '@meridian/domain/quirk';
import type { Endpoint, Provider } from '@meridian/domain/snapshot';

/** What a provider is asked for: what is billed, and the counting of tokens. */
export type AskedOperation = Operation | 'count_tokens';

/** One call, from the picture of the configuration. */
export interface ProviderCall {
  readonly provider: Provider;
  readonly endpoint: Endpoint;
  /** The plain secret of the endpoint's credential. */
  readonly secret: string;
  readonly operation: AskedOperation;
  /** The answer is to be a stream. */
  readonly stream: boolean;
  /** The client's headers that go on to a provider of its own dialect; flat, lower case. */
  readonly passOn: readonly string[];
  /** Ours; sent along so that both sides' logs can be joined. */
  readonly requestId: string;
}

export interface ProviderTarget {
  /** Scheme, host and port. */
  readonly origin: string;
  readonly path: string;
  /** Flat name, value, name, value …; complete but for the body's length. Holds the secret: never logged. */
  readonly headers: readonly string[];
}

export interface ProviderAdapter {
  /** The name in a provider's entity that chooses this adapter. */
  readonly name: string;
  /** Throws GatewayError (`upstream_error`, our own fault) when this provider cannot be spoken to in that way. */
  target(call: ProviderCall): ProviderTarget;
  /** Of this provider, in the dialects that others share. */
  quirks(provider: Provider): readonly Quirk[];
  /** The provider's own id of the request, for its support desk; header names in lower case. */
  upstreamRequestId(headers: Readonly<Record<string, string>>): string | undefined;
}

/** What sets one provider apart from another. */
export interface ProviderWays {
  readonly name: string;
  /** What follows the provider's base path. */
  readonly paths: Readonly<Partial<Record<DialectName, PathOf>>>;
  /** The header that carries the secret; a bearer token when absent. */
  readonly auth?: ProviderAuth;
  /** What else every call must have; flat. */
  readonly headers?: readonly string[];
  /** Of every provider of this kind. */
  readonly quirks?: readonly Quirk[];
  /** The header that takes our request id; absent where there is none. */
  readonly requestIdHeader?: string;
  /** Headers that may hold the provider's request id, the first that is there wins. */
  readonly upstreamRequestIdHeaders: readonly string[];
}

/** Undefined for an operation that the dialect, or the provider, does not have. */
export type PathOf = (call: Pick<ProviderCall, 'operation' | 'endpoint' | 'stream'>) => string | undefined;

const OPENAI_CHAT_PATHS: Readonly<Partial<Record<AskedOperation, string>>> = { chat: '/chat/completions', embeddings: '/embeddings' };
const MESSAGES_PATHS: Readonly<Partial<Record<AskedOperation, string>>> = { chat: '/messages', count_tokens: '/messages/count_tokens' };

/** The paths of every provider that speaks these wires. */
export const OPENAI_PATHS: Readonly<Partial<Record<DialectName, PathOf>>> = {
  'openai-chat': ({ operation }) => OPENAI_CHAT_PATHS[operation],
  'openai-responses': ({ operation }) => (operation === 'chat' ? '/responses' : undefined),
};
export const messagesPath: PathOf = ({ operation }) => MESSAGES_PATHS[operation];
/** The model stands in the path, each of its segments escaped; streams are asked for as events. */
export const geminiPath: PathOf = ({ operation, endpoint, stream }) => {
  const model = endpoint.upstreamModel
    .replace(/^models\//, '')
    .split('/')
    .map(encodeURIComponent)
    .join('/');
  if (operation === 'count_tokens') return `/models/${model}:countTokens`;
  if (operation === 'embeddings') return `/models/${model}:batchEmbedContents`;
  return stream ? `/models/${model}:streamGenerateContent?alt=sse` : `/models/${model}:generateContent`;
};

const BEARER: ProviderAuth = { header: 'authorization', prefix: 'Bearer ' };
const NO_QUIRKS: readonly Quirk[] = Object.freeze([]);

/** An adapter for a provider whose ways are all in the data. */
export function adapterOf(ways: ProviderWays): ProviderAdapter {
  return {
    name: ways.name,
    target({ provider, endpoint, secret, operation, stream, passOn, requestId }) {
      const path = ways.paths[endpoint.dialect]?.({ operation, endpoint, stream });
      if (path === undefined) {
        throw new GatewayError('upstream_error', {
          source: 'gateway',
          retryable: false,
          cause: `endpoint ${endpoint.id}: adapter ${ways.name} has no ${operation} in ${endpoint.dialect}`,
        });
      }
      const { header, prefix } = provider.auth ?? ways.auth ?? BEARER;
      return {
        origin: provider.origin,
        path: withoutTrailingSlash(provider.basePath) + path,
        headers: [
          header,
          prefix + secret,
          ...withoutReplaced(ways.headers ?? [], passOn),
          ...passOn,
          'content-type',
          'application/json',
          // Answers are read and edited on their way, so they must come as they are.
          'accept-encoding',
          'identity',
          ...(ways.requestIdHeader === undefined ? [] : [ways.requestIdHeader, requestId]),
        ],
      };
    },
    quirks({ quirks }) {
      if (quirks === undefined) return ways.quirks ?? NO_QUIRKS;
      return ways.quirks === undefined ? quirks : [...ways.quirks, ...quirks];
    },
    upstreamRequestId(headers) {
      for (const name of ways.upstreamRequestIdHeaders) {
        const id = headers[name];
        if (id !== undefined && id !== '') return id;
      }
      return undefined;
    },
  };
}

function withoutTrailingSlash(basePath: string): string {
  return basePath.endsWith('/') ? basePath.slice(0, -1) : basePath;
}

/** Flat headers without those that the client has its own of. */
function withoutReplaced(headers: readonly string[], by: readonly string[]): readonly string[] {
  if (by.length === 0) return headers;
  const kept: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const [name, value] = [headers[at] ?? '', headers[at + 1] ?? ''];
    if (!by.some((other, index) => index % 2 === 0 && other === name)) kept.push(name, value);
  }
  return kept;
}
