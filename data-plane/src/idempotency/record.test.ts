import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Claim,
  claim,
  type IdempotencyRecord,
  KEPT_MS,
  type Kept,
  keep,
  LEASE_MS,
  mayRelease,
  SETTLING_MS,
  settle,
} from './record.ts';

const by = (owner: string, fingerprint = 'f1'): Claim => ({ owner, fingerprint, requestId: `req_${owner}`, accountId: 'acc_1' });
const ANSWER: Kept = { kind: 'answer', sealed: Buffer.from('sealed') };
const CUT: Kept = { kind: 'receipt', reason: 'cut' };

function claimed(owner: string, nowMs: number): IdempotencyRecord {
  const { record } = claim(undefined, by(owner), nowMs);
  if (record === undefined) throw new Error('not claimed');
  return record;
}

describe('the record of an idempotency key', () => {
  it('is claimed by one, and found running by the next, until the lease is over', () => {
    const record = claimed('a', 0);
    expect(claim(record, by('b'), LEASE_MS - 1)).toEqual({ finding: { kind: 'running', requestId: 'req_a' } });
    expect(claim(record, by('b'), LEASE_MS).finding).toEqual({ kind: 'claimed' });
  });

  it('lives as long as its owner renews it', () => {
    const renewed = claim(claimed('a', 0), by('a'), LEASE_MS - 1);
    expect(renewed.finding).toEqual({ kind: 'claimed' });
    expect(claim(renewed.record, by('b'), 2 * LEASE_MS - 2).finding.kind).toBe('running');
  });

  it('is not for another body, whatever it has come to', () => {
    const running = claimed('a', 0);
    const settling = settle(running, by('a'), 1);
    const kept = keep(settling, by('a'), ANSWER, 2);
    for (const record of [running, settling, kept]) expect(claim(record, by('b', 'f2'), 3).finding).toEqual({ kind: 'other_body' });
  });

  it('settles for its owner alone, and for nobody who came too late', () => {
    const taken = claim(claimed('a', 0), by('b'), LEASE_MS).record;
    expect(settle(taken, by('a'), LEASE_MS + 1)).toBeUndefined();
    expect(keep(taken, by('a'), ANSWER, LEASE_MS + 1)).toBeUndefined();
    expect(settle(taken, by('b'), LEASE_MS + 1)).toMatchObject({ state: 'settling', owner: 'b' });
  });

  it('is nobody’s any more once it settles: its owner is waited for a while, then there is a receipt', () => {
    const settling = settle(claimed('a', 0), by('a'), 1_000);
    expect(claim(settling, by('b'), 1_000 + SETTLING_MS - 1).finding).toEqual({ kind: 'running', requestId: 'req_a' });
    const receipt = { kind: 'receipt', requestId: 'req_a', reason: 'unsettled' };
    expect(claim(settling, by('b'), 1_000 + SETTLING_MS).finding).toEqual(receipt);
    expect(claim(settling, by('b'), 999 + KEPT_MS).finding).toEqual(receipt);
    expect(claim(settling, by('b'), 1_000 + KEPT_MS).finding).toEqual({ kind: 'claimed' });
  });

  it('keeps what its owner leaves for a day, and the first of it only', () => {
    const kept = keep(settle(claimed('a', 0), by('a'), 1), by('a'), ANSWER, 5);
    expect(keep(kept, by('a'), CUT, 6)).toBe(kept);
    const answer = { kind: 'answer', requestId: 'req_a', sealed: Buffer.from('sealed') };
    expect(claim(kept, by('b'), 4 + KEPT_MS).finding).toEqual(answer);
    expect(claim(kept, by('b'), 5 + KEPT_MS).finding).toEqual({ kind: 'claimed' });
  });

  it('takes what is left by an owner that it has forgotten, unless somebody else is there', () => {
    expect(settle(undefined, by('a'), 7)).toMatchObject({ state: 'settling', owner: 'a' });
    expect(keep(undefined, by('a'), CUT, 7)).toMatchObject({ state: 'kept', kept: CUT });
    expect(keep(claimed('b', 0), by('a'), CUT, 7)).toBeUndefined();
  });

  it('is released by its owner, and not once there is something to keep', () => {
    const running = claimed('a', 0);
    expect(mayRelease(running, 'a')).toBe(true);
    expect(mayRelease(running, 'b')).toBe(false);
    expect(mayRelease(undefined, 'a')).toBe(false);
    expect(mayRelease(keep(running, by('a'), CUT, 1), 'a')).toBe(false);
  });

  it('lets nobody settle after one has settled and not come to nothing, in any order of events', () => {
    const owner = fc.constantFrom('a', 'b', 'c');
    const step = fc.oneof(
      fc.record({ act: fc.constant('claim' as const), owner }),
      fc.record({ act: fc.constant('settle' as const), owner }),
      fc.record({ act: fc.constant('keep' as const), owner }),
      fc.record({ act: fc.constant('release' as const), owner }),
      fc.record({ act: fc.constant('pass' as const), ms: fc.constantFrom(1, SETTLING_MS, LEASE_MS, 3 * LEASE_MS) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let record: IdempotencyRecord | undefined;
        let nowMs = 0;
        /** Who holds the key as far as it knows: it was told so, and did not end its claim. */
        const holders = new Set<string>();
        let charged: string | undefined;
        for (const one of steps) {
          if (one.act === 'pass') {
            nowMs += one.ms;
            continue;
          }
          switch (one.act) {
            case 'claim': {
              const { finding, record: next } = claim(record, by(one.owner), nowMs);
              if (next !== undefined) record = next;
              if (finding.kind === 'claimed') {
                // Nobody is served for a key of which somebody was charged.
                expect(charged).toBeUndefined();
                holders.add(one.owner);
              }
              break;
            }
            case 'settle': {
              if (!holders.has(one.owner)) break;
              const next = settle(record, by(one.owner), nowMs);
              if (next === undefined) break;
              record = next;
              expect(charged ?? one.owner).toBe(one.owner);
              charged = one.owner;
              break;
            }
            case 'keep': {
              if (charged !== one.owner) break;
              const next = keep(record, by(one.owner), ANSWER, nowMs);
              expect(next).toBeDefined();
              record = next;
              break;
            }
            case 'release':
              // Only what was not charged is released.
              if (!holders.delete(one.owner) || charged === one.owner) break;
              if (mayRelease(record, one.owner)) record = undefined;
              break;
            default:
              one satisfies never;
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
