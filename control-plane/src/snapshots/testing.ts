/** Published entries and their readers, for tests of the log. */
import { fromBinary } from '@bufbuild/protobuf';
import type { ConfigEntry, Lane } from '@meridian/domain/snapshot';
import { ConfigEntrySchema } from '@meridian/wire/gen/config_pb';
import type { Database } from '../database/connect.ts';
import { transaction } from '../database/transaction.ts';
import { publish } from './service.ts';

export function plan(id: string, version: number, name = 'Plan'): ConfigEntry {
  return { kind: 'plan', id, version, body: { kind: 'plan', value: { id, name, apiAccess: true } } };
}

export function tombstone(id: string, version: number): ConfigEntry {
  return { kind: 'plan', id, version, body: undefined };
}

export function revokedKey(id: string, version: number): ConfigEntry {
  const value = {
    id,
    accountId: 'acc_1',
    memberId: 'mem_1',
    name: 'key',
    hash: `01${'ab'.repeat(32)}`,
    status: 'revoked' as const,
    expiresAtMs: undefined,
    allowedModels: [],
    allowedRegions: [],
  };
  return { kind: 'api_key', id, version, body: { kind: 'api_key', value } };
}

/** In a transaction of its own. */
export async function publishNow(db: Database, lane: Lane, entries: readonly ConfigEntry[]): Promise<number> {
  return (await transaction(db, (trx) => publish(trx, lane, entries))).rev;
}

/** What a node holds: the newest version of each entity, deleted ones as their version alone. */
export class TestPicture {
  readonly versions = new Map<string, { version: number; deleted: boolean }>();

  apply(payload: Uint8Array): void {
    const { kind, id, version, deleted } = fromBinary(ConfigEntrySchema, payload);
    const name = `${kind}/${id}`;
    if (Number(version) > (this.versions.get(name)?.version ?? 0)) this.versions.set(name, { version: Number(version), deleted });
  }

  /** Entities that are not deleted, as `kind/id@version`, sorted. */
  living(): string[] {
    return [...this.versions]
      .filter(([, { deleted }]) => !deleted)
      .map(([name, { version }]) => `${name}@${version}`)
      .sort();
  }
}

/** What the database says the picture is, in the form of `TestPicture.living`. */
export async function livingEntities(db: Database): Promise<string[]> {
  const rows = await db.selectFrom('config_entity').select(['kind', 'id', 'version']).where('deleted', '=', false).execute();
  return rows.map((row) => `${row.kind}/${row.id}@${row.version}`).sort();
}
