/**
 * A SnapshotContent written and read entry by entry: a picture of a million keys is never one message in memory,
 * and neither side holds up its event loop for it.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type ConfigEntry, ConfigEntrySchema } from '../gen/meridian/v1/config_pb.js';
import { type Denial, type SnapshotContent, SnapshotContentSchema } from '../gen/meridian/v1/sync_pb.js';
import { type LaneRevisions, laneRevisionsToWire } from './lane.ts';
import { WireFormatError } from './wire-format-error.ts';

/** The longest entry that is taken (bytes). */
const MAX_ENTRY_BYTES = 4 * 1024 * 1024;

const LENGTH_DELIMITED = 2;
/** `entries = 3`, length-delimited. */
const ENTRY_TAG = (3 << 3) | LENGTH_DELIMITED;

/** The content up to its first entry. Appending entries as `encodeSnapshotEntry` writes them gives the encoded message. */
export function encodeSnapshotHead(dbEpoch: string, heads: LaneRevisions, denials: readonly Denial[] = []): Uint8Array {
  const head = { dbEpoch, heads: laneRevisionsToWire(heads), denials: [...denials] };
  return toBinary(SnapshotContentSchema, create(SnapshotContentSchema, head));
}

/** One entry as it stands inside the content: tag, length, message. */
export function encodeSnapshotEntry(entry: ConfigEntry): Uint8Array {
  const body = toBinary(ConfigEntrySchema, entry);
  const length: number[] = [];
  let rest = body.length;
  while (rest > 0x7f) {
    length.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  const framed = new Uint8Array(2 + length.length + body.length);
  framed.set([ENTRY_TAG, ...length, rest]);
  framed.set(body, 2 + length.length);
  return framed;
}

/** Takes the content in pieces cut anywhere and gives back the entries that are complete. Throws WireFormatError. */
export class SnapshotContentReader {
  #rest: Buffer = Buffer.alloc(0);
  readonly #head: Uint8Array[] = [];

  /** The entries that end in this piece. Their `bytes` fields are views into it. */
  push(piece: Uint8Array): ConfigEntry[] {
    const bytes =
      this.#rest.length === 0 ? Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength) : Buffer.concat([this.#rest, piece]);
    const entries: ConfigEntry[] = [];
    let at = 0;
    for (;;) {
      const field = readField(bytes, at);
      if (field === undefined) break;
      if (field.tag === ENTRY_TAG) entries.push(fromBinary(ConfigEntrySchema, bytes.subarray(field.start, field.end)));
      else this.#head.push(Uint8Array.from(bytes.subarray(at, field.end)));
      at = field.end;
    }
    this.#rest = Buffer.from(bytes.subarray(at));
    return entries;
  }

  /** Everything of the content that is not an entry; throws when the content ends inside a field. */
  end(): SnapshotContent {
    if (this.#rest.length > 0) throw new WireFormatError('snapshot_content', 'ends inside a field');
    return fromBinary(SnapshotContentSchema, Buffer.concat(this.#head));
  }
}

/** The field at an offset, or undefined when it is not there in full. */
function readField(bytes: Buffer, at: number): { readonly tag: number; readonly start: number; readonly end: number } | undefined {
  const tag = readVarint(bytes, at);
  if (tag === undefined) return undefined;
  const value = readVarint(bytes, tag.end);
  if (value === undefined) return undefined;
  const wireType = tag.value & 7;
  if (wireType === 0) return { tag: tag.value, start: tag.end, end: value.end };
  if (wireType !== LENGTH_DELIMITED) throw new WireFormatError('snapshot_content', `has a field of wire type ${wireType}`);
  if (value.value > MAX_ENTRY_BYTES) throw new WireFormatError('snapshot_content.entries', `has an entry of ${value.value} bytes`);
  const end = value.end + value.value;
  return end > bytes.length ? undefined : { tag: tag.value, start: value.end, end };
}

function readVarint(bytes: Buffer, at: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let index = 0; index < 10; index++) {
    const byte = bytes[at + index];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return { value, end: at + index + 1 };
  }
  throw new WireFormatError('snapshot_content', 'has a number of more than ten bytes');
}
