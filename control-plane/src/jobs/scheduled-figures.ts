/** When scheduled work was last done and how it ended, over all replicas, for each replica's metrics. */
import type { AuditRuns } from '../audit/runs.ts';
import type { TierRuns } from '../tiers/runs.ts';

export interface ScheduledFiguresDeps {
  readonly auditRuns: Pick<AuditRuns, 'newest'>;
  readonly tierRuns: Pick<TierRuns, 'newestFinished'>;
  readonly clock: { nowMs(): number };
}

export class ScheduledFigures {
  readonly #deps: ScheduledFiguresDeps;
  #auditedAtMs = Number.NaN;
  #isBroken = false;
  #windowToMs = Number.NaN;

  constructor(deps: ScheduledFiguresDeps) {
    this.#deps = deps;
  }

  async refresh(): Promise<void> {
    const { auditRuns, tierRuns } = this.#deps;
    const audit = await auditRuns.newest();
    const run = await tierRuns.newestFinished();
    if (audit !== undefined) this.#auditedAtMs = audit.startedAtMs;
    this.#isBroken = audit !== undefined && !audit.ok;
    if (run !== undefined) this.#windowToMs = run.windowToMs;
  }

  /** Whether the newest audit found that the books are not in order. */
  get booksAreBroken(): boolean {
    return this.#isBroken;
  }

  /** NaN before the first audit. */
  get auditAgeSeconds(): number {
    return (this.#deps.clock.nowMs() - this.#auditedAtMs) / 1_000;
  }

  /** Since the end of the 30 days that tiers were last reckoned from; NaN before the first run. */
  get tierAgeSeconds(): number {
    return (this.#deps.clock.nowMs() - this.#windowToMs) / 1_000;
  }
}
