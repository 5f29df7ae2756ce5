/** What the records of a spool folder add up to, taken in the order in which they were written: open requests and leases. */
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Intent } from '@meridian/domain/usage-record';
import type { SpoolIds } from './folder.ts';
import { SpoolLeases } from './lease-counters.ts';
import type { Checkpoint, FinalSummary } from './record.ts';

/** Which incarnation a record is of, and the folder's id when that was made (empty where no header tells). */
export interface Origin {
  readonly incarnation: bigint;
  readonly spoolId: string;
}

export class FolderState {
  /** Incarnations whose open requests were closed. */
  readonly recovered = new Set<bigint>();
  /** Of the folder's present id. */
  readonly leases = new SpoolLeases();
  readonly #ids: SpoolIds;
  readonly #nowMs: number;
  /** By request id. */
  readonly #open = new Map<bigint, Map<string, Intent>>();

  constructor(ids: SpoolIds, nowMs: number) {
    this.#ids = ids;
    this.#nowMs = nowMs;
  }

  intent(origin: Origin, intent: Intent): void {
    let intents = this.#open.get(origin.incarnation);
    if (intents === undefined) {
      intents = new Map();
      this.#open.set(origin.incarnation, intents);
    }
    intents.set(intent.requestId, intent);
  }

  /** Closes the request, whichever incarnation it was opened in. */
  final(origin: Origin, final: Pick<FinalSummary, 'requestId' | 'leases'>): void {
    this.close(final.requestId);
    if (final.leases.length > 0 && this.#holdsOwnLeases(origin)) this.leases.charge(final.leases, this.#nowMs);
  }

  close(requestId: string): void {
    for (const intents of this.#open.values()) intents.delete(requestId);
  }

  lease(origin: Origin, lease: LeaseRecord): void {
    if (this.#holdsOwnLeases(origin)) this.leases.merge(lease, this.#nowMs);
  }

  checkpoint(origin: Origin, checkpoint: Checkpoint): void {
    if (checkpoint.leases !== undefined && this.#holdsOwnLeases(origin)) this.leases.replace(checkpoint.leases);
    this.#open.set(origin.incarnation, new Map(checkpoint.openIntents.map((intent) => [intent.requestId, intent])));
    for (const recovered of checkpoint.recovered) this.recovered.add(recovered);
  }

  openIntents(incarnation: bigint): Intent[] {
    return [...(this.#open.get(incarnation)?.values() ?? [])];
  }

  /** Leases belong to the spool id. What does not tell its own is of the present one where there never was another. */
  #holdsOwnLeases(origin: Origin): boolean {
    return origin.spoolId === this.#ids.current || (origin.spoolId === '' && this.#ids.former === undefined);
  }
}
