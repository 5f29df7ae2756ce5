/** How entries of the wire get into the picture: checked, applied, or named as refused while the last good version stays. */
import { clone } from '@bufbuild/protobuf';
import { CONFIG_KINDS, type ConfigEntry, type Lane } from '@meridian/domain/snapshot';
import { configEntryFromWire } from '@meridian/wire/codec/entry';
import type { LaneRevisions } from '@meridian/wire/codec/lane';
import { WireFormatError } from '@meridian/wire/codec/wire-format-error';
import { ConfigEntrySchema, type ConfigEntry as WireEntry } from '@meridian/wire/gen/config_pb';
import { type DeniableKind, EntryRejected, type Picture, type SnapshotDiff } from './picture.ts';

/** An entry that was not taken, as the control plane is told of it. */
export interface Rejection {
  readonly kind: string;
  readonly id: string;
  readonly version: bigint;
  readonly code: 'invalid_entry' | 'unreadable_credential';
  readonly detail: string;
}

/** Entries that this build could not take are kept as they came, for the build that can. More are only counted. */
const MAX_UNREAD_ENTRIES = 10_000;

const DENIABLE: readonly DeniableKind[] = ['api_key', 'account', 'member'];

export class Intake {
  readonly #picture: Picture;
  #unread = new Map<string, WireEntry>();
  #unknownEntries = 0;
  #rejectedEntries = 0;

  constructor(picture: Picture) {
    this.#picture = picture;
  }

  /** How many entities of kinds that this build does not know have come, the last snapshot's included. */
  get unknownEntries(): number {
    return this.#unknownEntries;
  }

  /** How many entries were refused since the start. */
  get rejectedEntries(): number {
    return this.#rejectedEntries;
  }

  /** What could not be taken and is not outdated, as it came. */
  unread(): Iterable<WireEntry> {
    return this.#unread.values();
  }

  /** Takes one entry of a delta that follows on `prevRev`. Gives back the rejection, if it is one. */
  take(wire: WireEntry, lane: Lane, prevRev: number): Rejection | undefined {
    const origin: LaneRevisions = { [lane]: prevRev + 1 };
    return this.#take(wire, lane === 'security', origin, (entry) => this.#picture.apply(entry, origin));
  }

  /** Starts taking a snapshot: `take` for each of its entries, then `removeAbsent`. */
  beginSnapshot(heads: LaneRevisions, options: { readonly newEpoch: boolean }): SnapshotIntake {
    const diff: SnapshotDiff = this.#picture.beginSnapshot(heads, options);
    this.#unread = new Map();
    this.#unknownEntries = 0;
    return {
      take: (wire) => {
        const rejection = this.#take(wire, false, heads, (entry) => diff.apply(entry));
        const kind = CONFIG_KINDS.find((candidate) => candidate === wire.kind);
        if (rejection !== undefined && kind !== undefined) diff.keep(kind, wire.id);
        return rejection;
      },
      removeAbsent: () => diff.removeAbsent(),
      get keptNewer() {
        return diff.keptNewer;
      },
    };
  }

  #take(
    wire: WireEntry,
    isSecurity: boolean,
    origin: LaneRevisions,
    apply: (entry: ConfigEntry) => 'applied' | 'stale',
  ): Rejection | undefined {
    try {
      const decoded = configEntryFromWire(wire);
      if (decoded.unknown) {
        if (!this.#unread.has(`${wire.kind}/${wire.id}`)) this.#unknownEntries++;
        this.#keep(wire);
      } else if (apply(decoded.entry) === 'applied' && this.#unread.size > 0) {
        this.#unread.delete(`${wire.kind}/${wire.id}`);
      }
      return undefined;
    } catch (error) {
      if (!(error instanceof WireFormatError || error instanceof EntryRejected)) throw error;
      this.#rejectedEntries++;
      this.#keep(wire);
      const kind = DENIABLE.find((candidate) => candidate === wire.kind);
      // Fails closed: what cannot be read may be a revocation. A status is one whichever way it came.
      if (kind !== undefined && (isSecurity || (error instanceof WireFormatError && error.field === `${kind}.status`))) {
        this.#picture.deny(kind, wire.id, readableVersion(wire.version), origin);
      }
      return {
        kind: wire.kind,
        id: wire.id,
        version: wire.version,
        code: error instanceof EntryRejected ? error.code : 'invalid_entry',
        detail: error.message,
      };
    }
  }

  #keep(wire: WireEntry): void {
    const name = `${wire.kind}/${wire.id}`;
    if (this.#unread.size >= MAX_UNREAD_ENTRIES && !this.#unread.has(name)) return;
    // A copy: its bytes are views into the message that it came in.
    this.#unread.set(name, clone(ConfigEntrySchema, wire));
  }
}

export interface SnapshotIntake {
  take(wire: WireEntry): Rejection | undefined;
  /** As `SnapshotDiff.removeAbsent`. */
  removeAbsent(): Generator<void, number>;
  /** As `SnapshotDiff.keptNewer`. */
  readonly keptNewer: number;
}

function readableVersion(version: bigint): number | undefined {
  return version > 0n && version <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(version) : undefined;
}
