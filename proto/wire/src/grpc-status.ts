/** Which gRPC status an HTTP status of the error catalogue travels as, and what a status without our code means. */
import { status } from '@grpc/grpc-js';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';

/** The gRPC status for an error of the catalogue. */
export function grpcStatusOf(code: ErrorCode): status {
  switch (ERROR_CODES[code].status) {
    case 400:
    case 413:
    case 415:
      return status.INVALID_ARGUMENT;
    case 401:
      return status.UNAUTHENTICATED;
    case 402:
    case 422:
      return status.FAILED_PRECONDITION;
    case 403:
      return status.PERMISSION_DENIED;
    case 404:
      return status.NOT_FOUND;
    case 409:
      return status.ABORTED;
    case 429:
      return status.RESOURCE_EXHAUSTED;
    case 499:
      return status.CANCELLED;
    case 500:
      return status.INTERNAL;
    case 502:
    case 503:
      return status.UNAVAILABLE;
    case 504:
      return status.DEADLINE_EXCEEDED;
    default:
      return ERROR_CODES[code] satisfies never;
  }
}

/** The error of the catalogue for a status that came without one: from a proxy, or from gRPC itself. */
export function errorCodeOf(code: status): ErrorCode {
  switch (code) {
    case status.INVALID_ARGUMENT:
    case status.OUT_OF_RANGE:
      return 'invalid_request_error';
    case status.UNAUTHENTICATED:
      return 'invalid_token';
    case status.PERMISSION_DENIED:
      return 'permission_denied';
    case status.NOT_FOUND:
    case status.UNIMPLEMENTED:
      return 'not_found';
    case status.ALREADY_EXISTS:
    case status.ABORTED:
      return 'conflict';
    case status.FAILED_PRECONDITION:
      return 'invalid_state';
    case status.RESOURCE_EXHAUSTED:
      return 'rate_limit_exceeded';
    case status.CANCELLED:
      return 'client_closed_request';
    case status.UNAVAILABLE:
    case status.DEADLINE_EXCEEDED:
      return 'control_plane_unavailable';
    default:
      return 'internal_error';
  }
}
