/** The node's metrics; children are resolved once, so that counting on the path is an addition. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

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
  const requests = new Counter({
    name: 'meridian_requests_total',
    help: 'Requests by the status the client saw',
    labelNames: ['operation', 'status'],
    registers: [registry],
  });
  const outcomes = new Counter({
    name: 'meridian_settled_total',
    help: 'Settled requests',
    labelNames: ['outcome', 'exactness'],
    registers: [registry],
  });
  const durations = new Histogram({
    name: 'meridian_request_duration_seconds',
    help: 'From arrival to the final record',
    labelNames: ['operation'],
    buckets: [0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    registers: [registry],
  });
  const variance = new Counter({
    name: 'meridian_variance_total',
    help: 'Requests whose usage was dearer than their reservation',
    registers: [registry],
  });
  const requestChildren = new Map<string, Counter.Internal>();
  const outcomeChildren = new Map<string, Counter.Internal>();
  const durationChildren = new Map<string, Histogram.Internal<'operation'>>();
  const resolve = <T>(children: Map<string, T>, key: string, make: () => T): T => {
    const known = children.get(key);
    if (known !== undefined) return known;
    const made = make();
    children.set(key, made);
    return made;
  };
  return {
    registry,
    countRequest: (operation, status) =>
      resolve(requestChildren, `${operation} ${status}`, () => requests.labels(operation, String(status))).inc(),
    countOutcome: (outcome, exactness) =>
      resolve(outcomeChildren, `${outcome} ${exactness}`, () => outcomes.labels(outcome, exactness)).inc(),
    observeDurationMs: (operation, durationMs) =>
      resolve(durationChildren, operation, () => durations.labels(operation)).observe(durationMs / 1000),
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
