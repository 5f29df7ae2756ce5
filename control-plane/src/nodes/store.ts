/** All SQL of the nodes that were seen. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { NodeStatus } from './node.ts';

/** Writes what this replica knows of its nodes, unless another has seen one of them later. */
export async function upsertNodes(db: Database, nodes: readonly NodeStatus[]): Promise<void> {
  await db
    .insertInto('node')
    .values(
      nodes
        .toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
        .map((node) => ({
          id: node.nodeId,
          region: node.region,
          spool_id: node.spoolId,
          incarnation: String(node.incarnation),
          build: node.build,
          db_epoch: node.dbEpoch,
          applied: JSON.stringify(node.applied),
          rejected_entries: BigInt(node.rejectedEntries),
          connected_at: new Date(node.connectedAtMs),
          last_seen_at: new Date(node.lastSeenAtMs),
        })),
    )
    .onConflict((conflict) =>
      conflict
        .column('id')
        .doUpdateSet((row) => ({
          region: row.ref('excluded.region'),
          spool_id: row.ref('excluded.spool_id'),
          incarnation: row.ref('excluded.incarnation'),
          build: row.ref('excluded.build'),
          db_epoch: row.ref('excluded.db_epoch'),
          applied: row.ref('excluded.applied'),
          rejected_entries: row.ref('excluded.rejected_entries'),
          connected_at: row.ref('excluded.connected_at'),
          last_seen_at: row.ref('excluded.last_seen_at'),
        }))
        .whereRef('node.last_seen_at', '<=', sql.ref('excluded.last_seen_at')),
    )
    .execute();
}

/** Nodes seen after a moment, by id. */
export async function selectNodes(db: Database, seenAfterMs: number): Promise<NodeStatus[]> {
  const rows = await db.selectFrom('node').selectAll().where('last_seen_at', '>', new Date(seenAfterMs)).orderBy('id').execute();
  return rows.map((row) => ({
    nodeId: row.id,
    region: row.region,
    spoolId: row.spool_id,
    incarnation: BigInt(row.incarnation),
    build: row.build,
    dbEpoch: row.db_epoch,
    applied: row.applied,
    connectedAtMs: row.connected_at.getTime(),
    lastSeenAtMs: row.last_seen_at.getTime(),
    rejectedEntries: Number(row.rejected_entries),
    rejections: [],
  }));
}
