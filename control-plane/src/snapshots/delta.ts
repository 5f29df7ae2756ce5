/** Deltas as frames: encoded once for every node that stands at the same cursor. */
import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Lane } from '@meridian/domain/snapshot';
import { laneToWire } from '@meridian/wire/codec/lane';
import { DeltaSchema, SyncResponseSchema } from '@meridian/wire/gen/sync_pb';
import type { LogWindow, Range } from './log-window.ts';

/** Largest encoded delta. What follows comes when it is acknowledged. */
export const MAX_DELTA_BYTES = 64 * 1024;

/** Left of a delta for revs, tags and lengths: an entry costs 4 bytes around it, so this is enough for the smallest entries. */
const ENVELOPE_BYTES = 64;
const BYTES_AROUND_AN_ENTRY = 4;
const MAX_CACHED_FRAMES = 32;

export interface DeltaFrame {
  readonly prevRev: number;
  readonly rev: number;
  /** An encoded SyncResponse. Shared: never written into. */
  readonly frame: Buffer;
}

/** The next delta of each lane for any cursor, out of the lanes' windows. */
export class DeltaEncoder {
  readonly #window: (lane: Lane) => LogWindow;
  /** The most recently made frames by lane and cursor; a frame is good as long as nothing more would fit in it. */
  readonly #frames = new Map<string, DeltaFrame & { readonly head: number; readonly full: boolean }>();
  #encodedCount = 0;

  constructor(window: (lane: Lane) => LogWindow) {
    this.#window = window;
  }

  /** Deltas encoded so far. */
  get encodedCount(): number {
    return this.#encodedCount;
  }

  after(lane: Lane, prevRev: number): DeltaFrame | 'behind' | 'current' {
    const window = this.#window(lane);
    if (prevRev < window.base) return 'behind';
    const name = `${lane}/${prevRev}`;
    const known = this.#frames.get(name);
    if (known !== undefined && (known.full || known.head === window.head)) return known;
    const range = window.after(prevRev, MAX_DELTA_BYTES - ENVELOPE_BYTES, BYTES_AROUND_AN_ENTRY);
    if (range === 'behind' || range === 'current') return range;
    const made = { prevRev, rev: range.rev, frame: encodeDelta(lane, range), head: window.head, full: range.rev < window.head };
    this.#encodedCount += 1;
    this.#frames.delete(name);
    this.#frames.set(name, made);
    const oldest = this.#frames.keys().next();
    if (this.#frames.size > MAX_CACHED_FRAMES && oldest.done !== true) this.#frames.delete(oldest.value);
    return made;
  }

  /** Forgets every frame: after a restore the same revs name other changes. */
  clear(): void {
    this.#frames.clear();
  }
}

/** A SyncResponse with a Delta around entries that are encoded already. */
function encodeDelta(lane: Lane, range: Range): Buffer {
  const revs = create(DeltaSchema, { lane: laneToWire(lane), prevRev: BigInt(range.prevRev), rev: BigInt(range.rev) });
  const delta = new BinaryWriter().raw(toBinary(DeltaSchema, revs));
  for (const payload of range.payloads) delta.tag(DeltaSchema.field.entries.number, WireType.LengthDelimited).bytes(payload);
  const bytes = new BinaryWriter().tag(SyncResponseSchema.field.delta.number, WireType.LengthDelimited).bytes(delta.finish()).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
