import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type LaneName, Lanes } from './lanes.ts';
import { MAX_RUNNING_TURNS, MAX_STREAM_IDS, MAX_WAITING_BYTES, MAX_WAITING_TURNS } from './limits.ts';

interface Turn {
  readonly lane: LaneName;
  readonly bytes: number;
  readonly number: number;
}

describe('the lanes of a connection', () => {
  it('serves one lane in order, and others beside it', () => {
    const lanes = new Lanes<Turn>();
    const lanesAsked: LaneName[] = [undefined, undefined, 'a', 'a', 'b'];
    for (const [number, lane] of lanesAsked.entries()) expect(lanes.enter({ lane, bytes: 1, number })).toBe('entered');
    expect([lanes.next()?.number, lanes.next()?.number, lanes.next()?.number, lanes.next()]).toEqual([0, 2, 4, undefined]);
    lanes.left('a');
    expect([lanes.next()?.number, lanes.next()]).toEqual([3, undefined]);
    lanes.left(undefined);
    expect(lanes.next()?.number).toBe(1);
  });

  it('takes so many names for the life of a connection, and the nameless lane beside them', () => {
    const lanes = new Lanes<Turn>();
    const enter = (lane: LaneName): string => {
      const entered = lanes.enter({ lane, bytes: 1, number: 0 });
      if (entered === 'entered') {
        lanes.next();
        lanes.left(lane);
      }
      return entered;
    };
    for (let index = 0; index < MAX_STREAM_IDS; index++) expect(enter(`s${index}`)).toBe('entered');
    expect([enter('one more'), enter('s0'), enter(undefined)]).toEqual(['too_many_streams', 'entered', 'entered']);
  });

  it('lets so many run and so many wait', () => {
    const lanes = new Lanes<Turn>();
    for (let number = 0; number < MAX_RUNNING_TURNS + 2; number++) lanes.enter({ lane: `s${number}`, bytes: 1, number });
    for (let number = 0; number < MAX_RUNNING_TURNS; number++) expect(lanes.next()?.number).toBe(number);
    expect(lanes.next()).toBeUndefined();
    while (lanes.waiting < MAX_WAITING_TURNS) lanes.enter({ lane: undefined, bytes: 1, number: 0 });
    expect(lanes.enter({ lane: undefined, bytes: 1, number: 0 })).toBe('too_many_waiting');
    lanes.left('s3');
    expect(lanes.next()?.number).toBe(MAX_RUNNING_TURNS);
    expect(lanes.enter({ lane: undefined, bytes: 1, number: 0 })).toBe('entered');
  });

  it('bounds the bytes that wait, whatever the size of the first', () => {
    const lanes = new Lanes<Turn>();
    expect(lanes.enter({ lane: undefined, bytes: MAX_WAITING_BYTES, number: 0 })).toBe('entered');
    expect(lanes.enter({ lane: undefined, bytes: 1, number: 1 })).toBe('too_many_waiting');
    lanes.next();
    expect(lanes.enter({ lane: undefined, bytes: 1, number: 1 })).toBe('entered');
  });

  it('runs every turn once, never two of a lane, in the order of each lane', () => {
    const step = fc.oneof(
      fc.record({ lane: fc.constantFrom(undefined, 'a', 'b', 'c') }),
      fc.record({ left: fc.constantFrom(undefined, 'a', 'b', 'c') }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const lanes = new Lanes<Turn>();
        const running = new Set<LaneName>();
        const lastOf = new Map<LaneName, number>();
        let entered = 0;
        let served = 0;
        const serve = (): void => {
          for (let turn = lanes.next(); turn !== undefined; turn = lanes.next()) {
            expect(running.has(turn.lane)).toBe(false);
            expect(turn.number).toBeGreaterThan(lastOf.get(turn.lane) ?? -1);
            lastOf.set(turn.lane, turn.number);
            running.add(turn.lane);
            served++;
          }
        };
        for (const [number, each] of steps.entries()) {
          if ('lane' in each) {
            if (lanes.enter({ lane: each.lane, bytes: 1, number }) === 'entered') entered++;
          } else if (running.delete(each.left)) lanes.left(each.left);
          serve();
        }
        while (running.size > 0) {
          for (const lane of [...running]) {
            running.delete(lane);
            lanes.left(lane);
          }
          serve();
        }
        expect([served, lanes.waiting, lanes.running]).toEqual([entered, 0, 0]);
      }),
    );
  });
});
