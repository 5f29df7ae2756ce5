/** How a key stands in its rate limits, as the SDKs of the trade read it. */
import { type RateBucket, UNITS } from './rate-bucket.ts';
import type { RateGate } from './rate-gate.ts';

/** Flat name, value …: of several gates, the one that has less left. */
export function rateHeaders(gates: readonly (RateGate | undefined)[], nowMs: number, share: number): string[] {
  const headers: string[] = [];
  for (const name of ['requests', 'tokens'] as const) {
    let scarcest: RateBucket | undefined;
    for (const gate of gates) {
      const bucket = gate?.[name];
      if (bucket !== undefined && (scarcest === undefined || bucket.level(nowMs, share) < scarcest.level(nowMs, share))) scarcest = bucket;
    }
    if (scarcest === undefined) continue;
    const left = Math.max(0, Math.floor(scarcest.level(nowMs, share) / UNITS));
    const fullMs = scarcest.untilMs(scarcest.capacity(share), share);
    headers.push(`x-ratelimit-limit-${name}`, String(scarcest.limit));
    headers.push(`x-ratelimit-remaining-${name}`, String(left));
    headers.push(`x-ratelimit-reset-${name}`, durationText(fullMs));
  }
  return headers;
}

/** `0s`, `120ms`, `1.5s`, `6m0s`. */
export function durationText(ms: number): string {
  if (ms > 0 && ms < 1000) return `${ms}ms`;
  if (ms < 60_000) return `${ms / 1000}s`;
  // Whole seconds are exact enough above a minute; what is begun counts.
  const seconds = Math.ceil(ms / 1000);
  return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
