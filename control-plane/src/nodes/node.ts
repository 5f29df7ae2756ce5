/** What is known of a node, and how far a change has come. */
import type { Lane } from '@meridian/domain/snapshot';

/** A connected node is seen every second; one that was not seen for this long is unreachable. */
export const UNREACHABLE_AFTER_MS = 5_000;

/** A node that was not seen for this long is no longer listed. */
export const FORGOTTEN_AFTER_MS = 14 * 86_400_000;

/** How many of a node's rejected entries are kept to be looked at. */
export const MAX_KEPT_REJECTIONS = 16;

/** A lane that is absent is none that the node follows. */
export type Applied = Readonly<Partial<Record<Lane, number>>>;

/** An entry that a node could not read or apply: it keeps the last good version. */
export interface Rejection {
  readonly lane: Lane;
  readonly kind: string;
  readonly id: string;
  readonly version: number;
  readonly code: string;
  readonly detail: string;
}

/** What a node says of itself when it connects. */
export interface NodeIdentity {
  readonly nodeId: string;
  readonly region: string;
  readonly spoolId: string;
  /** Random 64 bits of one boot. */
  readonly incarnation: bigint;
  readonly build: string;
}

export interface NodeStatus extends NodeIdentity {
  /** The database its revs belong to. */
  readonly dbEpoch: string;
  readonly applied: Applied;
  readonly connectedAtMs: number;
  readonly lastSeenAtMs: number;
  /** Since it connected. */
  readonly rejectedEntries: number;
  /** The newest of them; empty for a node that is connected to another replica. */
  readonly rejections: readonly Rejection[];
}

/** Ids of nodes that have a rev, that do not have it yet, and that do not have it as far as is known and are not there to ask. */
export interface Propagation {
  readonly applied: readonly string[];
  readonly pending: readonly string[];
  readonly unreachable: readonly string[];
}

export function isReachable(node: Pick<NodeStatus, 'lastSeenAtMs'>, nowMs: number): boolean {
  return nowMs - node.lastSeenAtMs < UNREACHABLE_AFTER_MS;
}

/** Where a rev of a lane has arrived. A rev that a node has of another epoch says nothing. */
export function propagationOf(nodes: readonly NodeStatus[], dbEpoch: string, lane: Lane, rev: number, nowMs: number): Propagation {
  const applied: string[] = [];
  const pending: string[] = [];
  const unreachable: string[] = [];
  for (const node of nodes) {
    if (node.dbEpoch === dbEpoch && (node.applied[lane] ?? -1) >= rev) applied.push(node.nodeId);
    else if (isReachable(node, nowMs)) pending.push(node.nodeId);
    else unreachable.push(node.nodeId);
  }
  return { applied, pending, unreachable };
}
