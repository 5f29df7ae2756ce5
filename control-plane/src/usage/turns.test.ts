import { expect, it } from 'vitest';
import { Turns } from './turns.ts';

function gate() {
  let open: () => void = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
}

it('does one piece of an owner’s work at a time, in order, and other owners’ beside it', async () => {
  const turns = new Turns(5);
  const { open, opened } = gate();
  const done: string[] = [];
  const piece = (name: string, waitsFor?: Promise<void>) => async () => {
    done.push(`${name} begins`);
    await waitsFor;
    done.push(`${name} ends`);
  };
  const first = turns.take('a', piece('a1', opened));
  const second = turns.take('a', piece('a2'));
  await turns.take('b', piece('b1'));
  expect(done).toEqual(['a1 begins', 'b1 begins', 'b1 ends']);
  open();
  await Promise.all([first, second]);
  expect(done.slice(3)).toEqual(['a1 ends', 'a2 begins', 'a2 ends']);
});

it('goes on after a piece that fails, which fails for its own asker only', async () => {
  const turns = new Turns(5);
  const failing = turns.take('a', () => Promise.reject(new Error('no')));
  const next = turns.take('a', async () => 'done');
  await expect(failing).rejects.toThrow('no');
  expect(await next).toBe('done');
});

it('refuses what comes when too much is waiting, and takes it again when that is done', async () => {
  const turns = new Turns(2);
  const { open, opened } = gate();
  const waiting = [0, 1, 2].map(() => turns.take('a', () => opened));
  await expect(turns.take('a', async () => {})).rejects.toMatchObject({ code: 'rate_limit_exceeded', retryAfterSeconds: 1 });
  open();
  await Promise.all(waiting);
  expect(await turns.take('a', async () => 'done')).toBe('done');
});
