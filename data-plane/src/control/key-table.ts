/** Who may call: keys by their hash, accounts, members, plans and tiers, as the picture fills them in. */
import type { Cap } from '@meridian/domain/budget';
import type { Account, ApiKey, Member, Plan, TierAssignment } from '@meridian/domain/snapshot';
import type { Ladder } from '@meridian/domain/tier';
import type { KeyTable, TierStanding } from '../admission/key-table.ts';

const NO_CAPS: readonly Cap[] = [];

export class PictureKeyTable implements KeyTable {
  readonly #keysByHash = new Map<string, ApiKey>();
  readonly #accounts = new Map<string, Account>();
  readonly #members = new Map<string, Member>();
  readonly #plans = new Map<string, Plan>();
  readonly #assignments = new Map<string, TierAssignment>();
  readonly #caps = new Map<string, readonly Cap[]>();
  readonly #ladders = new Map<string, Ladder>();
  #ladder: Ladder = [];

  keyByHash(hash: string): ApiKey | undefined {
    return this.#keysByHash.get(hash);
  }

  account(id: string): Account | undefined {
    return this.#accounts.get(id);
  }

  member(id: string): Member | undefined {
    return this.#members.get(id);
  }

  plan(id: string): Plan | undefined {
    return this.#plans.get(id);
  }

  capsOf(scopeId: string): readonly Cap[] {
    return this.#caps.get(scopeId) ?? NO_CAPS;
  }

  ladder(): Ladder {
    return this.#ladder;
  }

  tierOf(accountId: string): TierStanding | undefined {
    const assignment = this.#assignments.get(accountId);
    const tier = this.#ladder.find((candidate) => candidate.id === assignment?.tierId) ?? this.#ladder[0];
    return tier === undefined ? undefined : { tier, spend30dNano: assignment?.spend30dNano ?? 0n };
  }

  /** `before` is what the key was until now: its hash may have changed. */
  setKey(before: ApiKey | undefined, key: ApiKey | undefined): void {
    if (before !== undefined && before.hash !== key?.hash && this.#keysByHash.get(before.hash)?.id === before.id) {
      this.#keysByHash.delete(before.hash);
    }
    if (key !== undefined) this.#keysByHash.set(key.hash, key);
  }

  setAccount(id: string, account: Account | undefined): void {
    put(this.#accounts, id, account);
  }

  setMember(id: string, member: Member | undefined): void {
    put(this.#members, id, member);
  }

  setPlan(id: string, plan: Plan | undefined): void {
    put(this.#plans, id, plan);
  }

  /** `before` is what the cap was until now. A list is replaced, never changed: a request may hold it. */
  setCap(before: Cap | undefined, cap: Cap | undefined): void {
    if (before !== undefined) {
      const left = this.capsOf(before.scopeId).filter((other) => other.id !== before.id);
      put(this.#caps, before.scopeId, left.length === 0 ? undefined : left);
    }
    if (cap !== undefined) this.#caps.set(cap.scopeId, [...this.capsOf(cap.scopeId), cap]);
  }

  setAssignment(accountId: string, assignment: TierAssignment | undefined): void {
    put(this.#assignments, accountId, assignment);
  }

  /** Of several ladders the one whose id sorts first is in force. */
  setLadder(id: string, ladder: Ladder | undefined): void {
    put(this.#ladders, id, ladder);
    const first = [...this.#ladders.keys()].sort()[0];
    this.#ladder = (first === undefined ? undefined : this.#ladders.get(first)) ?? [];
  }
}

function put<Value>(map: Map<string, Value>, id: string, value: Value | undefined): void {
  if (value === undefined) map.delete(id);
  else map.set(id, value);
}
