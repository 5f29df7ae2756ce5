/** Keeps the trail of changes, and reads it. */
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import { openingTransactions, type Transaction } from '../database/transaction.ts';
import type { Mutation, TrailRecorder } from '../http/trail.ts';
import * as store from './store.ts';
import { asSeenBy, MAX_CHANGES_SHOWN_PER_EVENT, networkOf, type TrailEntry, type TrailEventRow, type TrailFilter } from './trail.ts';

const MONTHS_AHEAD = 2;
/** A bulk call changes a thousand objects, each in a few rows. */
const MAX_CHANGES_OF_ONE_EVENT = 10_000;

export interface TrailDeps {
  readonly db: Database;
  readonly ids: IdSource;
}

export class TrailService implements TrailRecorder {
  readonly #deps: TrailDeps;

  constructor(deps: TrailDeps) {
    this.#deps = deps;
  }

  /**
   * Does the work with an event in each transaction that it makes, so that there is no change without its event, nor an event of what
   * was rolled back. Of work that made no transaction the event is written right after it.
   */
  async record<T>(mutation: Mutation, work: () => Promise<T>): Promise<T> {
    const { db, ids } = this.#deps;
    const event = eventOf(mutation, newId('trl', ids), new Date(ids.nowMs()));
    let isWritten = false;
    // What the work leaves running, such as the recall of leases, is no longer part of the request.
    let isOver = false;
    try {
      const result = await openingTransactions(
        {
          open: async (trx) => {
            if (!isOver) await store.openEvent(trx, event);
          },
          committed: () => {
            isWritten ||= !isOver;
          },
        },
        work,
      );
      if (!isWritten) await store.insertEvent(db, event);
      return result;
    } finally {
      isOver = true;
    }
  }

  /** Puts what the transaction does from here on under an event of the file that it is read from. */
  async openFileIn(trx: Transaction, file: AppliedFile): Promise<void> {
    const { ids } = this.#deps;
    await store.openEvent(trx, fileEvent(file, newId('trl', ids), new Date(ids.nowMs())));
  }

  /** Newest first, each with its first changes; one more than the page holds, if there is one. */
  async list(filter: TrailFilter, page: Page): Promise<TrailEntry[]> {
    return this.#withChanges(await store.selectEvents(this.#deps.db, filter, page), { perEvent: MAX_CHANGES_SHOWN_PER_EVENT });
  }

  /** What happened to an account, as its owner may know it. */
  async listOfAccount(accountId: string, filter: Omit<TrailFilter, 'accountId'>, page: Page): Promise<TrailEntry[]> {
    // Asked by an operator's name, it would tell whether there is one.
    const actorKind = filter.actorId === undefined ? undefined : 'member';
    const events = await store.selectEvents(this.#deps.db, { ...filter, actorKind, accountId }, page);
    const entries = await this.#withChanges(events, { perEvent: MAX_CHANGES_SHOWN_PER_EVENT, accountId });
    return entries.map((entry) => ({ ...entry, event: asSeenBy(accountId, entry.event) }));
  }

  /** An event with all of its changes. Throws `not_found`. */
  async get(id: string): Promise<TrailEntry> {
    const event = await store.selectEvent(this.#deps.db, id);
    if (event === undefined) throw new GatewayError('not_found', { message: `There is no event ${id} in the trail.` });
    const [entry] = await this.#withChanges([event], { perEvent: MAX_CHANGES_OF_ONE_EVENT });
    if (entry === undefined) throw new Error('an event has no entry');
    return entry;
  }

  /** Makes this month's partitions and the next ones'. Returns how many were made. */
  makePartitions(): Promise<number> {
    return store.makePartitions(this.#deps.db, new Date(this.#deps.ids.nowMs()), MONTHS_AHEAD);
  }

  async #withChanges(
    events: readonly TrailEventRow[],
    limits: { readonly perEvent: number; readonly accountId?: string },
  ): Promise<TrailEntry[]> {
    const changes = Map.groupBy(await store.selectChanges(this.#deps.db, events, limits), (change) => change.event_id);
    return events.map((event) => {
      const own = changes.get(event.id) ?? [];
      return { event, changes: own, changeCount: Number(own[0]?.total ?? 0n) };
    });
  }
}

/** A file that says what is to be there. */
export interface AppliedFile {
  readonly name: string;
  /** Of its bytes, in hex. */
  readonly sha256: string;
  /** What it is about. */
  readonly kind: string;
}

function fileEvent({ name, sha256, kind }: AppliedFile, id: string, at: Date): TrailEventRow {
  return {
    ...{ id, at, request_id: '', actor_kind: 'file', actor_id: name, address: '', route: 'start', account_id: null },
    ...{ object_kind: kind, object_id: null, note: { sha256 } },
  };
}

function eventOf(mutation: Mutation, id: string, at: Date): TrailEventRow {
  return {
    ...{ id, at, request_id: mutation.requestId, actor_kind: mutation.actor.kind, actor_id: mutation.actor.id },
    ...{ address: networkOf(mutation.address), route: mutation.route, account_id: mutation.accountId ?? null },
    ...{ object_kind: mutation.kind, object_id: mutation.objectId ?? null, note: mutation.note ?? null },
  };
}
