/** Account paths are forwarded to the control plane: one host serves everything. */
import { GatewayError } from '@meridian/domain/error';
import type { Upstream, UpstreamRequest } from '../upstream/call.ts';
import type { HttpReply } from './reply.ts';

export const MAX_FORWARDED_ANSWER_BYTES = 16 * 1024 * 1024;

const TIMEOUTS = { connectMs: 1_000, firstByteMs: 15_000, idleMs: 15_000, totalMs: 60_000 };

/** Headers that say something about the request itself, not about one connection. */
const REQUEST_HEADERS = ['authorization', 'content-type', 'accept', 'cookie', 'idempotency-key', 'user-agent'] as const;
const ANSWER_HEADERS = ['content-type', 'retry-after', 'set-cookie', 'cache-control', 'content-disposition'] as const;

export interface ForwardedRequest {
  readonly method: UpstreamRequest['method'];
  /** Path and query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  readonly requestId: string;
  /** Of the connection. */
  readonly address: string;
}

/** Forwards one request; an unreachable control plane is 503 `control_plane_unavailable`. */
export function forward(upstream: Upstream, origin: string, request: ForwardedRequest, reply: HttpReply): void {
  // As every proxy on the way does: whoever reads it decides whose word to take.
  const before = request.headers['x-forwarded-for'];
  const forwardedFor = typeof before === 'string' ? `${before}, ${request.address}` : request.address;
  const headers: string[] = ['x-request-id', request.requestId, 'x-forwarded-for', forwardedFor];
  for (const name of REQUEST_HEADERS) {
    const value = request.headers[name];
    if (typeof value === 'string') headers.push(name, value);
  }
  let status = 0;
  let answerHeaders: string[] = [];
  const chunks: Buffer[] = [];
  let bytes = 0;
  const unavailable = (cause: unknown): void => reply.fail(new GatewayError('control_plane_unavailable', { retryAfterSeconds: 5, cause }));
  const call = upstream.dispatch(
    {
      origin,
      path: request.path,
      method: request.method,
      headers,
      body: request.body.length === 0 ? [] : [request.body],
      timeouts: TIMEOUTS,
    },
    {
      onHead: (code, received) => {
        status = code;
        answerHeaders = ANSWER_HEADERS.flatMap((name) => {
          const value = received[name];
          return value === undefined ? [] : [name, value];
        });
      },
      onData: (chunk) => {
        bytes += chunk.length;
        if (bytes > MAX_FORWARDED_ANSWER_BYTES) {
          call.cancel();
          unavailable('the answer of the control plane is too large');
          return;
        }
        chunks.push(chunk);
      },
      onEnd: () => reply.forwarded(status, answerHeaders, chunks),
      onFailure: unavailable,
    },
  );
  reply.onGone(() => call.cancel());
}
