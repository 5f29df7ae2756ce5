/** Client and upstream speak the same dialect: bytes go through, and only what must change is edited. */
import type { Operation } from '@meridian/domain/dialect';
import type { Dialect, PassThroughRequest, RequestPlace } from './dialect.ts';
import type { Lane } from './lane.ts';

const NO_LOSSES = Object.freeze([]);
const NO_HEADERS = Object.freeze([]);

export function passThroughLane(
  dialect: Dialect,
  operation: Operation,
  request: PassThroughRequest,
  { passOn = NO_HEADERS }: RequestPlace,
): Lane {
  return {
    passOn,
    request: (terms) => ({ body: request.rewrite(terms), losses: NO_LOSSES }),
    answer: (body) => request.readAnswer?.(body) ?? dialect.readAnswer(operation, body),
    stream: (terms) => dialect.passThroughStream(terms),
    upstreamError: (status, headers, body) => dialect.readUpstreamError(status, headers, body),
  };
}
