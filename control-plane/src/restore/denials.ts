/**
 * Refusals that a database which was set back has forgotten and nodes still know: a key revoked, an account or a member disabled after
 * the backup. They are taken from nodes for a while after the epoch began, once for each entity, and every node hears of them on SECURITY.
 */
import type { ConfigEntry, Denial } from '@meridian/domain/snapshot';
import type { AccountService } from '../accounts/service.ts';
import type { Database } from '../database/connect.ts';
import { transaction } from '../database/transaction.ts';
import type { KeyService } from '../keys/service.ts';
import type { Publish } from '../snapshots/publish.ts';
import { takesDenials } from './restore.ts';
import * as store from './store.ts';

export interface DenialDeps {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  readonly publish: Publish;
  readonly accounts: Pick<AccountService, 'denyIn'>;
  readonly keys: Pick<KeyService, 'denyIn'>;
}

/** Taken: those that made a difference. The others are as strict here, are not known, or were taken before. */
export type DenialsAnswer = { readonly taken: readonly Denial[] } | { readonly refused: string };

export class DenialService {
  readonly #deps: DenialDeps;

  constructor(deps: DenialDeps) {
    this.#deps = deps;
  }

  /** What a node was told before the epoch whose snapshot it has. Saying it again changes nothing. */
  take(nodeId: string, dbEpoch: string, told: readonly Denial[]): Promise<DenialsAnswer> {
    const { db, clock, publish, accounts, keys } = this.#deps;
    return transaction(db, async (trx): Promise<DenialsAnswer> => {
      // Held, so that no thaw comes in between.
      const state = await store.holdEpoch(trx);
      if (state.dbEpoch !== dbEpoch) return { refused: 'another epoch has begun' };
      if (!takesDenials(state, clock.nowMs())) return { refused: 'no epoch has begun lately' };
      const denials = strictest(await store.selectNewDenials(trx, dbEpoch, told));
      const entries = [...(await accounts.denyIn(trx, denials)), ...(await keys.denyIn(trx, denials))];
      const taken = denials.filter((denial) => entries.some((entry) => isOf(entry, denial)));
      if (taken.length === 0) return { taken };
      await store.insertDenials(trx, { dbEpoch, nodeId }, taken, clock.nowMs());
      await publish(trx, 'security', entries);
      return { taken };
    });
  }
}

/** One of each entity. */
function strictest(denials: readonly Denial[]): Denial[] {
  const found = new Map<string, Denial>();
  for (const denial of denials) {
    const name = `${denial.kind} ${denial.id}`;
    if (!found.has(name) || denial.status === 'revoked') found.set(name, denial);
  }
  return [...found.values()];
}

function isOf(entry: ConfigEntry, denial: Denial): boolean {
  return entry.kind === denial.kind && entry.id === denial.id;
}
