/** Why an answer ended: this protocol tells it by the status of the response and the kinds of its items. */
import { GatewayError } from '@meridian/domain/error';
import type { Finish } from '../../canonical/finish.ts';
import { isObject, type JsonObject } from '../json.ts';
import { errorFromAnswer } from '../upstream-error.ts';

const CALLS: ReadonlySet<unknown> = new Set(['function_call', 'custom_tool_call']);

/** Whether the client is to run an item. */
export function isCall(item: JsonObject): boolean {
  return CALLS.has(item.type);
}

/** `hasCalls`: the output has calls that wait for results. Throws GatewayError on a failed response, and on a status that is no end. */
export function readFinish(response: JsonObject, hasCalls: boolean): Finish {
  const { status } = response;
  switch (status) {
    // Some that speak this protocol tell of no status.
    case undefined:
    case null:
    case 'completed':
      return hasCalls ? { reason: 'tool_calls', raw: 'completed' } : { reason: 'stop', raw: 'completed' };
    case 'incomplete': {
      const reason = isObject(response.incomplete_details) ? response.incomplete_details.reason : undefined;
      if (reason === 'max_output_tokens' || reason === 'max_tokens') return { reason: 'length', raw: String(reason) };
      if (reason === 'content_filter') return { reason: 'content_filter', raw: reason };
      throw unknownEnd(reason);
    }
    case 'failed':
    case 'cancelled':
      throw failureOf(response);
    default:
      throw unknownEnd(status);
  }
}

/** Whether an answer, or the response in a terminal event, is an error in a success's clothes. */
export function hasFailed(response: JsonObject): boolean {
  return response.status === 'failed' || response.status === 'cancelled';
}

/** Codes of failures that the request itself is at fault for. */
const OF_THE_REQUEST = /^(invalid_|image_|empty_image_file|unsupported_image|failed_to_download_image|context_length_exceeded|bio_policy)/;

/** The error of a failed response, or of an `error` event. */
export function failureOf(response: JsonObject): GatewayError {
  const error = isObject(response.error) ? response.error : response;
  const isOfRequest = typeof error.code === 'string' && OF_THE_REQUEST.test(error.code) && error.code !== 'invalid_api_key';
  return errorFromAnswer({ error: isOfRequest ? { ...error, status_code: 400 } : error });
}

/** What a response says of its end: its status, and why it is incomplete. */
export function writeFinish(finish: Finish | undefined): { readonly status: string; readonly incomplete_details: JsonObject | null } {
  const reason = finish?.reason;
  switch (reason) {
    // A turn that is to be continued cannot be told here; a cut answer is what a client can act upon.
    case 'length':
    case 'pause':
      return { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } };
    case 'content_filter':
      return { status: 'incomplete', incomplete_details: { reason: 'content_filter' } };
    case undefined:
    case 'stop':
    case 'stop_sequence':
    case 'tool_calls':
      return { status: 'completed', incomplete_details: null };
    default:
      return reason satisfies never;
  }
}

function unknownEnd(cause: unknown): GatewayError {
  return new GatewayError('upstream_error', {
    source: 'upstream',
    message: 'The provider ended the answer for a reason that is not known.',
    cause,
  });
}
