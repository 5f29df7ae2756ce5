/** Reads back what was published, for tests. */
import { fromBinary } from '@bufbuild/protobuf';
import { type ConfigEntry, LANES, type Lane } from '@meridian/domain/snapshot';
import { configEntryFromWire } from '@meridian/wire/codec/entry';
import { ConfigEntrySchema } from '@meridian/wire/gen/config_pb';
import type { Database } from '../database/connect.ts';

/** Every publication of an entity, by its version. */
export async function published(db: Database, id: string): Promise<{ lane: Lane; rev: number; entry: ConfigEntry }[]> {
  const rows = await db.selectFrom('config_log').selectAll().where('entity_id', '=', id).orderBy('version').execute();
  return rows.map((row) => {
    const decoded = configEntryFromWire(fromBinary(ConfigEntrySchema, row.payload));
    const lane = LANES[row.lane - 1];
    if (decoded.unknown || lane === undefined) throw new Error(`${id} was published as something unknown`);
    return { lane, rev: Number(row.rev), entry: decoded.entry };
  });
}
