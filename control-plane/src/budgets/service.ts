/** Use cases of caps: set, removed, read with what is left of them. */
import { budgetId, type CapScope } from '@meridian/domain/budget';
import { type IdSource, newId } from '@meridian/domain/ids';
import type { ConfigEntry } from '@meridian/domain/snapshot';
import { windowStartMs } from '@meridian/domain/window';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { Publish } from '../snapshots/publish.ts';
import {
  announceLimits,
  CAP_KINDS,
  CAP_NAMES,
  type CapOwner,
  type CapRow,
  type CapSetter,
  type CapStanding,
  type CapsChange,
  CEILING_UNITS,
  type Ceilings,
  capEntry,
  type LimitChange,
  type LimitListener,
  limitOf,
  requireUnderCeiling,
  standingOf,
} from './caps.ts';
import * as store from './store.ts';

export interface BudgetDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  /** Told after the commit of each change of a limit. */
  readonly onLimitChanged: LimitListener;
}

/** What the setting of caps leaves to the transaction it is part of. */
export interface CapsSet {
  /** For the caller to publish on CUSTOMER. */
  readonly entries: readonly ConfigEntry[];
  /** For `announce`, after the commit. */
  readonly limits: readonly LimitChange[];
}

export class BudgetService {
  readonly #deps: BudgetDeps;

  constructor(deps: BudgetDeps) {
    this.#deps = deps;
  }

  /**
   * Sets and removes caps of one scope, at once for all of its nodes: what is spent in the window counts from its start. That the
   * key, member or account exists is the caller's question.
   */
  async setCaps(owner: CapOwner, change: CapsChange): Promise<CapStanding[]> {
    const limits = await transaction(this.#deps.db, async (trx) => {
      const set = await this.setCapsIn(trx, owner, change);
      if (set.entries.length > 0) await this.#deps.publish(trx, 'customer', set.entries);
      return set.limits;
    });
    this.announce(limits);
    return this.standings(owner.accountId, [owner.scopeId]);
  }

  /**
   * The same inside the caller's transaction, which publishes and afterwards announces. What a manager sets on a key is the most that its
   * holder can set, who then cannot remove it: `permission_denied`.
   */
  async setCapsIn(trx: Transaction, owner: CapOwner, change: CapsChange, by: CapSetter = 'manager'): Promise<CapsSet> {
    const nowMs = this.#deps.ids.nowMs();
    const present = await store.lockCaps(trx, owner);
    const made: Omit<CapRow, 'version'>[] = [];
    const moved: CapRow[] = [];
    for (const name of CAP_NAMES) {
      const asked = change[name];
      if (asked === undefined) continue;
      const { window, unit } = CAP_KINDS[name];
      const chosen = asked ?? undefined;
      const known = present.find((cap) => cap.window === window && cap.unit === unit);
      if (by === 'holder') requireUnderCeiling(name, chosen, known?.ceiling);
      const ceiling = owner.scope === 'key' && by === 'manager' ? chosen : known?.ceiling;
      if (known?.chosen === chosen && known?.ceiling === ceiling) continue;
      const cap = known ?? this.#newCap(owner, window, unit);
      const set = { ...cap, chosen, ceiling, limit: limitOf(chosen, ceiling) };
      if (known === undefined) made.push(set);
      else moved.push({ ...set, version: known.version });
    }
    const changed = [...(await store.updateCaps(trx, moved)), ...(await store.insertCaps(trx, made, nowMs))];
    if (changed.length === 0) return { entries: [], limits: [] };
    for (const { cap, fromMs } of presentWindows(changed, nowMs)) {
      if (cap.limit !== undefined) await store.insertBudget(trx, cap, fromMs);
    }
    const limits = await this.#setLimits(trx, changed, nowMs);
    return { entries: changed.map(capEntry), limits };
  }

  /**
   * Sets how much members may use in a day at most, whatever the account has chosen for them. A plan leaves alone what an operator
   * has set; for an operator a ceiling is his own until he gives it back to the plan. No window is made: a count begins at 0. Part
   * of the caller's transaction, which publishes the entries, and announces after the commit.
   */
  async setCeilingsIn(
    trx: Transaction,
    members: readonly { readonly id: string; readonly accountId: string }[],
    ceilings: Partial<Ceilings>,
    by: 'plan' | 'operator' | 'back to the plan',
  ): Promise<CapsSet> {
    const nowMs = this.#deps.ids.nowMs();
    const present = await store.lockCeilings(
      trx,
      members.map(({ id }) => id),
    );
    const byMember = Map.groupBy(present, (cap) => cap.scopeId);
    const made: Omit<CapRow, 'version'>[] = [];
    const moved: CapRow[] = [];
    for (const { id, accountId } of members) {
      for (const unit of CEILING_UNITS) {
        if (!Object.hasOwn(ceilings, unit)) continue;
        const ceiling = ceilings[unit];
        const ceilingIsOwn = by === 'operator';
        const known = byMember.get(id)?.find((cap) => cap.unit === unit);
        if (known === undefined) {
          if (ceiling === undefined && !ceilingIsOwn) continue;
          const cap = this.#newCap({ accountId, scope: 'member', scopeId: id }, 'utc_day', unit);
          made.push({ ...cap, ceiling, ceilingIsOwn, limit: ceiling });
        } else if (!(by === 'plan' && known.ceilingIsOwn) && (known.ceiling !== ceiling || known.ceilingIsOwn !== ceilingIsOwn)) {
          moved.push({ ...known, ceiling, ceilingIsOwn, limit: limitOf(known.chosen, ceiling) });
        }
      }
    }
    const changed = [...(await store.updateCaps(trx, moved)), ...(await store.insertCaps(trx, made, nowMs))];
    if (changed.length === 0) return { entries: [], limits: [] };
    return { entries: changed.map(capEntry), limits: await this.#setLimits(trx, changed, nowMs) };
  }

  #newCap(owner: CapOwner, window: CapRow['window'], unit: CapRow['unit']): Omit<CapRow, 'version'> {
    return {
      ...{ id: newId('cap', this.#deps.ids), accountId: owner.accountId, scope: owner.scope, scopeId: owner.scopeId, window, unit },
      ...{ limit: undefined, chosen: undefined, ceiling: undefined, ceilingIsOwn: false },
    };
  }

  /** Tells who hands out shares what has changed. After the commit. */
  announce(limits: readonly LimitChange[]): void {
    announceLimits(limits, this.#deps.onLimitChanged);
  }

  /** The caps set on keys, members or the account itself, as they stand now. */
  async standings(accountId: string, scopeIds: readonly string[]): Promise<CapStanding[]> {
    if (scopeIds.length === 0) return [];
    const nowMs = this.#deps.ids.nowMs();
    const rows = await store.selectStandings(this.#deps.db, accountId, scopeIds, nowMs);
    const standings = rows.map(({ cap, ...figures }) => standingOf(cap, figures, nowMs));
    const rank = (scope: CapScope) => ['key', 'member', 'account'].indexOf(scope);
    return standings.sort((a, b) => rank(a.scope) - rank(b.scope));
  }

  /** Gives the present and later windows of changed caps their limit, as far as they are there. */
  async #setLimits(trx: Transaction, caps: readonly CapRow[], nowMs: number): Promise<LimitChange[]> {
    const windows = await store.lockWindows(
      trx,
      presentWindows(caps, nowMs).map(({ cap, fromMs }) => ({ capId: cap.id, fromMs })),
    );
    const byId = new Map(caps.map((cap) => [cap.id, cap]));
    const limits: LimitChange[] = [];
    for (const window of windows) {
      const cap = byId.get(window.capId);
      if (cap === undefined || cap.limit === window.limit) continue;
      const opening = window.limit === undefined ? await missedBy(trx, cap, window) : 0n;
      await store.updateLimit(trx, window.id, { limit: cap.limit, opening });
      limits.push({ budgetId: window.id, direction: directionOf(cap, window, window.settled + opening + window.held) });
    }
    return limits;
  }
}

/** In the order in which budgets are made and locked. */
function presentWindows(caps: readonly CapRow[], nowMs: number): { readonly cap: CapRow; readonly fromMs: number }[] {
  return caps.map((cap) => ({ cap, fromMs: windowStartMs(cap.window, nowMs) })).sort((a, b) => (budgetIdOf(a) < budgetIdOf(b) ? -1 : 1));
}

function budgetIdOf({ cap, fromMs }: { readonly cap: CapRow; readonly fromMs: number }): string {
  return budgetId({ capId: cap.id, windowStartMs: fromMs });
}

/** What was charged without a lease while the cap was removed, as far as it is more than what the budget has counted. */
async function missedBy(trx: Transaction, cap: CapRow, window: store.BudgetFigures): Promise<bigint> {
  const charged = await store.chargedInWindow(trx, cap, window.windowStartMs);
  return charged > window.settled ? charged - window.settled : 0n;
}

/** Whether shares are to be called back: of a cap that was removed, lowered, or set again below what is taken of it. */
function directionOf(cap: CapRow, before: store.BudgetFigures, taken: bigint): LimitChange['direction'] {
  if (cap.limit === undefined) return 'lowered';
  if (before.limit === undefined) return taken > cap.limit ? 'lowered' : 'raised';
  return cap.limit < before.limit ? 'lowered' : 'raised';
}
