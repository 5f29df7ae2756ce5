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
  const sums = (amountOf: (held: number, reserved: number) => number) => (): Record<string, number> => {
    const byUnit: Record<string, number> = Object.fromEntries(BUDGET_UNITS.map((unit) => [unit, 0]));
    for (const record of desk.declarations()) {
      if (record.closed) continue;
      const { capId } = record.budget;
      const unit = isPrepaidCapId(capId) ? 'nano_usd' : (unitOfCap(capId) ?? 'unknown');
      const lease = desk.leaseOn(record.budget);
      const reserved = lease?.id === record.leaseId ? lease.reserved : 0;
      byUnit[unit] = (byUnit[unit] ?? 0) + amountOf(record.granted - record.returned - record.used, reserved);
    }
    return byUnit;
  };
  const held = sums((all) => all);
  const free = sums((all, reserved) => all - reserved);
  const reserved = sums((_, inUse) => inUse);
  metrics.gaugeBy('meridian_lease_held', 'What this node may still charge, in the unit of the budgets', 'unit', held);
  metrics.gaugeBy('meridian_lease_free', 'Of what is held: not set aside for requests', 'unit', free);
  metrics.gaugeBy('meridian_lease_reserved', 'Of what is held: set aside for requests in flight', 'unit', reserved);
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
