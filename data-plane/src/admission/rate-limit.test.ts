import type { RateLimits } from '@meridian/domain/rate-limit';
import { describe, expect, it } from 'vitest';
import { type RateLimited, RateLimiter, type RatePermit } from './rate-limit.ts';

interface Held {
  readonly limiter: RateLimiter;
  nowMs: number;
  nodes: number;
  /** Lets the limiter's timers run once. */
  tick(): void;
}

function held(options: { readonly maxKeys?: number } = {}): Held {
  const timers: (() => void)[] = [];
  const time = { nowMs: 0, nodes: 1 };
  const limiter = new RateLimiter({
    counters: undefined,
    nowMs: () => time.nowMs,
    regionNodes: () => time.nodes,
    after: (_, run) => {
      timers.push(run);
      return () => {};
    },
    ...options,
  });
  return Object.assign(time, {
    limiter,
    tick: () => {
      for (const run of timers.splice(0)) run();
    },
  });
}

const of = (rateLimits?: RateLimits, modelRateLimits?: RateLimits, id = 'key_1'): RateLimited => ({
  key: { id },
  plan: { ...(rateLimits === undefined ? {} : { rateLimits }), ...(modelRateLimits === undefined ? {} : { modelRateLimits }) },
});

/** Undefined where a limit refused it. */
function entered(limiter: RateLimiter, who: RateLimited): RatePermit | undefined {
  const permit = limiter.enter(who);
  return permit?.refusal === undefined ? permit : undefined;
}

describe('the rate limits of a key', () => {
  it('are none without limits: nothing is remembered', () => {
    const { limiter } = held();
    expect(limiter.enter(of())).toBeUndefined();
    expect(limiter.keys).toBe(0);
  });

  it('let so many requests through a minute, and say when the next one may come', () => {
    const state = held();
    const who = of({ requestsPerMinute: 3 });
    for (let count = 0; count < 3; count++) entered(state.limiter, who)?.release();
    const { refusal } = state.limiter.enter(who) ?? {};
    expect(refusal).toMatchObject({ code: 'rate_limit_exceeded', status: 429, retryable: true, retryAfterSeconds: 20 });
    expect(refusal?.details).toEqual({ limit: 'requests_per_minute' });
    state.nowMs = 19_999;
    expect(entered(state.limiter, who)).toBeUndefined();
    state.nowMs = 20_000;
    expect(entered(state.limiter, who)).toBeDefined();
  });

  it('count those under way, until they end, once each', () => {
    const { limiter } = held();
    const who = of({ concurrency: 2 });
    const first = entered(limiter, who);
    const second = entered(limiter, who);
    expect(limiter.enter(who)?.refusal).toMatchObject({ retryAfterSeconds: 1, details: { limit: 'concurrency' } });
    first?.release();
    first?.release();
    const third = entered(limiter, who);
    expect(third).toBeDefined();
    expect(entered(limiter, who)).toBeUndefined();
    second?.release();
    third?.release();
  });

  it('set tokens aside for what a request is thought to take, and put what it took in their place', () => {
    const state = held();
    const who = of({ tokensPerMinute: 100 });
    const first = entered(state.limiter, who);
    first?.plan('m', 60);
    const left = (permit: RatePermit | undefined): string | undefined => permit?.headers()[3];
    expect(left(first)).toBe('40');
    const second = entered(state.limiter, who);
    second?.plan('m', 60);
    // Nothing is left, so nobody is let in until somebody has taken less than was thought.
    expect(state.limiter.enter(who)?.refusal).toMatchObject({ details: { limit: 'tokens_per_minute' } });
    first?.used(10);
    first?.release();
    expect(left(second)).toBe('30');
    second?.used(400);
    second?.release();
    const { refusal } = state.limiter.enter(who) ?? {};
    // 310 above the limit of 100 a minute.
    expect(refusal?.retryAfterSeconds).toBe(187);
    state.nowMs = 186_001;
    expect(entered(state.limiter, who)).toBeDefined();
  });

  it('give back what was set aside for a request that used nothing', () => {
    const { limiter } = held();
    const who = of({ tokensPerMinute: 100 });
    const permit = entered(limiter, who);
    permit?.plan('m', 100);
    permit?.used(0);
    permit?.release();
    expect(entered(limiter, who)?.headers()[3]).toBe('100');
    const other = entered(limiter, who);
    other?.plan('m', 100);
    other?.release();
    expect(entered(limiter, who)?.headers()[3]).toBe('100');
  });

  it('hold for each model apart, and a request that one of them refuses counts for none', () => {
    const { limiter } = held();
    const who = of({ requestsPerMinute: 10 }, { requestsPerMinute: 1 });
    entered(limiter, who)?.plan('a', 0);
    const again = entered(limiter, who);
    expect(() => again?.plan('a', 0)).toThrow(
      expect.objectContaining({ code: 'rate_limit_exceeded', message: expect.stringContaining("for the model 'a'") }),
    );
    again?.release();
    const other = entered(limiter, who);
    other?.plan('b', 0);
    // Two of ten for the key; the model has none left.
    expect(other?.headers()[3]).toBe('0');
    other?.release();
    expect(limiter.enter(of({ requestsPerMinute: 10 }, undefined))?.headers()[3]).toBe('7');
  });

  it('are the stricter of those of the key and of its plan, and follow both when they change', () => {
    const { limiter } = held();
    const both: RateLimited = { key: { id: 'k', rateLimits: { requestsPerMinute: 2 } }, plan: { rateLimits: { requestsPerMinute: 5 } } };
    entered(limiter, both)?.release();
    entered(limiter, both)?.release();
    expect(entered(limiter, both)).toBeUndefined();
    const raised: RateLimited = { ...both, key: { id: 'k', rateLimits: { requestsPerMinute: 4 } } };
    expect(entered(limiter, raised)?.headers()[1]).toBe('4');
    expect(entered(limiter, raised)).toBeDefined();
    expect(entered(limiter, raised)).toBeUndefined();
    expect(limiter.enter({ key: { id: 'k' }, plan: {} })).toBeUndefined();
  });

  it('are a share of the region’s where the node is alone with them', () => {
    const state = held();
    state.nodes = 4;
    const who = of({ requestsPerMinute: 100, concurrency: 10 });
    entered(state.limiter, who)?.release();
    state.tick();
    expect(state.limiter.share).toBeCloseTo(0.3);
    let given = 1;
    for (let permit = entered(state.limiter, who); permit !== undefined; permit = entered(state.limiter, who)) {
      given++;
      permit.release();
    }
    // One before, and three tenths of the 99 that were left.
    expect(given).toBe(30);
    state.nowMs = 60_000;
    const running = Array.from({ length: 5 }, () => entered(state.limiter, who));
    expect(running.filter((permit) => permit !== undefined).length).toBe(3);
  });

  it('are forgotten when they are full and nothing runs, and remembered for no more keys than there is room for', () => {
    const state = held({ maxKeys: 3 });
    const permits = ['a', 'b', 'c'].map((id) => entered(state.limiter, of({ requestsPerMinute: 60 }, undefined, id)));
    // All of them are under way: a fourth is not limited.
    expect(state.limiter.enter(of({ requestsPerMinute: 60 }, undefined, 'd'))).toBeUndefined();
    expect(state.limiter.unlimited).toBe(1);
    permits[1]?.release();
    expect(entered(state.limiter, of({ requestsPerMinute: 60 }, undefined, 'd'))).toBeDefined();
    expect(state.limiter.keys).toBe(3);
    permits[0]?.release();
    state.nowMs = 999;
    for (let count = 0; count < 3; count++) state.tick();
    expect(state.limiter.keys).toBe(3);
    state.nowMs = 1_000;
    for (let count = 0; count < 3; count++) state.tick();
    // Of the others one runs, and the fourth, too.
    expect(state.limiter.keys).toBe(2);
  });
});

describe('what is told to the region', () => {
  it('waits for company also while an answer is under way, so that a busy key is not told at each turn', async () => {
    const delays: number[] = [];
    let run = (): void => {};
    const answers: (() => void)[] = [];
    const limiter = new RateLimiter({
      counters: {
        away: false,
        share: (uses) =>
          new Promise((resolve) => {
            answers.push(() => resolve(uses.map(({ buckets }) => ({ levels: buckets.map(({ level }) => level), elsewhere: [] }))));
          }),
      },
      nowMs: () => 0,
      regionNodes: () => 2,
      after: (delayMs, then) => {
        if (delayMs < 1_000) {
          delays.push(delayMs);
          run = then;
        }
        return () => {};
      },
    });
    const who = of({ requestsPerMinute: 100 });
    limiter.enter(who);
    run();
    limiter.enter(who);
    answers[0]?.();
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    expect([answers.length, delays]).toEqual([1, [20, 20]]);
    run();
    expect(answers).toHaveLength(2);
    limiter.close();
  });
});
