/** What becomes of leases that nobody asks about: given up, closed at their window's end, handed out ahead, counted. */
import type { Leases } from './leases.ts';
import type { LeaseFigures } from './leases-store.ts';
import type { QuestionsRunner } from './questions-runner.ts';

/** A spool that is silent for so long is worth a look; it is given up much later. */
const NOTICED_AFTER_MS = 60_000;

export interface LeaseUpkeepDeps {
  readonly leases: Pick<Leases, 'tick' | 'closeSilent' | 'closeEnded' | 'seed' | 'figures'>;
  readonly runner: Pick<QuestionsRunner, 'spools' | 'closed' | 'recallAll' | 'granted'>;
}

export class LeaseUpkeep {
  readonly #deps: LeaseUpkeepDeps;
  #figures: LeaseFigures = { held: {}, settled: {}, openLeases: 0, silentSpools: 0 };

  constructor(deps: LeaseUpkeepDeps) {
    this.#deps = deps;
  }

  /** As they were counted last. */
  get figures(): LeaseFigures {
    return this.#figures;
  }

  /** Counts who is silent, and closes the leases of those that have been for a day. Several times a minute. */
  async silence(): Promise<void> {
    const { leases, runner } = this.#deps;
    await leases.tick(runner.spools);
    for (const closed of await leases.closeSilent()) runner.closed(closed, 'given_up');
  }

  /** Closes the leases of windows that are over once nothing is held on them, and has given back what is. */
  async ended(): Promise<void> {
    const { leases, runner } = this.#deps;
    const { closed, holding } = await leases.closeEnded();
    for (const each of closed) runner.closed(each, 'ended');
    runner.recallAll(holding);
  }

  /** Gives the regions that have none a first lease on budgets in use. */
  async seeds(): Promise<void> {
    const { leases, runner } = this.#deps;
    for (const [spoolId, grants] of await leases.seed()) runner.granted(spoolId, grants);
  }

  async count(): Promise<void> {
    this.#figures = await this.#deps.leases.figures(NOTICED_AFTER_MS);
  }
}
