import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Capture, CaptureRoom, MAX_ANSWER_BYTES } from './capture.ts';

describe('a capture', () => {
  it('is what was added, copied, in any pieces', () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.uint8Array({ maxLength: 3_000 })), { maxLength: 20 }), (turns) => {
        const capture = new Capture(new CaptureRoom());
        const added: Buffer[] = [];
        for (const turn of turns) {
          const parts = turn.map((part) => Buffer.from(part));
          capture.add(parts);
          added.push(...parts.map((part) => Buffer.from(part)));
          for (const part of parts) part.fill(0);
        }
        expect(capture.over).toBe(false);
        expect(capture.body.equals(Buffer.concat(added))).toBe(true);
      }),
    );
  });

  it('takes a mebibyte and not a byte more', () => {
    const room = new CaptureRoom();
    const capture = new Capture(room);
    for (let index = 0; index < 1024; index++) capture.add([Buffer.alloc(1024, index)]);
    expect(capture.body.length).toBe(MAX_ANSWER_BYTES);
    expect(capture.over).toBe(false);
    const before = room.freeBytes;
    capture.add([Buffer.alloc(1)]);
    expect(capture.over).toBe(true);
    expect(room.freeBytes).toBe(before + MAX_ANSWER_BYTES);
    capture.add([Buffer.alloc(1)]);
    expect(capture.body.length).toBe(0);
  });

  it('shares a room with all others, and gives its part back once', () => {
    const room = new CaptureRoom(100_000);
    const [first, second] = [new Capture(room), new Capture(room)];
    first.add([Buffer.alloc(80_000)]);
    second.add([Buffer.alloc(30_000)]);
    expect([first.over, second.over]).toEqual([false, true]);
    first.drop();
    first.drop();
    second.drop();
    expect(room.freeBytes).toBe(100_000);
  });
});
