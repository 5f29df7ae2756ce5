/** What is refused of the connection itself, in the words of the protocol, which clients go by. */
import type { GatewayError } from '@meridian/domain/error';
import type { Dialect } from '../../dialect/dialect.ts';

export type RefusalCode =
  | 'invalid_json'
  | 'invalid_request_error'
  | 'unknown_event_type'
  | 'invalid_stream_id'
  | 'previous_response_not_found'
  | 'websocket_stream_limit_reached'
  | 'websocket_queue_limit_reached'
  | 'websocket_connection_limit_reached';

export class Refusal extends Error {
  readonly code: RefusalCode;
  readonly param: string | null;
  readonly status: number;

  constructor(code: RefusalCode, message: string, param: string | null = null, status = 400) {
    super(message);
    this.name = 'Refusal';
    this.code = code;
    this.param = param;
    this.status = status;
  }
}

/** Which turn an error belongs to. */
export interface Concerned {
  readonly requestId: string;
  /** Of its lane; undefined where it names none. */
  readonly streamId: string | undefined;
}

/**
 * An error as a text message: `{"type": "error", "status", "stream_id", "error": {type, code, message, param}, "headers"}`. The headers are
 * those that the same error has over HTTP, for clients that wait by them.
 */
export function errorMessage(error: GatewayError | Refusal, dialect: Dialect, { requestId, streamId }: Concerned): Buffer {
  const headers: Record<string, string> = { 'x-request-id': requestId };
  let object: unknown;
  if (error instanceof Refusal) {
    const { code, message, param } = error;
    object = { type: 'invalid_request_error', code, message, param };
  } else {
    const rendered = dialect.renderError(error, requestId);
    object = (JSON.parse(rendered.body.toString('utf8')) as { error: unknown }).error;
    for (let at = 0; at + 1 < rendered.headers.length; at += 2) {
      const name = rendered.headers[at] ?? '';
      if (name !== 'content-type') headers[name] = rendered.headers[at + 1] ?? '';
    }
  }
  const lane = streamId === undefined ? {} : { stream_id: streamId };
  return Buffer.from(JSON.stringify({ type: 'error', status: error.status, ...lane, error: object, headers }));
}
