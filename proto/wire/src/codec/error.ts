/** GatewayError as a gRPC status: the public half travels, the cause stays. */
import { Metadata, type ServerErrorResponse, type ServiceError } from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';
import { errorCodeOf, grpcStatusOf } from '../grpc-status.ts';

const CODE_KEY = 'meridian-error-code';
const RETRYABLE_KEY = 'meridian-error-retryable';
const RETRY_AFTER_KEY = 'meridian-retry-after-seconds';

/** What a handler hands to grpc-js: `callback(errorToGrpc(error))`, `call.emit('error', errorToGrpc(error))`. */
export function errorToGrpc(error: GatewayError): ServerErrorResponse {
  const metadata = new Metadata();
  metadata.set(CODE_KEY, error.code);
  metadata.set(RETRYABLE_KEY, error.retryable ? '1' : '0');
  if (error.retryAfterSeconds !== undefined) metadata.set(RETRY_AFTER_KEY, String(error.retryAfterSeconds));
  return { name: error.name, message: error.message, code: grpcStatusOf(error.code), details: error.message, metadata };
}

/** Reads what a call ended with. A status without our code (a proxy's, gRPC's own) becomes the nearest error, and keeps its text private. */
export function errorFromGrpc(error: ServiceError): GatewayError {
  const code = error.metadata.get(CODE_KEY)[0]?.toString();
  if (code === undefined || !isErrorCode(code)) {
    return new GatewayError(errorCodeOf(error.code), { source: 'gateway', cause: error });
  }
  const retryAfter = Number(error.metadata.get(RETRY_AFTER_KEY)[0]?.toString());
  return new GatewayError(code, {
    message: error.details,
    retryable: error.metadata.get(RETRYABLE_KEY)[0]?.toString() === '1',
    ...(Number.isFinite(retryAfter) ? { retryAfterSeconds: retryAfter } : {}),
    cause: error,
  });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}
