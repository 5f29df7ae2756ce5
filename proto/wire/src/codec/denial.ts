/** Refusals that a node was told and a restored database may have forgotten. */
import { create } from '@bufbuild/protobuf';
import type { Denial } from '@meridian/domain/snapshot';
import { DenialSchema, type Denial as WireDenial } from '../gen/meridian/v1/sync_pb.js';

/** In one frame. */
export const MAX_DENIALS_A_FRAME = 1_000;
const MAX_ID_CHARS = 128;

export function denialToWire({ kind, id, version, status }: Denial): WireDenial {
  return create(DenialSchema, { kind, id, version: BigInt(version), status });
}

/** Undefined for what this build does not know or cannot read: a newer one may refuse more kinds. */
export function denialFromWire({ kind, id, version, status }: WireDenial): Denial | undefined {
  if (id === '' || id.length > MAX_ID_CHARS || version > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  if (kind === 'api_key' && (status === 'revoked' || status === 'disabled')) return { kind, id, version: Number(version), status };
  if ((kind === 'account' || kind === 'member') && status === 'disabled') return { kind, id, version: Number(version), status };
  return undefined;
}
