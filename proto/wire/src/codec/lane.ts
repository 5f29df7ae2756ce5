/** Lanes and positions in them. */
import { create } from '@bufbuild/protobuf';
import { LANES, type Lane } from '@meridian/domain/snapshot';
import { Lane as WireLane } from '../gen/meridian/v1/config_pb.js';
import { type LaneRevision, LaneRevisionSchema } from '../gen/meridian/v1/sync_pb.js';
import { readSafeInteger } from './field.ts';
import { WireFormatError } from './wire-format-error.ts';

/** A revision of each lane that has one; a lane that is absent has no position (which is not revision 0). */
export type LaneRevisions = Readonly<Partial<Record<Lane, number>>>;

const TO_WIRE: Readonly<Record<Lane, WireLane>> = {
  security: WireLane.SECURITY,
  customer: WireLane.CUSTOMER,
  catalog: WireLane.CATALOG,
  bulk: WireLane.BULK,
};

/** What builds follow that do not say which lanes they follow. */
const LANES_UNSAID: readonly Lane[] = ['security', 'customer', 'catalog'];

export function laneToWire(lane: Lane): WireLane {
  return TO_WIRE[lane];
}

/** Throws WireFormatError on a lane that this build does not know. */
export function laneFromWire(wire: WireLane): Lane {
  const lane = LANES.find((candidate) => TO_WIRE[candidate] === wire);
  if (lane === undefined) throw new WireFormatError('lane', `is not a known lane: ${wire}`);
  return lane;
}

export function lanesToWire(lanes: readonly Lane[]): WireLane[] {
  return lanes.map(laneToWire);
}

/** The lanes that a Hello names, in lock order, as far as this build knows them. */
export function lanesFromWire(wire: readonly WireLane[]): readonly Lane[] {
  return wire.length === 0 ? LANES_UNSAID : LANES.filter((lane) => wire.includes(TO_WIRE[lane]));
}

/** In lock order. */
export function laneRevisionsToWire(revisions: LaneRevisions): LaneRevision[] {
  const wire: LaneRevision[] = [];
  for (const lane of LANES) {
    const rev = revisions[lane];
    if (rev !== undefined) wire.push(create(LaneRevisionSchema, { lane: TO_WIRE[lane], rev: BigInt(rev) }));
  }
  return wire;
}

/** Lanes that this build does not know are left out: a newer control plane may have more. */
export function laneRevisionsFromWire(wire: readonly LaneRevision[]): LaneRevisions {
  const revisions: Partial<Record<Lane, number>> = {};
  for (const { lane: wireLane, rev } of wire) {
    const lane = LANES.find((candidate) => TO_WIRE[candidate] === wireLane);
    if (lane !== undefined) revisions[lane] = readSafeInteger('rev', rev);
  }
  return revisions;
}
