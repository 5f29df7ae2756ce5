import { type BudgetBook, budgetId } from '@meridian/domain/budget';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  type Attempt,
  type Denial,
  type Grant,
  LeaseQuestions,
  type LeaseSignal,
  MAX_QUESTIONS_A_SPOOL,
  type OtherHolder,
  type Question,
  type QuestionsEffect,
  type QuestionsInput,
  RECALL_TIMEOUT_MS,
  REMEMBERED_MS,
} from './questions.ts';

const BUDGET = { capId: 'cap_1', windowStartMs: 0 };
const ID = budgetId(BUDGET);
const BOOK: BudgetBook = { limit: 1_000, settled: 200, held: 700 };

let machine: LeaseQuestions;
let nowMs: number;
let frozen: boolean;
let lastRecallId: number;
let log: QuestionsEffect[];

beforeEach(() => {
  nowMs = 1_000_000;
  frozen = false;
  lastRecallId = 100;
  machine = new LeaseQuestions({
    newRecallId: () => {
      lastRecallId += 1;
      return lastRecallId;
    },
    frozen: () => frozen,
  });
  log = [];
});

function step(input: QuestionsInput): QuestionsEffect[] {
  const effects = machine.step(input, nowMs);
  log.push(...effects);
  return effects;
}

function connect(...spools: string[]): void {
  for (const spoolId of spools) step({ type: 'connected', spoolId, streamId: 1 });
}

function question(spoolId: string, need: number, questionId = 1): Question {
  return { spoolId, streamId: 1, questionId, budget: BUDGET, need, want: need, ratePer30s: 0 };
}

function ask(spoolId: string, need: number, questionId = 1): Question {
  const asked = question(spoolId, need, questionId);
  expect(step({ type: 'question', question: asked })).toEqual([{ type: 'attempt', question: asked }]);
  return asked;
}

const attempted = (asked: Question, attempt: Attempt) => step({ type: 'attempted', question: asked, attempt });
const grantTo = (spoolId: string, granted = 500): Grant => ({ leaseId: `lease_${spoolId}`, spoolId, budget: BUDGET, granted });
const holder = (spoolId: string, held = 100, total = 500): OtherHolder => ({ leaseId: `lease_${spoolId}`, spoolId, held, granted: total });
const granted = (spoolId: string): Attempt => ({ type: 'granted', grants: [grantTo(spoolId)] });

function short(others: readonly OtherHolder[], book: Partial<BudgetBook> = {}, own?: Grant): Attempt {
  return { type: 'short', book: { ...BOOK, ...book }, own, others };
}

function recallsOf(effects: readonly QuestionsEffect[]) {
  return effects.filter((effect) => effect.type === 'recall');
}

function denialsOf(effects: readonly QuestionsEffect[]): Denial[] {
  return effects.filter((effect) => effect.type === 'denial').map((effect) => effect.denial);
}

function signalsOf(effects: readonly QuestionsEffect[]): LeaseSignal[] {
  return effects.filter((effect) => effect.type === 'signal').map((effect) => effect.signal);
}

describe('a question that can be met', () => {
  it('is tried, and its grants are told to the stream that asked', () => {
    connect('a');
    const asked = ask('a', 50, 7);
    expect(attempted(asked, granted('a'))).toEqual([{ type: 'grants', spoolId: 'a', questionId: 7, grants: [grantTo('a')] }]);
  });

  it('of a stream that is gone is told through another replica', () => {
    connect('a');
    const asked = ask('a', 50);
    step({ type: 'disconnected', spoolId: 'a', streamId: 1 });
    expect(signalsOf(attempted(asked, granted('a')))).toEqual([{ type: 'refresh', spoolId: 'a', leaseIds: ['lease_a'] }]);
  });

  it('of an older stream is told to the newer one as something that it did not ask for', () => {
    connect('a');
    const asked = ask('a', 50, 3);
    step({ type: 'connected', spoolId: 'a', streamId: 2 });
    step({ type: 'disconnected', spoolId: 'a', streamId: 1 });
    expect(attempted(asked, granted('a'))).toEqual([{ type: 'grants', spoolId: 'a', questionId: 0, grants: [grantTo('a')] }]);
  });
});

describe('a shortage', () => {
  it('asks every other holder, tries again with each answer, and grants as soon as there is enough', () => {
    connect('a', 'b', 'c');
    const asked = ask('a', 150);
    const recalls = recallsOf(attempted(asked, short([holder('b'), holder('c')])));
    expect(recalls).toEqual([
      { type: 'recall', spoolId: 'b', recallId: 101, leaseId: 'lease_b', retire: false },
      { type: 'recall', spoolId: 'c', recallId: 102, leaseId: 'lease_c', retire: false },
    ]);
    expect(step({ type: 'recall_answered', spoolId: 'b', recallId: 101 })).toEqual([{ type: 'attempt', question: asked }]);
    expect(attempted(asked, granted('a'))).toHaveLength(1);
    expect(machine.shortages).toBe(0);
    expect(machine.nextDeadlineMs).toBeUndefined();
  });

  it('is exhausted only when all have answered and what is left does not suffice', () => {
    connect('a', 'b', 'c');
    const asked = ask('a', 250);
    attempted(asked, short([holder('b'), holder('c')]));
    step({ type: 'recall_answered', spoolId: 'b', recallId: 101 });
    expect(attempted(asked, short([holder('c')], { held: 600 }))).toEqual([]);
    step({ type: 'recall_answered', spoolId: 'c', recallId: 102 });
    const denied = attempted(asked, short([holder('c', 20)], { held: 570 }, grantTo('a')));
    expect(denied).toEqual([
      // What it was granted is told again: it may have been lost between two streams.
      { type: 'grants', spoolId: 'a', questionId: 0, grants: [grantTo('a')] },
      {
        type: 'denial',
        spoolId: 'a',
        denial: { questionId: 1, budget: BUDGET, reason: 'exhausted', left: 230, book: { ...BOOK, held: 570 } },
      },
    ]);
  });

  it('is exhausted at once when all others together hold too little', () => {
    connect('a', 'b');
    const asked = ask('a', 301);
    const [denial] = denialsOf(attempted(asked, short([holder('b', 200)])));
    expect(denial).toMatchObject({ reason: 'exhausted', left: 300 });
    expect(recallsOf(log)).toEqual([]);
  });

  it('does not take an attempt for the last word that began before the last answer came', () => {
    connect('a', 'b', 'c');
    const asked = ask('a', 150);
    attempted(asked, short([holder('b'), holder('c')]));
    step({ type: 'recall_answered', spoolId: 'b', recallId: 101 });
    // While that is tried, the other one answers, too: what the attempt saw of it is old.
    step({ type: 'recall_answered', spoolId: 'c', recallId: 102 });
    expect(attempted(asked, short([holder('c')]))).toEqual([{ type: 'attempt', question: asked }]);
    expect(denialsOf(log)).toEqual([]);
  });

  it('asks holders as well that have come up since', () => {
    connect('a', 'b', 'd');
    const asked = ask('a', 150);
    attempted(asked, short([holder('b')]));
    step({ type: 'recall_answered', spoolId: 'b', recallId: 101 });
    expect(recallsOf(attempted(asked, short([holder('d')])))).toMatchObject([{ spoolId: 'd', leaseId: 'lease_d' }]);
  });

  it('is unreachable when it hangs on a holder that does not answer in time, after one more try', () => {
    connect('a', 'b');
    const asked = ask('a', 150);
    attempted(asked, short([holder('b')]));
    expect(machine.nextDeadlineMs).toBe(nowMs + RECALL_TIMEOUT_MS);
    nowMs += RECALL_TIMEOUT_MS - 1;
    expect(step({ type: 'tick' })).toEqual([]);
    nowMs += 1;
    expect(step({ type: 'tick' })).toEqual([{ type: 'attempt', question: asked }]);
    expect(denialsOf(attempted(asked, short([holder('b')])))).toMatchObject([{ reason: 'unreachable' }]);
    expect(machine.shortages).toBe(0);
  });

  it('is met at the deadline where the answer was lost and the return was not', () => {
    connect('a');
    const asked = ask('a', 150);
    expect(signalsOf(attempted(asked, short([holder('elsewhere')])))).toMatchObject([{ type: 'recall', spoolId: 'elsewhere' }]);
    nowMs += RECALL_TIMEOUT_MS;
    step({ type: 'tick' });
    expect(attempted(asked, granted('a'))).toMatchObject([{ type: 'grants', questionId: 1 }]);
  });

  it('is exhausted in spite of a silent holder whose share would not suffice', () => {
    connect('a', 'b', 'c');
    const asked = ask('a', 250);
    attempted(asked, short([holder('b', 140), holder('c', 30)]));
    step({ type: 'recall_answered', spoolId: 'b', recallId: 101 });
    expect(denialsOf(attempted(asked, short([holder('c', 30)], { held: 600 })))).toMatchObject([{ reason: 'exhausted', left: 230 }]);
  });

  it('asks a holder again that was granted more after it was asked, before it says that all is used up', () => {
    connect('a', 'c');
    const asked = ask('a', 250);
    attempted(asked, short([holder('c', 200, 500)], { held: 650 }));
    // Another question, of the holder's, was tried together with this one.
    expect(step({ type: 'recall_answered', spoolId: 'c', recallId: 101 })).toEqual([{ type: 'attempt', question: asked }]);
    expect(attempted(asked, short([holder('c', 150, 560)], { held: 650 }))).toMatchObject([
      { type: 'recall', recallId: 102, leaseId: 'lease_c' },
    ]);
    expect(step({ type: 'recall_answered', spoolId: 'c', recallId: 102 })).toEqual([{ type: 'attempt', question: asked }]);
    expect(denialsOf(attempted(asked, short([holder('c', 60, 560)], { held: 650 })))).toMatchObject([{ reason: 'exhausted', left: 150 }]);
  });

  it('is one at a time: others wait in line, in their order, each with recalls of its own', () => {
    connect('a', 'b', 'c');
    const first = ask('a', 150);
    attempted(first, short([holder('b'), holder('c')]));
    const second = question('b', 120);
    const third = question('c', 110);
    expect(step({ type: 'question', question: second })).toEqual([]);
    expect(step({ type: 'question', question: third })).toEqual([]);
    step({ type: 'recall_answered', spoolId: 'b', recallId: 101 });
    expect(attempted(first, granted('a'))).toContainEqual({ type: 'attempt', question: second });
    const recalls = recallsOf(attempted(second, short([holder('a', 500)])));
    expect(recalls).toMatchObject([{ spoolId: 'a' }]);
    step({ type: 'recall_answered', spoolId: 'a', recallId: recalls[0]?.recallId ?? 0 });
    expect(attempted(second, granted('b'))).toContainEqual({ type: 'attempt', question: third });
  });

  it('keeps nobody in line for longer than a recall', () => {
    connect('a', 'b', 'c');
    attempted(ask('a', 150), short([holder('c')]));
    nowMs += 100;
    step({ type: 'question', question: question('b', 120, 9) });
    nowMs += RECALL_TIMEOUT_MS;
    expect(denialsOf(step({ type: 'tick' }))).toMatchObject([{ questionId: 9, reason: 'unreachable' }]);
  });

  it('puts a newer question of a spool in the place of its older one', () => {
    connect('a', 'b', 'c');
    const first = ask('a', 150);
    attempted(first, short([holder('c')]));
    step({ type: 'question', question: question('b', 120, 1) });
    const newer = question('b', 130, 2);
    step({ type: 'question', question: newer });
    step({ type: 'recall_answered', spoolId: 'c', recallId: 101 });
    expect(attempted(first, granted('a'))).toContainEqual({ type: 'attempt', question: newer });
    attempted(newer, granted('b'));
    expect(machine.shortages).toBe(0);
  });

  it('ends with the stream that asked, and the next in line has its turn', () => {
    connect('a', 'b', 'c');
    const first = ask('a', 150);
    attempted(first, short([holder('c')]));
    const second = question('b', 120);
    step({ type: 'question', question: second });
    expect(step({ type: 'disconnected', spoolId: 'a', streamId: 1 })).toEqual([{ type: 'attempt', question: second }]);
    expect(attempted(first, short([holder('c')]))).toEqual([]);
  });

  it('recalls again what a holder was asked while it was between two streams', () => {
    connect('a');
    attempted(ask('a', 150), short([holder('b')]));
    expect(recallsOf(step({ type: 'connected', spoolId: 'b', streamId: 1 }))).toMatchObject([{ recallId: 101, leaseId: 'lease_b' }]);
  });
});

describe('a question for later', () => {
  it('is denied without a recall, and says what a need could still get', () => {
    connect('a', 'b');
    const [denial] = denialsOf(attempted(ask('a', 0), short([holder('b', 300)])));
    expect(denial).toMatchObject({ reason: 'exhausted', left: 400 });
    expect(recallsOf(log)).toEqual([]);
  });

  it('is told while the budget is short what its own node could get, not the one that is waited for', () => {
    connect('a', 'b', 'c');
    // Of 700 that are held, a has 450, b 100 and c 150.
    attempted(ask('a', 300), short([holder('b', 100), holder('c', 150)]));
    expect(denialsOf(step({ type: 'question', question: question('b', 0) }))).toMatchObject([{ reason: 'exhausted', left: 700 }]);
    step({ type: 'question', question: question('c', 400) });
    nowMs += RECALL_TIMEOUT_MS;
    expect(denialsOf(step({ type: 'tick' }))).toMatchObject([{ reason: 'unreachable', left: 650 }]);
  });

  it('is denied at once while the budget is short', () => {
    connect('a', 'b', 'c');
    attempted(ask('a', 150), short([holder('c')]));
    expect(denialsOf(step({ type: 'question', question: question('b', 0, 4) }))).toMatchObject([
      { questionId: 4, reason: 'exhausted', left: 800 },
    ]);
  });
});

describe('a denied question', () => {
  function deny(spoolId: string, need = 500): void {
    attempted(ask(spoolId, need), short([]));
    expect(denialsOf(log).at(-1)).toMatchObject({ reason: 'exhausted' });
  }

  it('is tried again when there is more room, here and at the other replicas', () => {
    connect('a', 'b');
    deny('a');
    deny('b');
    const effects = step({ type: 'room', budgetIds: [ID] });
    const pushed = effects.filter((effect) => effect.type === 'attempt').map((effect) => effect.question);
    expect(pushed).toMatchObject([
      { spoolId: 'a', questionId: 0, need: 500 },
      { spoolId: 'b', questionId: 0, need: 500 },
    ]);
    expect(signalsOf(effects)).toEqual([{ type: 'room', budgetIds: [ID] }]);
    for (const again of pushed) attempted(again, again.spoolId === 'a' ? granted('a') : short([]));
    expect(log.at(-1)).toEqual({ type: 'grants', spoolId: 'a', questionId: 0, grants: [grantTo('a')] });
    // Only the one that is still denied is tried the next time.
    expect(step({ type: 'signal', signal: { type: 'room', budgetIds: [ID] } })).toMatchObject([
      { type: 'attempt', question: { spoolId: 'b' } },
    ]);
  });

  it('is not tried again for what its own node gave back, here or at another replica', () => {
    connect('a', 'b');
    deny('a');
    deny('b');
    const others = [{ type: 'attempt', question: { spoolId: 'b', questionId: 0 } }];
    const signal = { type: 'room', budgetIds: [ID], givenBackBy: 'a' } as const;
    const effects = step(signal);
    expect(effects.filter((effect) => effect.type === 'attempt')).toMatchObject(others);
    expect(signalsOf(effects)).toEqual([signal]);
    for (const effect of effects) if (effect.type === 'attempt') attempted(effect.question, short([]));
    expect(step({ type: 'signal', signal })).toMatchObject(others);
  });

  it('is forgotten after a minute', () => {
    connect('a');
    deny('a');
    nowMs += REMEMBERED_MS - 1;
    step({ type: 'tick' });
    expect(step({ type: 'signal', signal: { type: 'room', budgetIds: [ID] } })).toHaveLength(1);
    nowMs += 1;
    step({ type: 'tick' });
    expect(step({ type: 'signal', signal: { type: 'room', budgetIds: [ID] } })).toEqual([]);
  });

  it('is pushed by a return that came too late for it', () => {
    connect('a', 'b');
    const asked = ask('a', 150);
    attempted(asked, short([holder('b')]));
    nowMs += RECALL_TIMEOUT_MS;
    step({ type: 'tick' });
    attempted(asked, short([holder('b')]));
    expect(denialsOf(log)).toMatchObject([{ reason: 'unreachable' }]);
    expect(step({ type: 'recall_answered', spoolId: 'b', recallId: 101 })).toMatchObject([
      { type: 'attempt', question: { spoolId: 'a', questionId: 0, need: 150 } },
    ]);
  });

  it('is not pushed while the same push is under way, nor to a node that is gone', () => {
    connect('a');
    deny('a');
    expect(step({ type: 'signal', signal: { type: 'room', budgetIds: [ID] } })).toHaveLength(1);
    expect(step({ type: 'signal', signal: { type: 'room', budgetIds: [ID] } })).toHaveLength(0);
    connect('b');
    deny('b');
    step({ type: 'disconnected', spoolId: 'b', streamId: 1 });
    expect(step({ type: 'signal', signal: { type: 'room', budgetIds: [ID] } })).toEqual([]);
  });
});

describe('what cannot be granted', () => {
  it('is unreachable while grants are frozen, without asking the database', () => {
    connect('a');
    frozen = true;
    expect(step({ type: 'question', question: question('a', 5) })).toMatchObject([{ type: 'denial', denial: { reason: 'unreachable' } }]);
    expect(step({ type: 'signal', signal: { type: 'room', budgetIds: [ID] } })).toEqual([]);
  });

  it('is unreachable where the lease is full, which is called back to be replaced', () => {
    connect('a');
    expect(attempted(ask('a', 5), { type: 'refused', reason: 'full', retire: 'lease_a' })).toMatchObject([
      { type: 'recall', spoolId: 'a', leaseId: 'lease_a', retire: true },
      { type: 'denial', denial: { reason: 'unreachable' } },
    ]);
  });
});

describe('other replicas', () => {
  it('have recalls passed on to nodes here, and are told the answers', () => {
    connect('b');
    const recall = { type: 'recall', recallId: 7, spoolId: 'b', leaseId: 'lease_b', retire: false } as const;
    expect(step({ type: 'signal', signal: recall })).toEqual([recall]);
    expect(step({ type: 'signal', signal: { ...recall, spoolId: 'nobody', recallId: 8 } })).toEqual([]);
    expect(signalsOf(step({ type: 'recall_answered', spoolId: 'b', recallId: 7 }))).toEqual([{ type: 'answered', recallId: 7 }]);
    // Once, and only by the node that was asked.
    expect(step({ type: 'recall_answered', spoolId: 'b', recallId: 7 })).toEqual([]);
  });

  it('answer for a node that is connected there', () => {
    connect('a');
    const asked = ask('a', 150);
    const [signal] = signalsOf(attempted(asked, short([holder('b')])));
    expect(signal).toEqual({ type: 'recall', recallId: 101, spoolId: 'b', leaseId: 'lease_b', retire: false });
    expect(step({ type: 'signal', signal: { type: 'answered', recallId: 101 } })).toEqual([{ type: 'attempt', question: asked }]);
  });

  it('do not let one node answer for another', () => {
    connect('a', 'b', 'c');
    attempted(ask('a', 150), short([holder('b')]));
    expect(step({ type: 'recall_answered', spoolId: 'c', recallId: 101 })).toEqual([]);
  });
});

describe('limits', () => {
  it('end the stream of a spool that asks more than a node does', () => {
    connect('a');
    for (let index = 0; index < MAX_QUESTIONS_A_SPOOL; index++) step({ type: 'question', question: question('a', 1, index + 1) });
    expect(step({ type: 'question', question: question('a', 1, MAX_QUESTIONS_A_SPOOL + 1) })).toMatchObject([
      { type: 'cut', spoolId: 'a' },
    ]);
  });

  it('count no question that was answered', () => {
    connect('a', 'b');
    for (let index = 1; index <= 2 * MAX_QUESTIONS_A_SPOOL; index++) {
      attempted(ask('a', 1, index), index % 2 === 0 ? granted('a') : short([], { held: 800 }));
    }
    expect(log.some((effect) => effect.type === 'cut')).toBe(false);
  });

  it('recall every holder of a budget that was lowered', () => {
    connect('a');
    const effects = step({ type: 'recall_all', budgetId: ID, holders: [holder('a'), holder('b')] });
    expect(effects).toMatchObject([
      { type: 'recall', spoolId: 'a', leaseId: 'lease_a', retire: false },
      { type: 'signal', signal: { type: 'recall', spoolId: 'b' } },
    ]);
  });
});
