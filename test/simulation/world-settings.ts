/** What a run is made of, drawn from its seed: how many nodes, which accounts, keys and caps, and which scenario. */

import { DEFAULT_KEY_PREFIX, formatApiKey, hashApiKey } from '@meridian/domain/api-key';
import { BUDGET_UNITS, type BudgetUnit, CAP_SCOPES, CAP_WINDOWS, type Cap } from '@meridian/domain/budget';
import type { ListPrice } from '@meridian/domain/price';
import type { Account, ApiKey, ConfigBody, Member } from '@meridian/domain/snapshot';
import type { Dice } from './dice.ts';

export const PEPPER = Buffer.alloc(32, 3);
export const PLAN_ID = 'plan_simulation';
export const MODEL_ID = 'model-one';
export const TIER_IDS = ['starter', 'growth'] as const;

/** Beside the faults that every run has. */
export type Scenario =
  | 'faults'
  /** The control plane is away for a day while nodes serve on. */
  | 'outage'
  /** A node dies and never comes back; a day later its leases are closed. */
  | 'lost_node'
  /** The database loses its last commits. */
  | 'restore';

export interface AccountSetup {
  readonly account: Account;
  readonly members: readonly Member[];
  readonly keys: readonly { readonly presented: string; readonly key: ApiKey }[];
  readonly creditNano: bigint;
}

export interface Settings {
  readonly scenario: Scenario;
  readonly startMs: number;
  readonly activeMs: number;
  readonly nodeCount: number;
  readonly requestsPerSecond: number;
  readonly faultsPerSecond: number;
  readonly accounts: readonly AccountSetup[];
  readonly caps: readonly Cap[];
  readonly price: ListPrice;
}

const MIDDAY_MS = Date.UTC(2026, 4, 14, 12, 0, 0);
const BEFORE_MIDNIGHT_MS = Date.UTC(2026, 4, 14, 23, 59, 50);
const BEFORE_MONTH_END_MS = Date.UTC(2026, 4, 31, 23, 59, 50);

export function drawSettings(dice: Dice): Settings {
  const scenario = weighted<Scenario>(dice, [
    ['faults', 0.7],
    ['outage', 0.1],
    ['lost_node', 0.08],
    ['restore', 0.12],
  ]);
  const startMs = weighted(dice, [
    [MIDDAY_MS, 0.4],
    [BEFORE_MIDNIGHT_MS, 0.35],
    [BEFORE_MONTH_END_MS, 0.25],
  ]);
  const accounts = Array.from({ length: dice.between(1, 3) }, (_, index) => drawAccount(dice, index));
  return {
    scenario,
    startMs: startMs - dice.between(0, 4_000),
    activeMs: dice.between(8_000, 18_000),
    nodeCount: dice.between(6, 12),
    requestsPerSecond: dice.between(4, 12),
    faultsPerSecond: dice.pick([0, 0.2, 0.5, 1]),
    accounts,
    caps: drawCaps(dice, accounts),
    price: priceOf(1, 0, dice),
  };
}

function drawAccount(dice: Dice, index: number): AccountSetup {
  const id = `acc_${index}`;
  const members: Member[] = Array.from({ length: dice.between(1, 2) }, (_, member) => ({
    ...{ id: `mem_${index}_${member}`, accountId: id, role: 'member' as const, status: 'active' as const },
  }));
  const keys = Array.from({ length: dice.between(1, 3) }, (_, number) => {
    const presented = formatApiKey(DEFAULT_KEY_PREFIX, dice.bytes(20));
    const member = dice.pick(members);
    const key: ApiKey = {
      ...{ id: `key_${index}_${number}`, accountId: id, memberId: member.id, name: 'first', hash: hashApiKey(PEPPER, presented) },
      ...{ status: 'active', expiresAtMs: undefined, allowedModels: [], allowedRegions: [] },
    };
    return { presented, key };
  });
  const account: Account = { id, name: id, planId: PLAN_ID, status: 'active', balanceNano: 0n, asOfMs: 0 };
  // From a few requests' worth to more than a run spends.
  return { account, members, keys, creditNano: BigInt(dice.between(100, 6_000)) * 1_000_000n };
}

function drawCaps(dice: Dice, accounts: readonly AccountSetup[]): Cap[] {
  const caps = new Map<string, Cap>();
  for (const { account, members, keys } of accounts) {
    for (let count = dice.between(0, 4); count > 0; count--) {
      const scope = dice.pick(CAP_SCOPES);
      const scopeId = scope === 'account' ? account.id : scope === 'member' ? dice.pick(members).id : dice.pick(keys).key.id;
      const window = dice.pick(CAP_WINDOWS);
      const unit = dice.pick(BUDGET_UNITS);
      const id = `cap_${scopeId}_${window}_${unit}`;
      caps.set(id, { id, accountId: account.id, scope, scopeId, window, unit, limit: drawLimit(dice, unit) });
    }
  }
  return [...caps.values()];
}

export function drawLimit(dice: Dice, unit: BudgetUnit): number {
  switch (unit) {
    case 'nano_usd':
      return dice.between(0, 3_000) * 1_000_000;
    case 'chat_completions':
      return dice.between(0, 120);
    case 'images':
      return dice.between(0, 60);
    default:
      return unit satisfies never;
  }
}

/** Some tens of milli-dollars for a request. */
export function priceOf(version: number, effectiveFromMs: number, dice: Dice): ListPrice {
  const input = BigInt(dice.between(1, 6)) * 1_000_000_000n;
  const output = BigInt(dice.between(5, 25)) * 1_000_000_000n;
  return {
    modelId: MODEL_ID,
    version,
    effectiveFromMs,
    cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input, output } }],
  };
}

/** The configuration that a run begins with, caps apart. */
export function firstBodies({ accounts, price }: Settings): { readonly customer: ConfigBody[]; readonly catalog: ConfigBody[] } {
  const customer: ConfigBody[] = [];
  for (const { account, members, keys } of accounts) {
    customer.push({ kind: 'account', value: account });
    for (const value of members) customer.push({ kind: 'member', value });
    for (const { key } of keys) customer.push({ kind: 'api_key', value: key });
  }
  const tiers = [
    { id: TIER_IDS[0], name: 'Starter', fromSpendNano: 0n, markupBasisPoints: 4000 },
    { id: TIER_IDS[1], name: 'Growth', fromSpendNano: 1_000_000_000n, markupBasisPoints: 1500 },
  ];
  const catalog: ConfigBody[] = [
    { kind: 'plan', value: { id: PLAN_ID, name: 'Simulation', apiAccess: true } },
    { kind: 'ladder', value: { id: 'ladder', tiers } },
    { kind: 'price_book', value: { modelId: MODEL_ID, versions: [price] } },
  ];
  return { customer, catalog };
}

function weighted<T>(dice: Dice, choices: readonly (readonly [T, number])[]): T {
  let at = dice.random();
  for (const [choice, weight] of choices) {
    at -= weight;
    if (at < 0) return choice;
  }
  const last = choices.at(-1);
  if (last === undefined) throw new Error('nothing to choose from');
  return last[0];
}
