/**
 * The requests of this node that carry an idempotency key, one line for each key.
 *
 * The first of a line asks the store. If the key is free it is served, and the rest wait for its end. If it is being served on another
 * node, the line asks again four times a second, once for all who wait in it. Whoever is the first when the store gives the key away is
 * served; when the store has an answer, all have it. Nobody waits longer than `waitMs`, and a client that leaves gives up its place.
 */
import { Hold, type HoldRooms } from './hold.ts';
import type { Claim, Finding } from './record.ts';

const MAX_WAIT_MS = 30_000;
/** Requests of a node that wait for another with the same key; each holds its body meanwhile. */
const MAX_WAITING_REQUESTS = 1_024;
const ASK_EVERY_MS = 250;

export interface ClaimsOptions extends HoldRooms {
  readonly newOwner: () => string;
  readonly waitMs?: number;
  readonly maxWaitingRequests?: number;
}

export type Request = Omit<Claim, 'owner'>;

/** `running`: it still was when the wait was over. `left`: its client did not wait. */
export type Verdict =
  | { readonly kind: 'claimed'; readonly hold: Hold }
  | Exclude<Finding, { readonly kind: 'claimed' }>
  | { readonly kind: 'away'; readonly cause: unknown }
  | { readonly kind: 'left' };

interface Place {
  readonly request: Request;
  readonly tell: (verdict: Verdict) => void;
  timer: { cancel(): void } | undefined;
}

interface Line {
  /** In the order of arrival; the first is the one that asks. */
  readonly places: Place[];
  /** Of the request that is being served, here or elsewhere; undefined while that is not known. */
  running: Request | undefined;
  /** What the line waits for: the store, a request that is served here, or the time to ask again. */
  waitsFor: 'store' | 'request' | { cancel(): void };
}

export class Claims {
  readonly #options: ClaimsOptions;
  readonly #waitMs: number;
  readonly #maxWaitingRequests: number;
  readonly #lines = new Map<string, Line>();
  #waiting = 0;

  constructor(options: ClaimsOptions) {
    this.#options = options;
    this.#waitMs = options.waitMs ?? MAX_WAIT_MS;
    this.#maxWaitingRequests = options.maxWaitingRequests ?? MAX_WAITING_REQUESTS;
  }

  /** Requests that wait for another with the same key. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Keys that are being asked for or served on this node. */
  get lines(): number {
    return this.#lines.size;
  }

  /** Gets in line. `tell` is called once, later, unless the place is given up with the function that is returned. */
  enter(name: string, request: Request, tell: (verdict: Verdict) => void): () => void {
    const place: Place = { request, tell, timer: undefined };
    const line = this.#lines.get(name);
    if (line === undefined) {
      const begun: Line = { places: [place], running: undefined, waitsFor: 'store' };
      this.#lines.set(name, begun);
      void this.#ask(name, begun);
    } else if (line.running !== undefined && line.running.fingerprint !== request.fingerprint) {
      queueMicrotask(() => tell({ kind: 'other_body' }));
    } else if (this.#waiting >= this.#maxWaitingRequests) {
      queueMicrotask(() => tell({ kind: 'running', requestId: line.running?.requestId ?? request.requestId }));
    } else {
      line.places.push(place);
      this.#wait(name, line, place);
    }
    return () => this.#leave(name, place, { kind: 'left' });
  }

  /** The node stops: nobody waits any longer for a request that may run for long yet, elsewhere. */
  giveUpWaiting(): void {
    for (const [name, line] of this.#lines) {
      for (const place of line.places.filter(({ timer }) => timer !== undefined)) this.#giveUp(name, line, place);
    }
  }

  async #ask(name: string, line: Line): Promise<void> {
    const [first] = line.places;
    if (first === undefined) {
      this.#lines.delete(name);
      return;
    }
    const { store, unsaved, newOwner } = this.#options;
    const by: Claim = { ...first.request, owner: newOwner() };
    line.waitsFor = 'store';
    let finding: Finding;
    try {
      await unsaved.save(name);
      finding = await store.claim(name, by);
    } catch (cause) {
      // It may have been claimed all the same.
      void store.release(name, by.owner).catch(() => {});
      this.#endLine(name, line, () => ({ kind: 'away', cause }));
      return;
    }
    switch (finding.kind) {
      case 'claimed':
        line.running = first.request;
        this.#refuseOthers(line, first.request);
        line.waitsFor = 'request';
        await this.#serve(name, line, first, by);
        return;
      case 'other_body':
        this.#tell(line, first, finding);
        await this.#ask(name, line);
        return;
      case 'full':
        this.#endLine(name, line, () => finding);
        return;
      case 'running':
        line.running = { ...first.request, requestId: finding.requestId };
        this.#refuseOthers(line, first.request);
        for (const place of line.places) this.#wait(name, line, place);
        line.waitsFor = this.#options.timers.after(ASK_EVERY_MS, () => void this.#ask(name, line));
        if (line.places.length === 0) this.#endLine(name, line, () => finding);
        return;
      case 'answer':
      case 'receipt':
        this.#endLine(name, line, ({ request }) => (request.fingerprint === by.fingerprint ? finding : { kind: 'other_body' }));
        return;
      default:
        finding satisfies never;
    }
  }

  /** The claim is the first one's, or, where that has left meanwhile, nobody's. */
  async #serve(name: string, line: Line, first: Place, by: Claim): Promise<void> {
    const hold = new Hold(this.#options, name, by, () => void this.#ask(name, line));
    if (line.places.includes(first)) this.#tell(line, first, { kind: 'claimed', hold });
    else await hold.release();
  }

  /** What is being served is another request. */
  #refuseOthers(line: Line, { fingerprint }: Request): void {
    for (const place of line.places.filter(({ request }) => request.fingerprint !== fingerprint))
      this.#tell(line, place, { kind: 'other_body' });
  }

  #wait(name: string, line: Line, place: Place): void {
    if (place.timer !== undefined) return;
    this.#waiting++;
    place.timer = this.#options.timers.after(this.#waitMs, () => this.#giveUp(name, line, place));
  }

  #giveUp(name: string, line: Line, place: Place): void {
    this.#leave(name, place, { kind: 'running', requestId: line.running?.requestId ?? place.request.requestId });
  }

  #leave(name: string, place: Place, verdict: Verdict): void {
    const line = this.#lines.get(name);
    if (line === undefined || !line.places.includes(place)) return;
    this.#tell(line, place, verdict);
    // Nobody is left to ask for.
    if (line.places.length === 0 && typeof line.waitsFor === 'object') this.#endLine(name, line, () => verdict);
  }

  #endLine(name: string, line: Line, verdict: (place: Place) => Verdict): void {
    this.#lines.delete(name);
    if (typeof line.waitsFor === 'object') line.waitsFor.cancel();
    for (const place of [...line.places]) this.#tell(line, place, verdict(place));
  }

  #tell(line: Line, place: Place, verdict: Verdict): void {
    const at = line.places.indexOf(place);
    if (at === -1) return;
    line.places.splice(at, 1);
    if (place.timer !== undefined) {
      place.timer.cancel();
      this.#waiting--;
    }
    place.tell(verdict);
  }
}
