/** Asks a provider how many tokens a request has: one call, no other candidate, nothing that is billed. */
import { GatewayError } from '@meridian/domain/error';
import type { Dialect, PassThroughRequest, RequestPlace } from '../dialect/dialect.ts';
import type { ProviderAdapter } from '../provider/provider.ts';
import type { Upstream, UpstreamTimeouts } from '../upstream/call.ts';
import type { Candidate } from './plan.ts';

const TIMEOUTS: UpstreamTimeouts = { connectMs: 2_000, firstByteMs: 10_000, idleMs: 10_000, totalMs: 20_000 };
const MAX_COUNT_ANSWER_BYTES = 64 * 1024;

export interface CountRooms {
  readonly upstream: Upstream;
  readonly providerFor: (adapter: string) => ProviderAdapter | undefined;
}

export interface CountJob {
  readonly requestId: string;
  readonly dialect: Dialect;
  readonly request: PassThroughRequest;
  readonly place: RequestPlace;
  readonly candidate: Candidate;
}

/** Resolves with the provider's answer as it came; rejects with GatewayError. `left` is given what ends the call of a client that leaves. */
export function countUpstream(rooms: CountRooms, job: CountJob, left: (cancel: () => void) => void): Promise<Buffer> {
  const { candidate, dialect, request } = job;
  const { provider, endpoint, secret } = candidate;
  const adapter = rooms.providerFor(provider.adapter);
  if (adapter === undefined) return Promise.reject(new GatewayError('upstream_error', { cause: `unknown adapter ${provider.adapter}` }));
  return new Promise((resolve, reject) => {
    const target = adapter.target({
      provider,
      endpoint,
      secret,
      operation: 'count_tokens',
      stream: false,
      passOn: job.place.passOn ?? [],
      requestId: job.requestId,
    });
    let status = 0;
    let headers: Readonly<Record<string, string>> = {};
    const chunks: Buffer[] = [];
    let bytes = 0;
    const call = rooms.upstream.dispatch(
      {
        origin: target.origin,
        path: target.path,
        method: 'POST',
        headers: target.headers,
        body: request.rewrite({ model: endpoint.upstreamModel, maxOutputTokens: undefined }),
        timeouts: TIMEOUTS,
      },
      {
        onHead: (code, received) => {
          status = code;
          headers = received;
        },
        onData: (chunk) => {
          bytes += chunk.length;
          if (bytes <= MAX_COUNT_ANSWER_BYTES) chunks.push(chunk);
          else {
            call.cancel();
            reject(new GatewayError('upstream_error', { source: 'upstream', message: 'The provider sent an answer that is too large.' }));
          }
        },
        onEnd: () => {
          const body = Buffer.concat(chunks);
          if (status >= 200 && status < 300) resolve(body);
          else reject(dialect.readUpstreamError(status, headers, body));
        },
        onFailure: (failure) =>
          reject(
            new GatewayError('upstream_error', { source: 'upstream', message: 'The connection to the provider failed.', cause: failure }),
          ),
      },
    );
    left(() => {
      call.cancel();
      reject(new GatewayError('client_closed_request'));
    });
  });
}
