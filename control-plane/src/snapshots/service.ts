/** The log as the features use it: a transaction hands the nodes what it changed. */
import { toBinary } from '@bufbuild/protobuf';
import { GatewayError } from '@meridian/domain/error';
import { type ConfigEntry, LANES } from '@meridian/domain/snapshot';
import { configEntryToWire } from '@meridian/wire/codec/entry';
import { ConfigEntrySchema } from '@meridian/wire/gen/config_pb';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Publish } from './publish.ts';
import { appendEntries, type EncodedEntry, type Heads, selectHeads } from './store.ts';

/** A delta of 64 KiB must have room for any entry. */
export const MAX_ENTRY_BYTES = 60 * 1024;

/** Rows in one statement. */
const MAX_ENTRIES_A_STATEMENT = 5_000;

/** The last lane each running transaction has published on, by its number in lock order. */
const lastLane = new WeakMap<Transaction, number>();

/**
 * Appends the entries to the lane's log and returns the rev of the last one. It locks the lane's head
 * until the transaction ends, so it must be the last thing a transaction does. Lanes go in lock order
 * within one transaction: anything else throws. An entry whose version is not newer than what was published of its entity throws:
 * nodes would drop it without a word. Throws `invalid_request_error` for an entry larger than `MAX_ENTRY_BYTES`.
 */
export const publish: Publish = async (trx, lane, entries) => {
  const place = LANES.indexOf(lane);
  const before = lastLane.get(trx);
  if (before !== undefined && before > place) {
    throw new Error(`a transaction that has published on ${LANES[before]} cannot publish on ${lane}: lanes are locked in order`);
  }
  lastLane.set(trx, place);
  if (entries.length === 0) throw new Error(`nothing to publish on ${lane}`);
  let rev = 0;
  for (const batch of batchesOf(entries.map(encodeEntry))) {
    const published = await appendEntries(trx, lane, batch);
    rev = published.rev;
    if (published.updatedCount !== batch.length) {
      throw new Error(`${lane}: an entry among ${batch.slice(0, 8).map(nameOf).join(', ')} is not newer than what was published before`);
    }
  }
  return { rev };
};

/** Throws `invalid_request_error` for an entry larger than `MAX_ENTRY_BYTES`. */
export function encodeEntry(entry: ConfigEntry): EncodedEntry {
  const bytes = toBinary(ConfigEntrySchema, configEntryToWire(entry));
  if (bytes.length > MAX_ENTRY_BYTES) {
    throw new GatewayError('invalid_request_error', {
      message: `The ${entry.kind} ${entry.id} is larger than ${MAX_ENTRY_BYTES} bytes.`,
    });
  }
  const payload = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { kind: entry.kind, id: entry.id, version: entry.version, deleted: entry.body === undefined, payload };
}

/** Cuts where a batch is full or an entity comes a second time, since one statement can write an entity once. */
function* batchesOf(entries: readonly EncodedEntry[]): Generator<EncodedEntry[]> {
  let batch: EncodedEntry[] = [];
  let seen = new Set<string>();
  for (const entry of entries) {
    if (batch.length === MAX_ENTRIES_A_STATEMENT || seen.has(nameOf(entry))) {
      yield batch;
      batch = [];
      seen = new Set();
    }
    batch.push(entry);
    seen.add(nameOf(entry));
  }
  if (batch.length > 0) yield batch;
}

function nameOf(entry: EncodedEntry): string {
  return `${entry.kind}/${entry.id}`;
}

/** Every lane's newest rev as the database has it now, with the epoch they belong to. */
export function readHeads(db: Database): Promise<Heads> {
  return selectHeads(db);
}
