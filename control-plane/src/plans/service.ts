/** Use cases of plans: made and changed, and their daily limits set on the members of the accounts that are on them. */
import { GatewayError } from '@meridian/domain/error';
import type { IdSource } from '@meridian/domain/ids';
import type { ConfigEntry } from '@meridian/domain/snapshot';
import { CEILING_UNITS, type Ceilings } from '../budgets/caps.ts';
import type { BudgetService, CapsSet } from '../budgets/service.ts';
import type { CatalogService } from '../catalog/service.ts';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { Publish } from '../snapshots/publish.ts';
import { ceilingsOf, type PlanRow, type PlanTerms, planEntry } from './plan.ts';
import { rateLimitsText } from './rate-limits.ts';
import * as store from './store.ts';

export type PlanContent = Omit<PlanTerms, 'id'>;

export interface PlanDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  readonly budgets: Pick<BudgetService, 'setCeilingsIn' | 'announce'>;
  /** Tells model names from ids. */
  readonly catalog: Pick<CatalogService, 'resolveModels'>;
}

/** A number a day, none (null), or what the plan says. */
export type CeilingChange = { readonly [unit in keyof Ceilings]?: bigint | null | 'plan' | undefined };

export class PlanService {
  readonly #deps: PlanDeps;

  constructor(deps: PlanDeps) {
    this.#deps = deps;
  }

  /** Throws `not_found`. */
  async get(planId: string): Promise<PlanRow> {
    return (await store.findPlan(this.#deps.db, planId)) ?? notFound('plan', planId);
  }

  list(): Promise<PlanRow[]> {
    return store.listPlans(this.#deps.db);
  }

  /** Makes or changes a plan. Models may go by any of their names. The members' caps follow (`capNextMembers`). */
  async save(plan: PlanTerms): Promise<PlanRow> {
    const allowedModels = await this.#modelIds(plan.allowedModels ?? []);
    return transaction(this.#deps.db, async (trx) => {
      const entries = await this.saveIn(trx, { ...plan, allowedModels });
      const row = (await store.lockPlan(trx, plan.id)) ?? notFound('plan', plan.id);
      if (entries.length > 0) await this.#deps.publish(trx, 'catalog', entries);
      return row;
    });
  }

  /** Makes or changes a plan whose models are ids; the entries are for the caller to publish on CATALOG, none when nothing changed. */
  async saveIn(trx: Transaction, plan: PlanTerms): Promise<ConfigEntry[]> {
    const { id, ...content } = plan;
    const inserted = await store.insertPlan(trx, id, content, new Date(this.#deps.ids.nowMs()));
    if (inserted !== undefined) return [planEntry(inserted)];
    const present = (await store.lockPlan(trx, id)) ?? notFound('plan', id);
    if (isSame(present, content)) return [];
    const { chat_completions, images } = ceilingsOf(present);
    const recap = chat_completions !== amount(content.dailyChatCompletions) || images !== amount(content.dailyImages);
    return [planEntry(await store.updatePlan(trx, id, content, recap))];
  }

  /** A plan that an account is to be put on; it stays as it is until the transaction ends. Throws `invalid_request_error`. */
  async requireIn(trx: Transaction, planId: string): Promise<PlanRow> {
    const plan = await store.holdPlan(trx, planId);
    if (plan === undefined) throw new GatewayError('invalid_request_error', { message: `There is no plan ${planId}.`, param: 'plan_id' });
    return plan;
  }

  /**
   * Gives new members of an account the daily caps of its plan. The caller publishes the entries on CUSTOMER, before those of the
   * members, so that no node knows the one without the other, and announces what it set after the commit.
   */
  async capMembersIn(trx: Transaction, accountId: string, memberIds: readonly string[]): Promise<CapsSet> {
    const planId = (await store.holdPlanOf(trx, accountId)) ?? notFound('account', accountId);
    const plan = await this.requireIn(trx, planId);
    const members = memberIds.map((id) => ({ id, accountId }));
    return this.#deps.budgets.setCeilingsIn(trx, members, ceilingsOf(plan), 'plan');
  }

  /** The same for all members of an account that was moved to a plan in this transaction. */
  async capAccountIn(trx: Transaction, accountId: string, plan: PlanRow): Promise<CapsSet> {
    return this.#deps.budgets.setCeilingsIn(trx, await store.membersOf(trx, accountId), ceilingsOf(plan), 'plan');
  }

  /** Tells who hands out shares what has changed. After the commit. */
  announce(set: CapsSet): void {
    this.#deps.budgets.announce(set.limits);
  }

  /**
   * Brings the caps of the next members to what their plan says since it changed, at most `limit` of them in a transaction of their
   * own. False when there is nothing more to do here.
   */
  async capNextMembers(limit: number): Promise<boolean> {
    const done = await transaction(this.#deps.db, async (trx) => {
      const plan = await store.takePlanBehind(trx);
      if (plan?.members_capped_to === null || plan === undefined) return undefined;
      const members = await store.nextMembers(trx, plan.id, plan.members_capped_to, limit);
      const set = await this.#deps.budgets.setCeilingsIn(trx, members, ceilingsOf(plan), 'plan');
      await store.setCappedTo(trx, plan.id, members.length < limit ? null : (members.at(-1)?.id ?? null));
      if (set.entries.length > 0) await this.#deps.publish(trx, 'bulk', set.entries);
      return set;
    });
    if (done === undefined) return false;
    this.announce(done);
    return true;
  }

  /** An operator's daily limits of one member, in the place of the plan's. Throws `not_found`. */
  async setMemberCeilings(accountId: string, memberId: string, change: CeilingChange): Promise<void> {
    const sets = await transaction(this.#deps.db, async (trx) => {
      const planId = (await store.holdPlanOf(trx, accountId)) ?? notFound('account', accountId);
      const plan = await this.requireIn(trx, planId);
      const member = (await store.findMember(trx, accountId, memberId)) ?? notFound('member', memberId);
      const own: Partial<Record<keyof Ceilings, bigint | undefined>> = {};
      const ofPlan: Partial<Record<keyof Ceilings, bigint | undefined>> = {};
      for (const unit of CEILING_UNITS) {
        const asked = change[unit];
        if (asked === 'plan') ofPlan[unit] = ceilingsOf(plan)[unit];
        else if (asked !== undefined) own[unit] = asked ?? undefined;
      }
      const both = [
        await this.#deps.budgets.setCeilingsIn(trx, [member], own, 'operator'),
        await this.#deps.budgets.setCeilingsIn(trx, [member], ofPlan, 'back to the plan'),
      ];
      const entries = both.flatMap((set) => set.entries);
      if (entries.length > 0) await this.#deps.publish(trx, 'customer', entries);
      return both;
    });
    for (const set of sets) this.announce(set);
  }

  async #modelIds(names: readonly string[]): Promise<string[]> {
    if (names.length === 0) return [];
    const found = await this.#deps.catalog.resolveModels(names);
    const ids = names.map((name, index) => {
      const id = found.get(name);
      if (id !== undefined) return id;
      const param = `models[${index}]`;
      throw new GatewayError('invalid_request_error', { message: `${param}: there is no model ${name}.`, param });
    });
    return [...new Set(ids)];
  }
}

function amount(count: number | undefined): bigint | undefined {
  return count === undefined ? undefined : BigInt(count);
}

function isSame(row: PlanRow, content: PlanContent): boolean {
  const present = planEntry(row).body;
  if (present?.kind !== 'plan') return false;
  const { allowedModels = [], rateLimits, modelRateLimits } = present.value;
  const wanted = content.allowedModels ?? [];
  return (
    row.name === content.name &&
    row.api_access === content.apiAccess &&
    (row.daily_chat_completions ?? undefined) === amount(content.dailyChatCompletions) &&
    (row.daily_images ?? undefined) === amount(content.dailyImages) &&
    (row.max_message_characters ?? undefined) === content.maxMessageCharacters &&
    allowedModels.length === wanted.length &&
    allowedModels.every((id, index) => id === wanted[index]) &&
    rateLimitsText(rateLimits) === rateLimitsText(content.rateLimits) &&
    rateLimitsText(modelRateLimits) === rateLimitsText(content.modelRateLimits)
  );
}

function notFound(kind: string, id: string): never {
  throw new GatewayError('not_found', { message: `There is no ${kind} ${id}.` });
}
