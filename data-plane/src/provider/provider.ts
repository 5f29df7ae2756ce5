/**
 * Who we buy from: where a call goes, and with which headers. No translation; what is said there is the dialect's.
 *
 * A provider's ways are data, so that a new one is a file beside this one and a line in the registry.
 */
import type { DialectName, Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import type { Endpoint, Provider } from '@meridian/domain/snapshot';

/** One call, from the picture of the configuration. */
export interface ProviderCall {
  readonly provider: Provider;
  readonly endpoint: Endpoint;
  /** The plain secret of the endpoint's credential. */
  readonly secret: string;
  readonly operation: Operation;
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
  /** The provider's own id of the request, for its support desk; header names in lower case. */
  upstreamRequestId(headers: Readonly<Record<string, string>>): string | undefined;
}

/** What sets one provider apart from another. */
export interface ProviderWays {
  readonly name: string;
  /** What follows the provider's base path. */
  readonly paths: Readonly<Partial<Record<DialectName, Readonly<Record<Operation, string>>>>>;
  /** The header that takes our request id. */
  readonly requestIdHeader: string;
  /** Headers that may hold the provider's request id, the first that is there wins. */
  readonly upstreamRequestIdHeaders: readonly string[];
}

/** The paths of every provider that speaks this wire. */
export const OPENAI_CHAT_PATHS: Readonly<Record<Operation, string>> = { chat: '/chat/completions', embeddings: '/embeddings' };

/** An adapter for a provider that takes its secret as a bearer token. */
export function bearerAdapter(ways: ProviderWays): ProviderAdapter {
  return {
    name: ways.name,
    target({ provider, endpoint, secret, operation, requestId }) {
      const path = ways.paths[endpoint.dialect]?.[operation];
      if (path === undefined) {
        throw new GatewayError('upstream_error', {
          source: 'gateway',
          retryable: false,
          cause: `endpoint ${endpoint.id}: adapter ${ways.name} has no ${operation} in ${endpoint.dialect}`,
        });
      }
      return {
        origin: provider.origin,
        path: withoutTrailingSlash(provider.basePath) + path,
        headers: [
          'authorization',
          `Bearer ${secret}`,
          'content-type',
          'application/json',
          // Answers are read and edited on their way, so they must come as they are.
          'accept-encoding',
          'identity',
          ways.requestIdHeader,
          requestId,
        ],
      };
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
