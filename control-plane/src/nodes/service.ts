/**
 * Which nodes there are: those connected to this replica, exactly; those of other replicas as of a second ago, by the
 * table that every replica writes its own to.
 */
import type { Lane } from '@meridian/domain/snapshot';
import type { Database } from '../database/connect.ts';
import {
  type Applied,
  FORGOTTEN_AFTER_MS,
  isReachable,
  MAX_KEPT_REJECTIONS,
  type NodeIdentity,
  type NodeStatus,
  type Propagation,
  propagationOf,
  type Rejection,
  UNREACHABLE_AFTER_MS,
} from './node.ts';
import * as store from './store.ts';

export interface NodeServiceDeps {
  readonly db: Database;
  readonly clock: { nowMs(): number };
}

/** One node's place in the registry for as long as it is connected. */
export interface NodeConnection {
  applied(dbEpoch: string, lane: Lane, rev: number): void;
  rejected(rejections: readonly Rejection[]): void;
  disconnect(): void;
}

interface Connected {
  readonly identity: NodeIdentity;
  readonly connectedAtMs: number;
  dbEpoch: string;
  applied: Applied;
  rejectedEntries: number;
  rejections: Rejection[];
}

export class NodeService {
  readonly #deps: NodeServiceDeps;
  readonly #connected = new Map<string, Connected>();
  /** Disconnected since the last flush: their last word is still to be written. */
  #left: NodeStatus[] = [];
  /** Of other replicas' nodes, by region, at the last flush. */
  #elsewhere = new Map<string, number>();

  constructor(deps: NodeServiceDeps) {
    this.#deps = deps;
  }

  /** `applied` is where it stands on each lane that it follows; 0 where it has nothing. A node that connects anew replaces itself. */
  connect(identity: NodeIdentity, dbEpoch: string, applied: Applied): NodeConnection {
    const connected: Connected = {
      identity,
      connectedAtMs: this.#deps.clock.nowMs(),
      dbEpoch,
      applied,
      rejectedEntries: 0,
      rejections: [],
    };
    this.#connected.set(identity.nodeId, connected);
    return {
      applied: (epoch, lane, rev) => {
        if (connected.dbEpoch !== epoch) connected.applied = nothingOf(connected.applied);
        connected.dbEpoch = epoch;
        connected.applied = { ...connected.applied, [lane]: rev };
      },
      rejected: (rejections) => {
        connected.rejectedEntries += rejections.length;
        connected.rejections = [...connected.rejections, ...rejections].slice(-MAX_KEPT_REJECTIONS);
      },
      disconnect: () => {
        if (this.#connected.get(identity.nodeId) !== connected) return;
        this.#connected.delete(identity.nodeId);
        this.#left.push(this.#statusOf(connected));
      },
    };
  }

  /** Connected to this replica. */
  get connectedCount(): number {
    return this.#connected.size;
  }

  /** Nodes that are there in a region, over all replicas; other replicas' as of the last flush. */
  regionNodes(region: string): number {
    let own = 0;
    for (const { identity } of this.#connected.values()) if (identity.region === region) own += 1;
    return own + (this.#elsewhere.get(region) ?? 0);
  }

  /** Writes what this replica knows and reads what the others do. Once a second. */
  async flush(): Promise<void> {
    const left = this.#left.splice(0);
    const own = this.#own();
    const gone = left.filter((node) => !this.#connected.has(node.nodeId));
    const newest = new Map([...gone, ...own].map((node) => [node.nodeId, node]));
    if (newest.size > 0) await store.upsertNodes(this.#deps.db, [...newest.values()]);
    const elsewhere = new Map<string, number>();
    const nowMs = this.#deps.clock.nowMs();
    for (const { nodeId, region } of await store.selectNodes(this.#deps.db, nowMs - UNREACHABLE_AFTER_MS)) {
      if (this.#connected.has(nodeId) || gone.some((node) => node.nodeId === nodeId)) continue;
      elsewhere.set(region, (elsewhere.get(region) ?? 0) + 1);
    }
    this.#elsewhere = elsewhere;
  }

  /** Every node seen in the last 14 days, by id. */
  async list(): Promise<(NodeStatus & { readonly reachable: boolean })[]> {
    const nowMs = this.#deps.clock.nowMs();
    const nodes = new Map((await store.selectNodes(this.#deps.db, nowMs - FORGOTTEN_AFTER_MS)).map((node) => [node.nodeId, node]));
    for (const node of this.#own()) nodes.set(node.nodeId, node);
    return [...nodes.values()]
      .toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
      .map((node) => ({ ...node, reachable: isReachable(node, nowMs) }));
  }

  /** Where a rev has arrived, `dbEpoch` being the database it is a rev of. */
  async propagation(dbEpoch: string, lane: Lane, rev: number): Promise<Propagation> {
    return propagationOf(await this.list(), dbEpoch, lane, rev, this.#deps.clock.nowMs());
  }

  /**
   * The rev of a lane that every node which is there has applied, those aside that do not follow it and those that have nothing of it
   * yet; undefined where there is none.
   */
  async slowest(dbEpoch: string, lane: Lane): Promise<number | undefined> {
    const revs = (await this.list()).flatMap(({ reachable, dbEpoch: epoch, applied }) =>
      reachable && epoch === dbEpoch ? (applied[lane] ?? []) : [],
    );
    const begun = revs.filter((rev) => rev > 0);
    return begun.length === 0 ? undefined : Math.min(...begun);
  }

  #own(): NodeStatus[] {
    return [...this.#connected.values()].map((connected) => this.#statusOf(connected));
  }

  #statusOf({ identity, ...connected }: Connected): NodeStatus {
    return { ...identity, ...connected, lastSeenAtMs: this.#deps.clock.nowMs() };
  }
}

/** The same lanes, from their beginning. */
function nothingOf(applied: Applied): Applied {
  return Object.fromEntries(Object.keys(applied).map((lane) => [lane, 0]));
}
