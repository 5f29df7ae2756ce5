import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Conversation, itemsOf, type KeptTurn, StateRoom } from './conversation.ts';

const KB = 1024;

function conversation(maxBytes = 64 * KB, roomBytes = 1024 * KB): { state: Conversation; room: StateRoom } {
  const room = new StateRoom(roomBytes);
  return { state: new Conversation(room, maxBytes), room };
}

/** Keeps a turn that follows another by id, as a connection does; false when that one is not known. */
function follow(state: Conversation, id: string, previousId: string | undefined, text: string, tools?: Buffer): boolean {
  const parent = previousId === undefined ? undefined : state.hold(previousId);
  if (previousId !== undefined && parent === undefined) return false;
  state.keep({ id, lane: undefined, parent, items: [Buffer.from(text)], tools });
  if (parent !== undefined) state.release(parent);
  return true;
}

function text(state: Conversation, id: string): string | undefined {
  const turn = state.hold(id);
  if (turn === undefined) return undefined;
  state.release(turn);
  return itemsOf(turn).map(String).join(',');
}

describe('the conversation of a connection', () => {
  it('gives a chain from its first turn on, and branches', () => {
    const { state } = conversation();
    follow(state, 'a', undefined, '1,2');
    follow(state, 'b', 'a', '3');
    follow(state, 'c', 'b', '4');
    follow(state, 'fork', 'a', '5');
    expect(text(state, 'c')).toBe('1,2,3,4');
    expect(text(state, 'fork')).toBe('1,2,5');
    expect(text(state, 'x')).toBeUndefined();
  });

  it('keeps a stem once, however many branches it has', () => {
    const { state } = conversation();
    follow(state, 'stem', undefined, 'x'.repeat(20 * KB));
    for (let branch = 0; branch < 10; branch++) follow(state, `b${branch}`, 'stem', 'y');
    expect(state.bytes).toBeLessThan(30 * KB);
    expect(text(state, 'b0')).toHaveLength(20 * KB + 2);
  });

  it('drops the chain that was used longest ago, the whole of it', () => {
    const { state } = conversation();
    follow(state, 'a1', undefined, 'a'.repeat(15 * KB));
    follow(state, 'b1', undefined, 'b'.repeat(15 * KB));
    follow(state, 'a2', 'a1', 'a'.repeat(15 * KB));
    // Used again, so b1 is the oldest although a1 came before it.
    follow(state, 'c1', undefined, 'c'.repeat(25 * KB));
    expect([text(state, 'b1'), text(state, 'a1') !== undefined, text(state, 'a2') !== undefined]).toEqual([undefined, true, true]);
    follow(state, 'd1', undefined, 'd'.repeat(15 * KB));
    expect([text(state, 'c1') === undefined, text(state, 'a1') !== undefined]).toEqual([true, true]);
  });

  it('does not remember a chain that is larger than the room, and leaves what it followed', () => {
    const { state } = conversation();
    follow(state, 'a', undefined, 'a'.repeat(40 * KB));
    follow(state, 'b', 'a', 'b'.repeat(40 * KB));
    expect(text(state, 'b')).toBeUndefined();
    expect(text(state, 'a')).toHaveLength(40 * KB);
  });

  it('bounds turns that hold nothing', () => {
    const { state } = conversation();
    let last: string | undefined;
    for (let index = 0; index < 1_000; index++) {
      if (!follow(state, `t${index}`, last, '')) last = undefined;
      else last = `t${index}`;
    }
    expect(state.bytes).toBeLessThanOrEqual(64 * KB);
  });

  it('keeps a chain alive for the turn that runs, though its ids are forgotten', () => {
    const { state, room } = conversation();
    follow(state, 'a', undefined, '1');
    follow(state, 'b', 'a', '2');
    const held = state.hold('b') as KeptTurn;
    state.forget('a');
    state.forget('b');
    expect(itemsOf(held).map(String)).toEqual(['1', '2']);
    state.keep({ id: 'c', lane: undefined, parent: held, items: [Buffer.from('3')], tools: undefined });
    state.release(held);
    expect(text(state, 'c')).toBe('1,2,3');
    state.clear();
    expect([state.bytes, room.bytes]).toEqual([0, 0]);
  });

  it('makes room of its own when that of the node is used up', () => {
    const room = new StateRoom(50 * KB);
    const [one, two] = [new Conversation(room, 64 * KB), new Conversation(room, 64 * KB)];
    follow(one, 'a', undefined, 'a'.repeat(30 * KB));
    follow(two, 'b', undefined, 'b'.repeat(15 * KB));
    follow(two, 'c', undefined, 'c'.repeat(15 * KB));
    expect([text(one, 'a') !== undefined, text(two, 'b'), text(two, 'c') !== undefined]).toEqual([true, undefined, true]);
    expect(room.bytes).toBeLessThanOrEqual(50 * KB);
  });

  it('survives an id that comes twice, also as its own successor', () => {
    const { state } = conversation();
    follow(state, 'same', undefined, '1');
    follow(state, 'same', 'same', '2');
    follow(state, 'same', 'same', '3');
    expect(text(state, 'same')).toBe('1,2,3');
    state.clear();
    expect(state.bytes).toBe(0);
  });

  it('passes the tools of a chain on without counting them twice', () => {
    const { state } = conversation();
    const tools = Buffer.from('t'.repeat(30 * KB));
    follow(state, 'a', undefined, '1', tools);
    const before = state.bytes;
    const first = state.hold('a') as KeptTurn;
    follow(state, 'b', 'a', '2', first.tools);
    expect(state.bytes - before).toBeLessThan(KB);
    expect((state.hold('b') as KeptTurn).tools?.length).toBe(30 * KB);
  });

  it('never passes its bounds, gives what was kept, and frees everything', () => {
    const action = fc.record({
      kind: fc.constantFrom('keep', 'keep', 'keep', 'forget', 'hold', 'release'),
      id: fc.integer({ min: 0, max: 12 }),
      previous: fc.option(fc.integer({ min: 0, max: 12 }), { nil: undefined }),
      length: fc.integer({ min: 0, max: 3_000 }),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const { state, room } = conversation(10_000, 9_000);
        const whole = new Map<string, string>();
        const held: { turn: KeptTurn; text: string }[] = [];
        for (const { kind, id, previous, length } of actions) {
          const name = `r${id}`;
          if (kind === 'keep') {
            const stem = previous === undefined ? '' : (whole.get(`r${previous}`) ?? '');
            const known = previous === undefined || text(state, `r${previous}`) !== undefined;
            const own = String(id).repeat(length);
            expect(follow(state, name, previous === undefined ? undefined : `r${previous}`, own)).toBe(known);
            if (known) whole.set(name, [stem, own].filter((part) => part !== '').join(','));
          } else if (kind === 'forget') state.forget(name);
          else if (kind === 'hold') {
            const turn = state.hold(name);
            if (turn !== undefined) held.push({ turn, text: whole.get(name) ?? '' });
          } else {
            const last = held.pop();
            if (last !== undefined) {
              expect(itemsOf(last.turn).map(String).join(',')).toBe(last.text);
              state.release(last.turn);
            }
          }
          const told = text(state, name);
          if (told !== undefined) expect(told).toBe(whole.get(name));
          if (held.length === 0) expect(state.bytes).toBeLessThanOrEqual(9_000);
          expect(room.bytes).toBe(state.bytes);
        }
        for (const { turn } of held) state.release(turn);
        state.clear();
        expect(state.bytes).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
