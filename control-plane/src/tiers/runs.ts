/**
 * Reckons every account's tier anew, at 00, 06, 12 and 18 UTC.
 *
 * A run sums the spend of all accounts once, then goes through them page by page, each page a transaction that writes what changed,
 * tells the nodes on BULK, and says how far the run has come. So a run that was broken off goes on where it stopped, with the same
 * sums, and several replicas may work on one run without doing anything twice. Runs that were missed are made up for in order.
 */
import { spendAtFirstTier } from '@meridian/domain/tier';
import type { Database } from '../database/connect.ts';
import { transaction } from '../database/transaction.ts';
import type { Publish } from '../snapshots/publish.ts';
import { readHeads } from '../snapshots/service.ts';
import * as store from './store.ts';
import { assignmentEntry, firstTier, nextRung, windowAfter } from './tier.ts';

const ACCOUNTS_A_PAGE = 2_000;
/** Less than half of what a node may lag on BULK before it has to take a snapshot. */
const MAX_REVS_AHEAD = 30_000;
const PAUSE_MS = 250;
/** In one run, for nodes that do not keep up: one that stands still has been told to resync by then. */
const MAX_WAIT_MS = 30_000;

export type { TierRun } from './store.ts';

export interface TierRunsDeps {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  readonly publish: Publish;
  /** Where the slowest of the nodes that follow BULK stands; undefined where there is none. */
  slowestOnBulk(): Promise<number | undefined>;
  pause(ms: number): Promise<void>;
  /** How far BULK may be ahead of the slowest node. */
  readonly maxRevsAhead?: number;
}

export class TierRuns {
  readonly #deps: TierRunsDeps;

  constructor(deps: TierRunsDeps) {
    this.#deps = deps;
  }

  /**
   * Finishes the run under way and makes every one that is due since; resolves with how many. Stops between two pages when `signal`
   * is aborted, and throws its reason.
   */
  async catchUp(signal?: AbortSignal): Promise<number> {
    for (let made = 0; ; made++) {
      const newest = await store.selectNewestRun(this.#deps.db);
      const windowToMs =
        newest !== undefined && newest.finishedAtMs === undefined
          ? newest.windowToMs
          : windowAfter(newest?.windowToMs, this.#deps.clock.nowMs());
      if (windowToMs === undefined) return made;
      await this.#run(windowToMs, signal);
    }
  }

  /** Newest first; one more than `limit`, so that it is known whether more follow. */
  list(limit: number, afterMs: number | undefined): Promise<store.TierRun[]> {
    return store.selectRuns(this.#deps.db, { limit: limit + 1, afterMs });
  }

  /** Undefined before the first is finished. */
  async newestFinished(): Promise<store.TierRun | undefined> {
    const runs = await store.selectRuns(this.#deps.db, { limit: 2, afterMs: undefined });
    return runs.find((run) => run.finishedAtMs !== undefined);
  }

  async #run(windowToMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { db, clock, pause, slowestOnBulk, maxRevsAhead = MAX_REVS_AHEAD } = this.#deps;
    await transaction(db, (trx) => store.insertRun(trx, windowToMs, clock.nowMs()));
    let waitedMs = 0;
    for (;;) {
      signal?.throwIfAborted();
      const page = await this.#page(windowToMs);
      if (page === 'finished') return;
      while (page.rev !== undefined && waitedMs < MAX_WAIT_MS && page.rev - ((await slowestOnBulk()) ?? page.rev) > maxRevsAhead) {
        await pause(PAUSE_MS);
        waitedMs += PAUSE_MS;
      }
    }
  }

  /** One page, or the end; `rev` is undefined when nodes were told nothing. */
  #page(windowToMs: number): Promise<'finished' | { readonly rev: number | undefined }> {
    const { db, clock, publish } = this.#deps;
    return transaction(db, async (trx) => {
      await store.lockLadder(trx, 'share');
      const position = await store.lockRun(trx, windowToMs);
      if (position === undefined) return 'finished';
      const standings = await store.selectStandings(trx, windowToMs, position, ACCOUNTS_A_PAGE);
      const last = standings.at(-1);
      if (last === undefined) {
        await store.finishRun(trx, windowToMs, (await readHeads(trx)).revs.bulk, clock.nowMs());
        return 'finished';
      }
      const ladder = await store.selectLadder(trx);
      const places = new Map(ladder.map((tier, place) => [tier.id, place]));
      const reckoned: store.Reckoned[] = [];
      let raised = 0;
      let lowered = 0;
      for (const { accountId, listNano, assigned } of standings) {
        const before = assigned ?? { tierId: firstTier(ladder).id, loweredAtMs: undefined, spend30dNano: 0n };
        const spend30dNano = spendAtFirstTier(ladder, listNano);
        const { tierId, loweredAtMs } = nextRung(ladder, before, spend30dNano, windowToMs);
        const isMoved = tierId !== before.tierId;
        if (!isMoved && spend30dNano === before.spend30dNano) continue;
        reckoned.push({ accountId, tierId, loweredAtMs, spend30dNano, isMoved });
        if (isMoved && (places.get(tierId) ?? 0) < (places.get(before.tierId) ?? 0)) lowered += 1;
        else if (isMoved) raised += 1;
      }
      const moved = reckoned.length === 0 ? [] : await store.writeReckoned(trx, reckoned, windowToMs);
      await store.advanceRun(trx, windowToMs, { position: last.accountId, accounts: standings.length, raised, lowered });
      if (moved.length === 0) return { rev: undefined };
      const entries = moved.map(({ assignment, version }) => assignmentEntry(assignment, version));
      return { rev: (await publish(trx, 'bulk', entries)).rev };
    });
  }
}
