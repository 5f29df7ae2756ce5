/** The node's metrics. What is counted on the path is an addition; the rest is done when they are read. */
import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client';
import { DistributionTally, Tally } from './tally.ts';

export interface Metrics {
  readonly registry: Registry;
  /** One request with the status the client saw. */
  countRequest(operation: string, status: number): void;
  /** One settled request. */
  countOutcome(outcome: string, exactness: string): void;
  observeDurationMs(operation: string, durationMs: number): void;
  /** A usage above its reservation: our loss, and an alarm. */
  countVariance(): void;
  /** A figure read at scrape. */
  gauge(name: string, help: string, read: () => number): void;
  /** Figures read at scrape, one for each value of a label. */
  gaugeBy(name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void;
  /** A count that only grows, read at scrape. */
  counter(name: string, help: string, read: () => number): void;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const requests = countedBy(registry, 'meridian_requests_total', 'Requests by the status the client saw', ['operation', 'status']);
  const outcomes = countedBy(registry, 'meridian_settled_total', 'Settled requests', ['outcome', 'exactness']);
  const durations = distributedBy(
    registry,
    'meridian_request_duration_seconds',
    'From arrival to the final record',
    'operation',
    [0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
  );
  const variance = new Counter({
    name: 'meridian_variance_total',
    help: 'Requests whose usage was dearer than their reservation',
    registers: [registry],
  });
  return {
    registry,
    countRequest: (operation, status) => requests.add(operation, status),
    countOutcome: (outcome, exactness) => outcomes.add(outcome, exactness),
    observeDurationMs: (operation, durationMs) => durations.add(operation, durationMs / 1000),
    countVariance: () => variance.inc(),
    gauge: (name, help, read) => {
      new Gauge({
        name,
        help,
        registers: [registry],
        collect() {
          this.set(read());
        },
      });
    },
    gaugeBy: (name, help, label, read) => {
      new Gauge({
        name,
        help,
        labelNames: [label],
        registers: [registry],
        collect() {
          this.reset();
          for (const [value, figure] of Object.entries(read())) this.set({ [label]: value }, figure);
        },
      });
    },
    counter: (name, help, read) => {
      new Counter({
        name,
        help,
        registers: [registry],
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    },
  };
}

function countedBy(registry: Registry, name: string, help: string, labelNames: readonly [string, string]): Tally {
  const tally = new Tally();
  const [first, second] = labelNames;
  new Counter({
    name,
    help,
    labelNames: [...labelNames],
    registers: [registry],
    collect() {
      this.reset();
      tally.each((firstValue, secondValue, count) => this.inc({ [first]: firstValue, [second]: secondValue }, count));
    },
  });
  return tally;
}

/** The library's histograms cannot be filled with what was counted elsewhere, so this one says what they would say. */
function distributedBy(registry: Registry, name: string, help: string, label: string, bounds: readonly number[]): DistributionTally {
  const tally = new DistributionTally(bounds);
  const get = async () => {
    const values: { metricName: string; labels: Record<string, string | number>; value: number }[] = [];
    tally.each((value, { atMost, count, sum }) => {
      for (const [index, bound] of bounds.entries()) {
        values.push({ metricName: `${name}_bucket`, labels: { le: bound, [label]: value }, value: atMost[index] ?? 0 });
      }
      values.push({ metricName: `${name}_bucket`, labels: { le: '+Inf', [label]: value }, value: count });
      values.push({ metricName: `${name}_sum`, labels: { [label]: value }, value: sum });
      values.push({ metricName: `${name}_count`, labels: { [label]: value }, value: count });
    });
    return { name, help, type: 'histogram', values, aggregator: 'sum' };
  };
  // A registry asks of a metric its name and what it has to say; the type names the classes of the library's own.
  registry.registerMetric({ name, get } as unknown as Metric);
  return tally;
}
