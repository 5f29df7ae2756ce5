import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryStore } from './memory-store.ts';
import { type Claim, KEPT_MS, type Kept } from './record.ts';

const by = (owner: string, accountId = 'acc_1'): Claim => ({ owner, fingerprint: 'f1', requestId: `req_${owner}`, accountId });
const answer = (bytes: number): Kept => ({ kind: 'answer', sealed: Buffer.alloc(bytes, 7) });

/** A request that was served and charged, and left an answer of so many bytes. */
async function serve(store: MemoryStore, name: string, accountId: string, bytes: number): Promise<void> {
  const owner = by(name, accountId);
  expect(await store.claim(name, owner)).toEqual({ kind: 'claimed' });
  expect(await store.settle(name, owner)).toBe(true);
  expect(await store.keep(name, owner, answer(bytes))).toBe(true);
}

const retry = (store: MemoryStore, name: string, accountId: string): Promise<unknown> => store.claim(name, by('retry', accountId));
const receiptOf = (name: string): object => ({ kind: 'receipt', requestId: `req_${name}`, reason: 'no_room' });

describe('the records of idempotency keys in the process', () => {
  it('keep a receipt of the oldest answers where there is no room: nothing that was charged is served again', async () => {
    const store = new MemoryStore(() => 0, { maxAnswerBytes: 10_000 });
    await store.claim('running', by('a'));
    await store.claim('settling', by('a'));
    await store.settle('settling', by('a'));
    for (const name of ['first', 'second', 'third']) await serve(store, name, 'acc_1', 4_000);
    expect(await retry(store, 'first', 'acc_1')).toEqual(receiptOf('first'));
    expect(await retry(store, 'second', 'acc_1')).toMatchObject({ kind: 'answer', requestId: 'req_second' });
    expect(await retry(store, 'third', 'acc_1')).toMatchObject({ kind: 'answer', requestId: 'req_third' });
    expect(await retry(store, 'running', 'acc_1')).toMatchObject({ kind: 'running' });
    expect(await retry(store, 'settling', 'acc_1')).toMatchObject({ kind: 'running' });
    expect([store.records, store.answers, store.answerBytes]).toEqual([5, 2, 8_000]);
  });

  it('are shared by accounts: who has more than all can have gives way, and nobody else', async () => {
    const store = new MemoryStore(() => 0, { maxAnswerBytes: 10_000 });
    await serve(store, 'small', 'acc_small', 1_000);
    for (let count = 0; count < 50; count++) await serve(store, `large-${count}`, 'acc_large', 1_000);
    for (let count = 0; count < 3; count++) await serve(store, `middle-${count}`, 'acc_middle', 1_000);
    expect(await retry(store, 'small', 'acc_small')).toMatchObject({ kind: 'answer' });
    for (let count = 0; count < 3; count++) expect(await retry(store, `middle-${count}`, 'acc_middle')).toMatchObject({ kind: 'answer' });
    expect(await retry(store, 'large-49', 'acc_large')).toMatchObject({ kind: 'answer' });
    expect(await retry(store, 'large-0', 'acc_large')).toEqual(receiptOf('large-0'));
    expect(store.answerBytes).toBeLessThanOrEqual(10_000);
    expect(store.records).toBe(54);
  });

  it('are as many as there is room for, and no account has all of it', async () => {
    const store = new MemoryStore(() => 0, { maxRecords: 8 });
    for (const name of ['1', '2', '3', '4']) await serve(store, name, 'acc_1', 10);
    expect(await retry(store, '5', 'acc_1')).toEqual({ kind: 'full' });
    // What is known is found all the same.
    expect(await retry(store, '4', 'acc_1')).toMatchObject({ kind: 'answer' });
    for (const name of ['6', '7']) await serve(store, name, 'acc_2', 10);
    expect(await retry(store, '8', 'acc_2')).toEqual({ kind: 'full' });
    await serve(store, '9', 'acc_3', 10);
    // A request that ends without a charge gives its place back, and one that runs has its own.
    expect(await store.claim('10', by('a', 'acc_4'))).toEqual({ kind: 'claimed' });
    expect(await store.claim('10', by('a', 'acc_4'))).toEqual({ kind: 'claimed' });
    expect(await retry(store, '11', 'acc_5')).toEqual({ kind: 'full' });
    await store.release('10', 'a');
    expect(await retry(store, '11', 'acc_5')).toEqual({ kind: 'claimed' });
  });

  it('give way one by one where every account has one: the newest stays, and the oldest goes', async () => {
    const store = new MemoryStore(() => 0, { maxAnswerBytes: 8_000 });
    for (let count = 0; count < 20; count++) {
      await serve(store, `k-${count}`, `acc_${count}`, 1_000);
      expect(store.answers).toBe(Math.min(count + 1, 8));
    }
    for (let count = 0; count < 20; count++) {
      expect(await retry(store, `k-${count}`, `acc_${count}`)).toMatchObject({ kind: count < 12 ? 'receipt' : 'answer' });
    }
    // Larger than what any other account has, it stays as the newest, and goes first once another is.
    await serve(store, 'large', 'acc_large', 3_500);
    expect(await retry(store, 'large', 'acc_large')).toMatchObject({ kind: 'answer' });
    expect([store.answers, store.answerBytes]).toEqual([5, 7_500]);
    await serve(store, 'small', 'acc_small', 1_000);
    expect(await retry(store, 'large', 'acc_large')).toEqual(receiptOf('large'));
    expect([store.answers, store.answerBytes]).toEqual([5, 5_000]);
  });

  it('take nothing from others for an answer that is larger than all the room', async () => {
    const store = new MemoryStore(() => 0, { maxAnswerBytes: 1_000 });
    await serve(store, 'small', 'acc_1', 1_000);
    await serve(store, 'large', 'acc_1', 1_001);
    expect(await retry(store, 'large', 'acc_1')).toEqual(receiptOf('large'));
    expect(await retry(store, 'small', 'acc_1')).toMatchObject({ kind: 'answer' });
    expect([store.records, store.answers, store.answerBytes]).toEqual([2, 1, 1_000]);
  });

  it('give way only as far as they have to, from who has most, its oldest first, whatever is kept', async () => {
    const MAX_BYTES = 4_000;
    const step = fc.record({
      account: fc.oneof(fc.nat(3), fc.nat(11)),
      bytes: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 1_500 }), fc.integer({ min: 3_000, max: 4_000 })),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
        const store = new MemoryStore(() => 0, { maxAnswerBytes: MAX_BYTES });
        let there: { name: string; account: number; bytes: number }[] = [];
        const heldBy = (account: number): number =>
          there.filter((each) => each.account === account).reduce((sum, each) => sum + each.bytes, 0);
        for (const [index, { account, bytes }] of steps.entries()) {
          const newest = { name: `k-${index}`, account, bytes };
          const before = [...there, newest];
          await serve(store, newest.name, `acc_${account}`, bytes);
          const findings = await Promise.all(before.map((each) => store.claim(each.name, by('retry', `acc_${each.account}`))));
          there = before.filter((_, at) => findings[at]?.kind === 'answer');
          const gone = before.filter((each) => !there.includes(each));
          const total = there.reduce((sum, each) => sum + each.bytes, 0);
          expect([store.answers, store.answerBytes]).toEqual([there.length, total]);
          expect(total).toBeLessThanOrEqual(MAX_BYTES);
          expect(there).toContain(newest);
          if (gone.length === 0) continue;
          // The last that gave way had to.
          expect(total).toBeGreaterThan(MAX_BYTES - Math.max(...gone.map((each) => each.bytes)));
          for (const giver of new Set(gone.map((each) => each.account))) {
            const own = before.filter((each) => each.account === giver);
            const given = own.filter((each) => gone.includes(each));
            expect(given).toEqual(own.slice(0, given.length));
            // Until then it had at least as much as any other, but for one that has nothing else than the newest.
            const had = heldBy(giver) + (given.at(-1)?.bytes ?? 0);
            for (const each of there) {
              const onlyNewest = each.account === account && heldBy(account) === bytes;
              if (!onlyNewest) expect(had).toBeGreaterThanOrEqual(heldBy(each.account));
            }
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it('leave places to accounts that hold few keys, however many others take all they can', async () => {
    const MAX_RECORDS = 1_024;
    const store = new MemoryStore(() => 0, { maxRecords: MAX_RECORDS });
    let keys = 0;
    const take = async (accountId: string): Promise<number> => {
      for (let taken = 0; taken < MAX_RECORDS; taken++) {
        const { kind } = await store.claim(`${accountId}/${taken}`, by(`${keys++}`, accountId));
        if (kind !== 'claimed') return taken;
      }
      return MAX_RECORDS;
    };
    for (let hoarder = 0; hoarder < 40; hoarder++) await take(`acc_hoarder-${hoarder}`);
    for (let count = 0; count < 64; count++) expect(await take(`acc_new-${count}`)).toBe(1);
  });

  it('are remembered beyond what there is room for where they were charged: of a claim that was lost meanwhile', async () => {
    const store = new MemoryStore(() => 0, { maxRecords: 1 });
    await serve(store, '1', 'acc_1', 10);
    expect(await store.settle('2', by('a', 'acc_2'))).toBe(true);
    expect(await store.keep('2', by('a', 'acc_2'), answer(10))).toBe(true);
    expect(await retry(store, '2', 'acc_2')).toMatchObject({ kind: 'answer' });
    expect(await retry(store, '3', 'acc_3')).toEqual({ kind: 'full' });
  });

  it('give their room back when they are a day old', async () => {
    let nowMs = 0;
    const store = new MemoryStore(() => nowMs, { maxRecords: 2 });
    await serve(store, 'old', 'acc_1', 100);
    nowMs = KEPT_MS - 1;
    expect(await retry(store, 'new', 'acc_1')).toEqual({ kind: 'full' });
    nowMs = KEPT_MS;
    await serve(store, 'new', 'acc_1', 50);
    expect([store.records, store.answers, store.answerBytes]).toEqual([1, 1, 50]);
    // A key that is claimed anew has no room of its former answer.
    nowMs = 2 * KEPT_MS;
    await store.claim('new', by('b'));
    expect([store.records, store.answers, store.answerBytes]).toEqual([1, 0, 0]);
  });

  it('hold no more memory than what they count', async () => {
    const store = new MemoryStore(() => 0);
    const part = Buffer.alloc(1_000, 1).subarray(0, 10);
    await store.keep('k', by('a'), { kind: 'answer', sealed: part });
    const found = await store.claim('k', by('b'));
    if (found.kind !== 'answer') throw new Error(found.kind);
    expect(found.sealed).toEqual(part);
    expect(found.sealed.buffer.byteLength).toBe(10);
  });

  it('come to what they say, never serve again what was charged, and leave everyone their share, in any order of events', async () => {
    const MAX_BYTES = 4_000;
    const MAX_RECORDS = 24;
    const step = fc.record({
      name: fc.nat(6),
      account: fc.nat(3),
      bytes: fc.integer({ min: 1, max: 900 }),
      end: fc.constantFrom('keep', 'keep', 'keep', 'receipt', 'release', 'nothing'),
      passMs: fc.constantFrom(0, 0, 0, 1_000, KEPT_MS / 32),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 40, maxLength: 150 }), async (steps) => {
        let nowMs = 0;
        const store = new MemoryStore(() => nowMs, { maxAnswerBytes: MAX_BYTES, maxRecords: MAX_RECORDS });
        const charged = new Map<string, { untilMs: number; bytes: number; account: number }>();
        let owners = 0;
        /** The most that each account ever had to keep at one time. */
        const mostBytes = [0, 0, 0, 0];
        for (const { name: number, account, bytes, end, passMs } of steps) {
          nowMs += passMs;
          const accountId = `acc_${account}`;
          const name = `${accountId}/${number}`;
          const owner: Claim = { owner: `o${owners++}`, fingerprint: 'f', requestId: 'r', accountId };
          const finding = await store.claim(name, owner);
          const before = charged.get(name);
          if (before !== undefined && before.untilMs > nowMs) expect(['answer', 'receipt']).toContain(finding.kind);
          if (finding.kind !== 'claimed') continue;
          if (end === 'release') await store.release(name, owner.owner);
          if (end === 'keep' || end === 'receipt') {
            expect(await store.settle(name, owner)).toBe(true);
            await store.keep(name, owner, end === 'keep' ? answer(bytes) : { kind: 'receipt', reason: 'cut' });
            charged.set(name, { untilMs: nowMs + KEPT_MS, bytes: end === 'keep' ? bytes : 0, account });
            const own = [...charged.values()].filter((each) => each.account === account && each.untilMs > nowMs);
            mostBytes[account] = Math.max(
              mostBytes[account] ?? 0,
              own.reduce((sum, each) => sum + each.bytes, 0),
            );
          }
          expect(store.answerBytes).toBeLessThanOrEqual(MAX_BYTES);
          expect(store.records).toBeLessThanOrEqual(MAX_RECORDS);
        }
        let found = 0;
        let foundBytes = 0;
        for (const [name, { untilMs, bytes, account }] of charged) {
          if (untilMs <= nowMs) continue;
          const finding = await store.claim(name, { owner: 'last', fingerprint: 'f', requestId: 'r', accountId: `acc_${account}` });
          if (finding.kind === 'answer') {
            found++;
            foundBytes += finding.sealed.length;
          } else if (bytes > 0) {
            // It gave way: its account had more than a fourth, which each of four can have.
            expect(mostBytes[account]).toBeGreaterThan(MAX_BYTES / 4);
          }
        }
        expect([store.answers, store.answerBytes]).toEqual([found, foundBytes]);
      }),
      { numRuns: 200 },
    );
  });
});
