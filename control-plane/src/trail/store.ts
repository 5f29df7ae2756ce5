/** The SQL of the trail. The rows of changes are written by the database: see the migration that makes the tables. */
import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import type { Transaction } from '../database/transaction.ts';
import type { TrailChangeRow, TrailEventRow, TrailFilter } from './trail.ts';

/**
 * Puts what the transaction will do to watched rows under an event, which it writes unless an earlier transaction of the same
 * request has.
 */
export async function openEvent(trx: Transaction, event: TrailEventRow): Promise<void> {
  await sql`
    WITH opened AS (${inserted(event)})
    SELECT set_config('meridian.trail', ${JSON.stringify({ id: event.id, at: event.at.toISOString() })}, true)`.execute(trx);
}

export async function insertEvent(db: Database, event: TrailEventRow): Promise<void> {
  await inserted(event).execute(db);
}

function inserted(event: TrailEventRow): RawBuilder<unknown> {
  const note = event.note === null ? null : JSON.stringify(event.note, storable);
  return sql`
    INSERT INTO trail_event (at, id, request_id, actor_kind, actor_id, address, route, account_id, object_kind, object_id, note)
    VALUES (${event.at}, ${event.id}, ${event.request_id}, ${event.actor_kind}, ${event.actor_id}, ${event.address}, ${event.route},
      ${event.account_id}, ${event.object_kind}, ${event.object_id}, ${note}::jsonb)
    ON CONFLICT DO NOTHING`;
}

/** PostgreSQL keeps neither U+0000 nor half of a character. */
function storable(_name: string, value: unknown): unknown {
  return typeof value === 'string' ? value.replaceAll('\u0000', '\ufffd').toWellFormed() : value;
}

/** Newest first; one row more than the page holds, if there is one. */
export async function selectEvents(db: Database, filter: TrailFilter, page: Page): Promise<TrailEventRow[]> {
  const conditions: RawBuilder<unknown>[] = [sql`true`];
  const { actorKind, actorId, objectKind, objectId, accountId, requestId, fromMs, toMs } = filter;
  if (page.after !== undefined) conditions.push(sql`id < ${page.after}`);
  if (actorKind !== undefined) conditions.push(sql`actor_kind = ${actorKind}`);
  if (actorId !== undefined) conditions.push(sql`actor_id = ${actorId}`);
  if (requestId !== undefined) conditions.push(sql`request_id = ${requestId}`);
  if (fromMs !== undefined) conditions.push(sql`at >= ${new Date(fromMs)}`);
  if (toMs !== undefined) conditions.push(sql`at < ${new Date(toMs)}`);
  // Of one row: what is asked for an account reads nothing of the others.
  const about = [
    ...(accountId === undefined ? [] : [sql`account_id = ${accountId}`]),
    ...(objectId === undefined ? [] : [sql`object_id = ${objectId}`]),
    ...(objectKind === undefined ? [] : [sql`object_kind = ${objectKind}`]),
  ];
  if (about.length > 0) conditions.push(either(sql.join(about, sql` AND `)));
  const { rows } = await sql<TrailEventRow>`
    SELECT * FROM trail_event WHERE ${sql.join(conditions, sql` AND `)} ORDER BY id DESC LIMIT ${page.limit + 1}`.execute(db);
  return rows;
}

/** Whether all of it holds for the event, or for one of its changes. */
function either(condition: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`id IN (SELECT id FROM trail_event WHERE ${condition} UNION SELECT event_id FROM trail_change WHERE ${condition})`;
}

export async function selectEvent(db: Database, id: string): Promise<TrailEventRow | undefined> {
  const { rows } = await sql<TrailEventRow>`SELECT * FROM trail_event WHERE id = ${id}`.execute(db);
  return rows[0];
}

export interface CountedChange extends TrailChangeRow {
  /** Of the event, or of what the account may see of it. */
  readonly total: bigint;
}

/** The first changes of each event, in the order in which they were made; only those of an account where one is given. */
export async function selectChanges(
  db: Database,
  events: readonly Pick<TrailEventRow, 'id' | 'at'>[],
  limits: { readonly perEvent: number; readonly accountId?: string | undefined },
): Promise<CountedChange[]> {
  if (events.length === 0) return [];
  const owned = limits.accountId === undefined ? sql`true` : sql`account_id = ${limits.accountId}`;
  const { rows } = await sql<CountedChange>`
    SELECT event_id, account_id, object_kind, object_id, before, after, total FROM (
      SELECT c.*, count(*) OVER (PARTITION BY c.event_id) AS total,
        row_number() OVER (PARTITION BY c.event_id ORDER BY changed_at) AS place
      FROM trail_change c
      WHERE event_id = ANY (${events.map(({ id }) => id)}::text[]) AND ${owned}
        AND at BETWEEN ${least(events)} AND ${most(events)}) numbered
    WHERE place <= ${limits.perEvent} ORDER BY event_id DESC, place`.execute(db);
  return rows;
}

function least(events: readonly Pick<TrailEventRow, 'at'>[]): Date {
  return new Date(Math.min(...events.map(({ at }) => at.getTime())));
}

function most(events: readonly Pick<TrailEventRow, 'at'>[]): Date {
  return new Date(Math.max(...events.map(({ at }) => at.getTime())));
}

/** Returns how many were made. */
export async function makePartitions(db: Database, now: Date, monthsAhead: number): Promise<number> {
  const { rows } = await sql<{ made: number }>`SELECT make_trail_partitions(${now}, ${monthsAhead}) AS made`.execute(db);
  return rows[0]?.made ?? 0;
}
