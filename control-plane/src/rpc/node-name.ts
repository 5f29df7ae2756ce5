/** What a node calls itself in the first frame of a stream. */
import { GatewayError } from '@meridian/domain/error';
import { isNodeId } from '@meridian/domain/node-id';
import { isRegion } from '@meridian/domain/region';

/** Throws `invalid_request_error` where the id or the region is none that a node may have. */
export function checkNodeName({ nodeId, region }: { readonly nodeId: string; readonly region: string }): void {
  if (!isNodeId(nodeId)) throw invalid('node_id must be 1 to 64 letters, digits, dots, dashes');
  if (!isRegion(region)) throw invalid('region is not a region');
}

function invalid(message: string): GatewayError {
  return new GatewayError('invalid_request_error', { message });
}
