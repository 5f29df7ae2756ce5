/** Rate limits: how fast a key may ask, counted in a region. Whole numbers; what is absent is not limited. */

export interface RateLimits {
  readonly requestsPerMinute?: number;
  /** Input and output together, cached input included. */
  readonly tokensPerMinute?: number;
  /** Requests under way at one time. */
  readonly concurrency?: number;
}

/** The stricter of each; undefined where neither limits anything. */
export function stricterLimits(one: RateLimits | undefined, other: RateLimits | undefined): RateLimits | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const requestsPerMinute = lesser(one.requestsPerMinute, other.requestsPerMinute);
  const tokensPerMinute = lesser(one.tokensPerMinute, other.tokensPerMinute);
  const concurrency = lesser(one.concurrency, other.concurrency);
  return {
    ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
    ...(tokensPerMinute === undefined ? {} : { tokensPerMinute }),
    ...(concurrency === undefined ? {} : { concurrency }),
  };
}

function lesser(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined) return other;
  return other === undefined ? one : Math.min(one, other);
}
