/** Why a stream of a node is not served, or no longer. */
import type { Metadata } from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';
import { WireFormatError } from '@meridian/wire/codec/wire-format-error';
import type { RequireNode } from './node-identity.ts';

/** What a node is told of an error: that its frame cannot be read where that is so. */
export function refusalOf(error: unknown): GatewayError {
  if (error instanceof WireFormatError) return new GatewayError('invalid_request_error', { message: error.message, cause: error });
  return GatewayError.from(error);
}

/** What keeps a new stream out; undefined when nothing does. `isFull` where this replica takes no more of them. */
export function streamRefusal(requireNode: RequireNode, metadata: Metadata, isFull: boolean): GatewayError | undefined {
  try {
    requireNode(metadata);
  } catch (error) {
    return GatewayError.from(error);
  }
  return isFull ? new GatewayError('overloaded', { retryAfterSeconds: 1 }) : undefined;
}
