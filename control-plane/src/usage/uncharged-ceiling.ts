/** Notices that an account has passed its ceiling of uncharged cost, and has the nodes told until the day (UTC) is over. */
import { unchargedCeilingNano } from '@meridian/domain/uncharged-ceiling';
import type { AccountService } from '../accounts/service.ts';
import type { Database } from '../database/connect.ts';
import { selectSpend, type UnchargedDay } from './store.ts';

const DAY_MS = 86_400_000;

export interface UnchargedCeilingDeps {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  readonly accounts: Pick<AccountService, 'markUnchargedCeiling'>;
}

export class UnchargedCeiling {
  readonly #deps: UnchargedCeilingDeps;
  /** Accounts that are known to be above it until `#untilMs`: each further loss of theirs would be looked at again. */
  readonly #above = new Set<string>();
  #untilMs = 0;

  constructor(deps: UnchargedCeilingDeps) {
    this.#deps = deps;
  }

  /**
   * Looks at what ingest has added up, after its commit. Days that are over are left alone. What is missed because a replica died
   * is found with the account's next loss.
   */
  async check(days: readonly UnchargedDay[]): Promise<void> {
    const { db, clock, accounts } = this.#deps;
    const nowMs = clock.nowMs();
    const untilMs = nowMs - (nowMs % DAY_MS) + DAY_MS;
    if (untilMs !== this.#untilMs) this.#above.clear();
    this.#untilMs = untilMs;
    for (const { accountId, dayMs, costNano } of days) {
      if (dayMs + DAY_MS !== untilMs || this.#above.has(accountId)) continue;
      const spendNano = await selectSpend(db, accountId, { fromMs: dayMs, toMs: untilMs });
      if (costNano <= unchargedCeilingNano(spendNano)) continue;
      await accounts.markUnchargedCeiling(accountId, untilMs);
      // Unless another day has begun meanwhile.
      if (this.#untilMs === untilMs) this.#above.add(accountId);
    }
  }
}
