/** All SQL of the configuration log, its heads and the entities' latest state. */
import { everyLane, LANES, type Lane } from '@meridian/domain/snapshot';
import { type Kysely, sql } from 'kysely';
import type { Tables } from '../database/tables.ts';
import type { Transaction } from '../database/transaction.ts';

type Reader = Kysely<Tables>;

/** An entry with its bytes on the wire. */
export interface EncodedEntry {
  readonly kind: string;
  readonly id: string;
  readonly version: number;
  readonly deleted: boolean;
  /** An encoded wire ConfigEntry. */
  readonly payload: Buffer;
}

/** One row of a lane's log. */
export interface LogRow {
  readonly rev: number;
  readonly kind: string;
  readonly entityId: string;
  readonly payload: Buffer;
  /** By the database's clock (ms since 1970). */
  readonly writtenAtMs: number;
}

/** Every lane's newest rev, all of one epoch. */
export interface Heads {
  readonly dbEpoch: string;
  readonly revs: Readonly<Record<Lane, number>>;
}

/** A lane's number in the tables: its place in lock order, from 1. */
function laneNumber(lane: Lane): number {
  return LANES.indexOf(lane) + 1;
}

export async function selectHeads(db: Reader): Promise<Heads> {
  const rows = await db.selectFrom('config_head').select(['lane', 'rev', 'db_epoch']).execute();
  const rev = (lane: Lane): number => {
    const row = rows.find((each) => each.lane === laneNumber(lane));
    if (row === undefined) throw new Error(`config_head has no row for the lane ${lane}`);
    return Number(row.rev);
  };
  const dbEpoch = rows[0]?.db_epoch ?? '';
  if (rows.some((row) => row.db_epoch !== dbEpoch)) throw new Error('config_head has lanes of different epochs');
  return { dbEpoch, revs: everyLane(rev) };
}

/**
 * Takes revs for the entries, appends them to the log and makes them the entities' latest state, in one statement, so that the
 * head is locked for one round trip and the commit. No two entries may be of one entity. Returns the new head and the
 * number of entities whose stored version was older.
 */
export async function appendEntries(
  trx: Transaction,
  lane: Lane,
  entries: readonly EncodedEntry[],
): Promise<{ readonly rev: number; readonly updatedCount: number }> {
  const number = laneNumber(lane);
  // Both inserts read from `head`, so the head is locked before any entity is: one order of locks for all lanes' writers.
  const { rows } = await sql<{ rev: bigint; updated: bigint }>`
    WITH head AS (
      UPDATE config_head SET rev = rev + ${entries.length} WHERE lane = ${number} RETURNING rev),
    entry AS (
      SELECT head.rev - ${entries.length} + item.place AS rev, item.* FROM head, unnest(
        ${entries.map((entry) => entry.kind)}::text[], ${entries.map((entry) => entry.id)}::text[],
        ${entries.map((entry) => entry.version)}::bigint[], ${entries.map((entry) => entry.deleted)}::boolean[],
        ${entries.map((entry) => entry.payload)}::bytea[]
      ) WITH ORDINALITY AS item (kind, id, version, deleted, payload, place)),
    logged AS (
      INSERT INTO config_log (lane, rev, kind, entity_id, version, payload)
      SELECT ${number}, rev, kind, id, version, payload FROM entry),
    updated AS (
      INSERT INTO config_entity (kind, id, version, deleted, lane, payload)
      SELECT kind, id, version, deleted, ${number}, payload FROM entry ORDER BY kind, id
      ON CONFLICT (kind, id) DO UPDATE SET
        version = EXCLUDED.version, deleted = EXCLUDED.deleted, lane = EXCLUDED.lane, payload = EXCLUDED.payload
        WHERE config_entity.version < EXCLUDED.version
      RETURNING 1)
    SELECT head.rev, (SELECT count(*) FROM updated) AS updated FROM head`.execute(trx);
  const row = rows[0];
  if (row === undefined) throw new Error(`config_head has no row for the lane ${lane}`);
  return { rev: Number(row.rev), updatedCount: Number(row.updated) };
}

function logRow(row: LogRecord): LogRow {
  return { rev: Number(row.rev), kind: row.kind, entityId: row.entity_id, payload: row.payload, writtenAtMs: row.created_at.getTime() };
}

interface LogRecord {
  readonly rev: bigint;
  readonly kind: string;
  readonly entity_id: string;
  readonly payload: Buffer;
  readonly created_at: Date;
}

/** How much is read of a lane at a time; the first row comes however large it is. */
export interface PageLimits {
  readonly maxRows: number;
  readonly maxBytes: number;
}

/** Rows `after` < rev ≤ `upto`, oldest first. */
export async function selectLog(db: Reader, lane: Lane, after: number, upto: number, limits: PageLimits): Promise<LogRow[]> {
  const { rows } = await sql<LogRecord>`
    SELECT rev, kind, entity_id, payload, created_at FROM (
      SELECT page.*, sum(octet_length(payload)) OVER (ORDER BY rev) - octet_length(payload) AS bytes_before FROM (
        SELECT rev, kind, entity_id, payload, created_at FROM config_log
        WHERE lane = ${laneNumber(lane)} AND rev > ${after} AND rev <= ${upto} ORDER BY rev LIMIT ${limits.maxRows}) page) sized
    WHERE bytes_before < ${limits.maxBytes} ORDER BY rev`.execute(db);
  return rows.map(logRow);
}

/** The last rows up to `upto` whose payloads together have at most `maxBytes`, oldest first. */
export async function selectLogTail(db: Reader, lane: Lane, upto: number, limits: PageLimits): Promise<LogRow[]> {
  const { rows } = await sql<LogRecord>`
    SELECT rev, kind, entity_id, payload, created_at FROM (
      SELECT newest.*, sum(octet_length(payload)) OVER (ORDER BY rev DESC) AS bytes FROM (
        SELECT rev, kind, entity_id, payload, created_at FROM config_log
        WHERE lane = ${laneNumber(lane)} AND rev <= ${upto} ORDER BY rev DESC LIMIT ${limits.maxRows}) newest) tail
    WHERE bytes <= ${limits.maxBytes} ORDER BY rev`.execute(db);
  return rows.map(logRow);
}

/** Removes up to `limit` of the rows at or before `upto`, oldest first, and returns how many. */
export async function deleteLog(db: Reader, lane: Lane, upto: number, limit: number): Promise<number> {
  const { numAffectedRows } = await sql`
    DELETE FROM config_log WHERE lane = ${laneNumber(lane)} AND rev IN (
      SELECT rev FROM config_log WHERE lane = ${laneNumber(lane)} AND rev <= ${upto} ORDER BY rev LIMIT ${limit})`.execute(db);
  return Number(numAffectedRows ?? 0n);
}

/** A page of living entities after a place in the order of (kind, id). */
export async function selectEntities(
  db: Reader,
  after: { readonly kind: string; readonly id: string },
  limit: number,
): Promise<{ kind: string; id: string; payload: Buffer }[]> {
  const { rows } = await sql<{ kind: string; id: string; payload: Buffer }>`
    SELECT kind, id, payload FROM config_entity
    WHERE (kind, id) > (${after.kind}, ${after.id}) AND NOT deleted ORDER BY kind, id LIMIT ${limit}`.execute(db);
  return rows;
}
