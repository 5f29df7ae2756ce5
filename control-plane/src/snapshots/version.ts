/** Versions of entities that a database lost and nodes know. */
import { type RawBuilder, sql } from 'kysely';

/** A version that is told further ahead than this is not believed: it would use up what a column holds. */
const MAX_VERSIONS_LOST = 1_000_000;

/**
 * The version after a row's own `version` and after the one that a node was told, so that the row wins wherever the other is held
 * still. Both are SQL expressions.
 */
export function versionAfter(own: RawBuilder<number>, told: RawBuilder<bigint>): RawBuilder<number> {
  return sql<number>`(CASE WHEN ${told} <= ${own} + ${sql.lit(MAX_VERSIONS_LOST)} THEN greatest(${own}, ${told}) ELSE ${own} END + 1)::int`;
}
