/** `GET /v1/me`: the account as this node last heard of it. */
import { nanoToUsd } from '@meridian/domain/money';
import { nextTier } from '@meridian/domain/tier';
import type { Principal } from '../admission/authenticate.ts';
import type { KeyTable } from '../admission/key-table.ts';

export function me(keys: KeyTable, principal: Principal, unackedNano: bigint, region: string): Record<string, unknown> {
  const { account, key, plan, standing } = principal;
  const next = nextTier(keys.ladder(), standing.tier.id);
  const missingNano = next === undefined ? 0n : next.fromSpendNano - standing.spend30dNano;
  const leftNano = account.balanceNano - unackedNano;
  return {
    object: 'me',
    account: { id: account.id, name: account.name, status: account.status },
    member: { id: key.memberId },
    key: { id: key.id, name: key.name },
    region,
    plan: { id: plan.id, name: plan.name },
    tier: {
      id: standing.tier.id,
      name: standing.tier.name,
      markup_percent: standing.tier.markupBasisPoints / 100,
      spend_30d_usd: nanoToUsd(standing.spend30dNano),
      next:
        next === undefined
          ? null
          : {
              id: next.id,
              name: next.name,
              markup_percent: next.markupBasisPoints / 100,
              missing_usd: nanoToUsd(missingNano > 0n ? missingNano : 0n),
            },
    },
    balance: {
      balance_usd: nanoToUsd(leftNano),
      balance_nano: leftNano.toString(),
      /** The control plane's figure and when it was read; the balance above is this less what this node has not reported yet. */
      as_of: new Date(account.asOfMs).toISOString(),
      unreported_usd: nanoToUsd(unackedNano),
    },
  };
}
