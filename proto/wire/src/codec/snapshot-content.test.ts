import { equals, fromBinary } from '@bufbuild/protobuf';
import { CONFIG_KINDS } from '@meridian/domain/snapshot';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigEntrySchema } from '../gen/meridian/v1/config_pb.js';
import { SnapshotContentSchema } from '../gen/meridian/v1/sync_pb.js';
import { configEntryToWire } from './entry.ts';
import { laneRevisionsFromWire } from './lane.ts';
import { encodeSnapshotEntry, encodeSnapshotHead, SnapshotContentReader } from './snapshot-content.ts';
import { arbitraryEntry } from './testing.ts';

const HEADS = { security: 3, catalog: 2 ** 40 };

describe('a snapshot content', () => {
  it('is written as the message of the schema, and read back from pieces cut anywhere', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(...CONFIG_KINDS.map((kind) => arbitraryEntry(kind))), { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 }),
        (entries, pieceBytes) => {
          const sent = entries.map(configEntryToWire);
          const bytes = Buffer.concat([encodeSnapshotHead('epoch', HEADS), ...sent.map(encodeSnapshotEntry)]);
          expect(fromBinary(SnapshotContentSchema, bytes).entries.length).toBe(sent.length);

          const reader = new SnapshotContentReader();
          const read = [];
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const end = at + (pieceBytes[turn % pieceBytes.length] ?? 1);
            read.push(...reader.push(bytes.subarray(at, end)));
            at = end;
          }
          const rest = reader.end();
          expect(rest.dbEpoch).toBe('epoch');
          expect(laneRevisionsFromWire(rest.heads)).toEqual(HEADS);
          expect(read.length).toBe(sent.length);
          read.forEach((entry, index) => {
            const original = sent[index];
            expect(original !== undefined && equals(ConfigEntrySchema, entry, original)).toBe(true);
          });
        },
      ),
    );
  });

  it('that ends inside an entry is refused', () => {
    const bytes = encodeSnapshotEntry(configEntryToWire({ kind: 'plan', id: 'p', version: 1, body: undefined }));
    for (let length = 1; length < bytes.length; length++) {
      const reader = new SnapshotContentReader();
      expect(reader.push(bytes.subarray(0, length))).toEqual([]);
      expect(() => reader.end()).toThrow('ends inside a field');
    }
  });
});
