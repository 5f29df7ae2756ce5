import { describe, expect, it } from 'vitest';
import type { Sent } from './clients.ts';
import { judgeKeyed, type Served, type StoreLosses } from './once.ts';

const NONE: StoreLosses = { hasRedis: true, redisEmptied: [], redisAway: [], nodeEnded: [] };
const SENT: readonly Sent[] = [
  {
    ...{ ref: 'r', keyId: 'key_1', region: 'us', dialect: 'openai-chat', model: 'm', stream: false, idempotencyKey: 'k' },
    ...{ startMs: 0, endMs: 0, end: 'complete', status: 200, requestId: 'req_1', isReplay: false, code: undefined },
  },
];

/** A call to a provider from one second to another. */
function call(requestId: string, from: number, to: number, chargeNano: bigint): Served {
  return { ref: 'r', region: 'us', requestId, chargeNano, admittedAtMs: from * 1_000, t_start: from * 1_000, t_end: to * 1_000 };
}

function doubled(served: readonly Served[], losses: Partial<StoreLosses> = {}): number {
  return judgeKeyed(SENT, served, { ...NONE, ...losses }).doubled.length;
}

describe('requests with one idempotency key', () => {
  const first = call('req_1', 10, 12, 5n);

  it('may come to nothing before one of them is charged, and not after', () => {
    expect(doubled([call('req_0', 1, 2, 0n), first])).toBe(0);
    expect(doubled([first, call('req_2', 20, 21, 0n)])).toBe(1);
    expect(doubled([first, call('req_2', 20, 21, 5n)])).toBe(1);
  });

  it('may be charged twice where Redis was emptied between their ends, and not elsewhere', () => {
    const again = call('req_2', 20, 21, 5n);
    expect(doubled([first, again], { redisEmptied: [15_000] })).toBe(0);
    expect(doubled([first, again], { redisEmptied: [11_000] })).toBe(1);
    expect(doubled([first, again], { redisEmptied: [22_000] })).toBe(1);
  });

  it('may be charged twice where Redis was away at the first end and the node has ended since', () => {
    const again = call('req_2', 40, 41, 5n);
    const redisAway = [{ fromMs: 11_500, untilMs: 13_000 }];
    expect(doubled([first, again], { redisAway })).toBe(1);
    expect(doubled([first, again], { redisAway, nodeEnded: [{ region: 'eu', atMs: 14_000 }] })).toBe(1);
    expect(doubled([first, again], { redisAway, nodeEnded: [{ region: 'us', atMs: 14_000 }] })).toBe(0);
    expect(doubled([first, again], { nodeEnded: [{ region: 'us', atMs: 14_000 }] })).toBe(1);
  });

  it('are remembered by the node alone without a Redis', () => {
    const again = call('req_2', 40, 41, 5n);
    expect(doubled([first, again], { hasRedis: false })).toBe(1);
    expect(doubled([first, again], { hasRedis: false, nodeEnded: [{ region: 'us', atMs: 14_000 }] })).toBe(0);
  });
});
