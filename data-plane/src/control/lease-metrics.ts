/** What the node's leases look like from outside: figures read at scrape. */
import { BUDGET_UNITS, type BudgetUnit, isPrepaidCapId } from '@meridian/domain/budget';
import type { LeaseDesk } from '../admission/lease-desk.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { LeaseClient } from './lease-client.ts';

export interface LeaseMetricsDeps {
  readonly desk: Pick<LeaseDesk, 'declarations' | 'leaseOn' | 'status'>;
  readonly client: Pick<LeaseClient, 'status'>;
  /** Undefined for a cap that the picture does not have, or no longer. */
  readonly unitOfCap: (capId: string) => BudgetUnit | undefined;
  readonly clock: { nowMs(): number };
}

export function registerLeaseMetrics(metrics: Metrics, { desk, client, unitOfCap, clock }: LeaseMetricsDeps): void {
  let found: Sums | undefined;
  /** One walk over the leases for all figures of a scrape, which are read in one turn. */
  const sums = (): Sums => {
    if (found === undefined) {
      found = sumsByUnit(desk, unitOfCap);
      setImmediate(() => {
        found = undefined;
      });
    }
    return found;
  };
  metrics.gaugeBy('meridian_lease_held', 'What this node may still charge, in the unit of the budgets', 'unit', () => sums().held);
  metrics.gaugeBy('meridian_lease_free', 'Of what is held: not set aside for requests', 'unit', () => sums().free);
  metrics.gaugeBy('meridian_lease_reserved', 'Of what is held: set aside for requests in flight', 'unit', () => sums().reserved);
  metrics.gauge('meridian_leases_open', 'Leases that are not closed', () => desk.status().openLeases);
  metrics.gauge('meridian_lease_waiting_requests', 'Requests that wait for a lease', () => desk.status().waiting);
  metrics.gauge('meridian_lease_connected', '1 while the stream of leases is open', () => (client.status().connected ? 1 : 0));
  metrics.gauge(
    'meridian_lease_answer_age_seconds',
    'Since the control plane last answered a question',
    () => (clock.nowMs() - (client.status().lastAnswerAtMs ?? Number.NaN)) / 1000,
  );
  metrics.counter('meridian_lease_questions_total', 'Questions to the control plane', () => client.status().questions);
  metrics.counter('meridian_lease_unanswered_total', 'Questions that were given up', () => desk.status().unanswered);
  metrics.counter('meridian_lease_denials_total', 'Questions that were denied', () => client.status().denials);
  metrics.counter('meridian_lease_recalls_total', 'Leases that were asked back', () => client.status().recalls);
  metrics.counter('meridian_lease_refused_exhausted_total', 'Requests refused for want of budget', () => desk.status().refusedExhausted);
  metrics.counter(
    'meridian_lease_refused_unavailable_total',
    'Requests refused with nobody to ask',
    () => desk.status().refusedUnavailable,
  );
}

type ByUnit = Record<string, number>;

interface Sums {
  readonly held: ByUnit;
  readonly free: ByUnit;
  readonly reserved: ByUnit;
}

function sumsByUnit(desk: LeaseMetricsDeps['desk'], unitOfCap: LeaseMetricsDeps['unitOfCap']): Sums {
  const zeroes = (): ByUnit => Object.fromEntries(BUDGET_UNITS.map((unit) => [unit, 0]));
  const sums: Sums = { held: zeroes(), free: zeroes(), reserved: zeroes() };
  for (const { leaseId, budget, granted, returned, used, closed } of desk.declarations()) {
    if (closed) continue;
    const unit = isPrepaidCapId(budget.capId) ? 'nano_usd' : (unitOfCap(budget.capId) ?? 'unknown');
    const lease = desk.leaseOn(budget);
    const reserved = lease?.id === leaseId ? lease.reserved : 0;
    const held = granted - returned - used;
    sums.held[unit] = (sums.held[unit] ?? 0) + held;
    sums.free[unit] = (sums.free[unit] ?? 0) + held - reserved;
    sums.reserved[unit] = (sums.reserved[unit] ?? 0) + reserved;
  }
  return sums;
}
