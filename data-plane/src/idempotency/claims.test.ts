import { afterEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from '../telemetry/logger.ts';
import { Deadlines } from '../upstream/deadline.ts';
import { Claims, type Verdict } from './claims.ts';
import { MemoryStore } from './memory-store.ts';
import { type Claim, type Kept, LEASE_MS } from './record.ts';
import { Unsaved } from './unsaved.ts';

const log = createLogger('silent', {});
const ANSWER: Kept = { kind: 'answer', sealed: Buffer.alloc(1_000, 1) };
const by = (owner: string): Claim => ({ owner, fingerprint: 'f1', requestId: `req_${owner}`, accountId: 'acc_1' });

/** A node with a clock that is held; several may share a store, as the nodes of a region do. */
function region(maxWaitingRequests?: number) {
  let timeMs = 0;
  const deadlines = new Deadlines({ nowMs: () => timeMs });
  const store = new MemoryStore(() => timeMs);
  let owners = 0;
  const node = () => {
    const unsaved = new Unsaved(store, deadlines, log);
    const claims = new Claims({
      store,
      unsaved,
      timers: deadlines,
      log,
      newOwner: () => `o${owners++}`,
      ...(maxWaitingRequests === undefined ? {} : { maxWaitingRequests }),
    });
    return {
      claims,
      unsaved,
      enter(request: string, fingerprint = 'f1') {
        const told: Verdict[] = [];
        const leave = claims.enter('k', { fingerprint, requestId: request, accountId: 'acc_1' }, (verdict) => told.push(verdict));
        return { told, leave };
      },
    };
  };
  return {
    store,
    deadlines,
    node,
    async pass(ms: number): Promise<void> {
      for (let passed = 0; passed < ms; passed += 250) {
        timeMs += 250;
        deadlines.advance();
        await turn();
      }
    },
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function held(told: readonly Verdict[]): Promise<Extract<Verdict, { kind: 'claimed' }>['hold']> {
  await turn();
  const [verdict] = told;
  if (verdict?.kind !== 'claimed') throw new Error(`not claimed but ${verdict?.kind}`);
  return verdict.hold;
}

afterEach(() => vi.restoreAllMocks());

describe('the line of an idempotency key', () => {
  it('serves in the order of arrival what is released, and tells the rest what is kept', async () => {
    const { claims, enter } = region().node();
    const places = ['r1', 'r2', 'r3'].map((request) => enter(request));
    await (await held(places[0]?.told ?? [])).release();
    expect(places[2]?.told).toEqual([]);
    await (await held(places[1]?.told ?? [])).keep(ANSWER);
    await turn();
    expect(places[2]?.told).toEqual([{ kind: 'answer', requestId: 'r2', sealed: ANSWER.kind === 'answer' ? ANSWER.sealed : undefined }]);
    expect([claims.waiting, claims.lines]).toEqual([0, 0]);
  });

  it('asks once for all who wait for another node, and not after the last has left', async () => {
    const { node, store, pass, deadlines } = region();
    const [one, two] = [node(), node()];
    const hold = await held(one.enter('r1').told);
    const places = Array.from({ length: 20 }, (_, index) => two.enter(`w${index}`));
    await turn();
    const claim = vi.spyOn(store, 'claim');
    await pass(1_000);
    const asked = claim.mock.calls.filter(([, { requestId }]) => requestId.startsWith('w'));
    expect(asked.length).toBeGreaterThanOrEqual(2);
    expect(asked.length).toBeLessThanOrEqual(4);
    for (const { leave } of places) leave();
    await turn();
    expect([two.claims.waiting, two.claims.lines]).toEqual([0, 0]);
    claim.mockClear();
    await pass(1_000);
    expect(claim.mock.calls.filter(([, { requestId }]) => requestId.startsWith('w'))).toEqual([]);
    await hold.release();
    await turn();
    expect(one.claims.lines).toBe(0);
    expect(deadlines.size).toBe(0);
  });

  it('gives back what was claimed for a client that has left meanwhile, and serves the next', async () => {
    const { node, store } = region();
    const { claims, enter } = node();
    const first = enter('r1');
    const second = enter('r2');
    first.leave();
    expect(first.told).toEqual([{ kind: 'left' }]);
    const hold = await held(second.told);
    expect((await store.claim('k', by('x'))).kind).toBe('running');
    await hold.release();
    await turn();
    expect(first.told).toHaveLength(1);
    expect(claims.lines).toBe(0);
    expect((await store.claim('k', by('x'))).kind).toBe('claimed');
  });

  it('tells each body what it is to the one that is served, whichever came first', async () => {
    const { node, store } = region();
    const { enter } = node();
    await store.keep('k', by('x'), ANSWER);
    const wrong = enter('r1', 'f2');
    const right = enter('r2', 'f1');
    await turn();
    expect([wrong.told[0]?.kind, right.told[0]?.kind]).toEqual(['other_body', 'answer']);
  });

  it('lets no more wait than it may, and says that the first still runs', async () => {
    const { claims, enter } = region(2).node();
    const places = ['r1', 'r2', 'r3', 'r4'].map((request) => enter(request));
    const hold = await held(places[0]?.told ?? []);
    expect(claims.waiting).toBe(2);
    expect(places[3]?.told).toEqual([{ kind: 'running', requestId: expect.any(String) }]);
    await hold.keep(ANSWER);
    await turn();
    expect(places.slice(1, 3).map(({ told }) => told[0]?.kind)).toEqual(['answer', 'answer']);
  });

  it('is free when a node is gone that renews its claim no more, and not before', async () => {
    const { node, store, pass } = region();
    await store.claim('k', by('dead'));
    const { told } = node().enter('r1');
    await turn();
    await pass(LEASE_MS - 500);
    expect(told).toEqual([]);
    await pass(1_000);
    await (await held(told)).release();
  });

  it('refuses all of a line while the store is away, and frees what may have been claimed', async () => {
    const { node, store } = region();
    const { claims, enter } = node();
    const { claim } = store;
    // The store has it, and the answer of the store is lost.
    const lost = vi.spyOn(store, 'claim').mockImplementation(async (...args) => {
      await claim.apply(store, args);
      throw new Error('away');
    });
    const places = [enter('r1'), enter('r2')];
    await turn();
    expect(places.map(({ told }) => told[0]?.kind)).toEqual(['away', 'away']);
    expect([claims.waiting, claims.lines]).toEqual([0, 0]);
    lost.mockRestore();
    await (await held(enter('r3').told)).release();
  });
});

describe('what is owed to a store that is away', () => {
  it('is saved before the key is asked for', async () => {
    const { node, store } = region();
    const { enter, unsaved } = node();
    const hold = await held(enter('r1').told);
    const away = vi.spyOn(store, 'keep').mockRejectedValue(new Error('away'));
    await hold.keep(ANSWER);
    expect(unsaved.size).toBe(1);
    // Its claim has run out by then, and it is still the one that was charged.
    away.mockRestore();
    await store.release('k', 'o0');
    const again = enter('r2');
    await turn();
    expect(again.told).toMatchObject([{ kind: 'answer', requestId: 'r1' }]);
    expect(unsaved.size).toBe(0);
  });

  it('is saved in a while, as often as it takes', async () => {
    const { store, deadlines, pass } = region();
    const unsaved = new Unsaved(store, deadlines, log);
    const away = vi.spyOn(store, 'keep').mockRejectedValue(new Error('away'));
    unsaved.add('k', by('a'), ANSWER);
    await pass(5_000);
    expect(away.mock.calls.length).toBeGreaterThanOrEqual(3);
    expect(unsaved.size).toBe(1);
    away.mockRestore();
    await pass(1_500);
    expect(unsaved.size).toBe(0);
    expect((await store.claim('k', by('b'))).kind).toBe('answer');
    expect(deadlines.size).toBe(0);
  });

  it('becomes a receipt where there is no room for the answer, and the oldest gives way where there is none for that', async () => {
    const { store, deadlines, pass } = region();
    const unsaved = new Unsaved(store, deadlines, log, 2_100);
    const alarms = vi.spyOn(log, 'error');
    const away = vi.spyOn(store, 'keep').mockRejectedValue(new Error('away'));
    unsaved.add('k1', by('a'), ANSWER);
    unsaved.add('k2', by('b'), ANSWER);
    expect(alarms).not.toHaveBeenCalled();
    unsaved.add('k3', by('c'), ANSWER);
    expect(alarms).toHaveBeenCalledExactlyOnceWith({ request_id: 'req_a' }, expect.stringContaining('no room'));
    away.mockRestore();
    await pass(1_500);
    const found = await Promise.all(['k1', 'k2', 'k3'].map((name) => store.claim(name, by('z'))));
    expect(found.map(({ kind }) => kind)).toEqual(['claimed', 'receipt', 'receipt']);
  });
});
