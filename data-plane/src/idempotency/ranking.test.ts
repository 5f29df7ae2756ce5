import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Ranking } from './ranking.ts';

it('knows the first two after any additions, changes and removals', () => {
  const step = fc.record({ what: fc.constantFrom('add', 'add', 'move', 'remove'), at: fc.nat(), size: fc.nat(30) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const ranking = new Ranking<{ size: number; place: number }>((one, other) => one.size > other.size);
      const items: { size: number; place: number }[] = [];
      for (const { what, at, size } of steps) {
        const index = at % Math.max(1, items.length);
        const item = items[index];
        if (what === 'add' || item === undefined) {
          const added = { size, place: 0 };
          items.push(added);
          ranking.add(added);
        } else if (what === 'move') {
          item.size = size;
          ranking.moved(item);
        } else {
          items.splice(index, 1);
          ranking.remove(item);
        }
        const [first, second] = items.map((each) => each.size).sort((one, other) => other - one);
        expect([ranking.first?.size, ranking.second?.size]).toEqual([first, second]);
      }
    }),
    { numRuns: 300 },
  );
});
