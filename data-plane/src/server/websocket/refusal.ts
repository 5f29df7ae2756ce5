/** What is refused of the connection itself, in the words of the protocol, which clients go by. */
import { GatewayError } from '@meridian/domain/error';
import type { Dialect } from '../../dialect/dialect.ts';

/** More exact than the catalogue's. */
export type RefusalCode =
  | 'invalid_json'
  | 'unknown_event_type'
  | 'invalid_stream_id'
  | 'previous_response_not_found'
  | 'websocket_stream_limit_reached'
  | 'websocket_queue_limit_reached'
  | 'websocket_connection_limit_reached';

/** A 400 of the catalogue, with the code of the protocol. */
export function refusal(code: RefusalCode, message: string, param?: string): GatewayError {
  return new GatewayError('invalid_request_error', { message, details: { code }, ...(param === undefined ? {} : { param }) });
}

/** Which turn an error belongs to. */
export interface Concerned {
  readonly requestId: string;
  /** Of its lane; undefined where it names none. */
  readonly streamId: string | undefined;
  /** In the stream of a response that has begun. */
  readonly sequenceNumber?: number | undefined;
}

/**
 * An error as a text message: `{"type": "error", "status", "sequence_number", "stream_id", "error": {type, code, message, param}, "headers"}`.
 * The headers are those that the same error has over HTTP, for clients that wait by them.
 */
export function errorMessage(error: GatewayError, dialect: Dialect, concerned: Concerned): Buffer {
  const { requestId, streamId, sequenceNumber } = concerned;
  const rendered = dialect.renderError(error, requestId);
  const { error: object } = JSON.parse(rendered.body.toString('utf8')) as { error: unknown };
  const headers: Record<string, string> = { 'x-request-id': requestId };
  for (let at = 0; at + 1 < rendered.headers.length; at += 2) {
    const name = rendered.headers[at] ?? '';
    if (name !== 'content-type') headers[name] = rendered.headers[at + 1] ?? '';
  }
  // What is undefined is not written.
  const place = { sequence_number: sequenceNumber, stream_id: streamId };
  return Buffer.from(JSON.stringify({ type: 'error', status: error.status, ...place, error: object, headers }));
}
