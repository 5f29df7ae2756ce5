import { Duplex } from 'node:stream';
import { expect, it } from 'vitest';
import { drained } from './drained.ts';

/** Takes one message and no more, until it is told to go on. */
function stalled(): { readonly stream: Duplex; goOn(): void } {
  let goOn = (): void => {};
  const stream = new Duplex({
    objectMode: true,
    highWaterMark: 1,
    autoDestroy: false,
    read: () => {},
    write: (_message, _encoding, taken) => {
      goOn = taken;
    },
  });
  stream.resume();
  stream.on('error', () => {});
  expect(stream.write({})).toBe(false);
  return { stream, goOn: () => goOn() };
}

it.each<[string, (stalled: { readonly stream: Duplex; goOn(): void }) => void]>([
  ['takes more', ({ goOn }) => goOn()],
  ['was ended by the other side', ({ stream }) => stream.push(null)],
  ['has failed', ({ stream }) => stream.emit('error', new Error('gone'))],
  ['was closed', ({ stream }) => stream.destroy()],
])('is over when the stream %s, and leaves no listener', async (_, happen) => {
  const held = stalled();
  const before = held.stream.eventNames().flatMap((name) => held.stream.listeners(name)).length;
  const waited = drained(held.stream);
  happen(held);
  await waited;
  expect(held.stream.eventNames().flatMap((name) => held.stream.listeners(name)).length).toBe(before);
});
