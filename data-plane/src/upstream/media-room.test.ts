import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MediaPlace, MediaRoom } from './media-room.ts';

const LIMITS = { maxFetching: 4, maxFetchingPerAccount: 2, maxHeldBytes: 100, maxHeldBytesPerAccount: 60, maxRequestBytes: 20 };
const full = expect.objectContaining({ code: 'overloaded', status: 503 });

describe('room for fetched media', () => {
  it('is shared: an account fetches for so many requests at a time, and all of them for so many', () => {
    const room = new MediaRoom(LIMITS);
    const first = room.enter('a');
    room.enter('a');
    expect(() => room.enter('a')).toThrow(full);
    room.enter('b');
    room.enter('b');
    expect(() => room.enter('c')).toThrow(full);
    first.fetched(5);
    room.enter('c');
    expect(room.heldBytes).toBe(85);
  });

  it('is kept by what was fetched until its request ends', () => {
    const room = new MediaRoom(LIMITS);
    const places = [15, 15, 15].map((bytes) => {
      const place = room.enter('a');
      place.fetched(bytes);
      return place;
    });
    expect(() => room.enter('a')).toThrow(full);
    places[0]?.release();
    places[0]?.release();
    expect(room.heldBytes).toBe(30);
    room.enter('a');
  });

  it('is whole again after any order of entering, fetching and ending', () => {
    const step = fc.record({ account: fc.constantFrom('a', 'b', 'c'), end: fc.nat(9), bytes: fc.nat(20) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const room = new MediaRoom(LIMITS);
        const open: MediaPlace[] = [];
        for (const { account, end, bytes } of steps) {
          try {
            open.push(room.enter(account));
          } catch {
            open[end % Math.max(1, open.length)]?.fetched(bytes);
            open.splice(end % Math.max(1, open.length), 1)[0]?.release();
          }
          expect(room.heldBytes).toBeGreaterThanOrEqual(0);
          expect(room.heldBytes).toBeLessThanOrEqual(LIMITS.maxHeldBytes);
        }
        for (const place of open) place.release();
        expect(room.heldBytes).toBe(0);
        for (let index = 0; index < LIMITS.maxFetchingPerAccount; index++) room.enter('a');
      }),
    );
  });
});
