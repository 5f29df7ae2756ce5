/** Whether a call comes from one of our nodes: the join token, until certificates say who a node is. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Metadata } from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';

export type RequireNode = (metadata: Metadata) => void;

/** Throws `invalid_token` unless the call carries `authorization: Bearer <join token>`. Takes the same time whatever it is compared with. */
export function joinTokenIdentity(joinToken: string): RequireNode {
  const expected = digest(`Bearer ${joinToken}`);
  return (metadata) => {
    const values = metadata.get('authorization');
    const given = values.length === 1 ? String(values[0]) : '';
    if (!timingSafeEqual(digest(given), expected)) throw new GatewayError('invalid_token');
  };
}

/** Of one length, as the comparison needs it. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
