import { budgetId } from '@meridian/domain/budget';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMetrics } from '../telemetry/metrics.ts';
import type { Attempt, Denial, Grant, Holder, LeaseSignal, Question } from './questions.ts';
import { type LeaseConnection, QuestionsRunner } from './questions-runner.ts';

const budget = (index: number) => ({ capId: `cap_${index}`, windowStartMs: 0 });

/** A database that answers when it is told to. */
class Database {
  readonly waiting: { readonly questions: readonly Question[]; answer(attempts: readonly Attempt[]): void; fail(): void }[] = [];

  attempt(questions: readonly Question[]): Promise<Attempt[]> {
    return new Promise((resolve, reject) => {
      this.waiting.push({
        questions,
        answer: (attempts) => resolve([...attempts]),
        fail: () => reject(new Error('no connection')),
      });
    });
  }

  grantsOf(): Promise<Grant[]> {
    return Promise.resolve([]);
  }

  holders(): Promise<Map<string, Holder[]>> {
    return Promise.resolve(new Map());
  }

  overdrawnHolders(): Promise<Map<string, Holder[]>> {
    return Promise.resolve(new Map());
  }

  /** Grants all that waits. */
  grantAll(): void {
    for (const { questions, answer } of this.waiting.splice(0)) answer(questions.map(grantOf));
  }
}

function grantOf({ spoolId, budget: ref }: Question): Attempt {
  return { type: 'granted', grants: [{ leaseId: `${spoolId} ${budgetId(ref)}`, spoolId, budget: ref, granted: 1 }] };
}

const SHORT: Attempt = { type: 'short', book: { limit: 10, settled: 10, held: 0 }, own: undefined, others: [] };

let database: Database;
let runner: QuestionsRunner;
let signals: LeaseSignal[];
const answered: string[] = [];
const denied: Denial[] = [];

beforeEach(() => {
  database = new Database();
  signals = [];
  answered.length = 0;
  denied.length = 0;
  runner = new QuestionsRunner({
    leases: database,
    clock: { nowMs: Date.now },
    newRecallId: () => 1,
    frozen: () => false,
    signal: (signal) => signals.push(signal),
    maxConcurrent: 2,
    metrics: createMetrics(),
    logger: pino({ level: 'silent' }),
  });
});
afterEach(async () => {
  database.grantAll();
  await runner.close();
});

function connect(spoolId: string): LeaseConnection & { ask1(index: number, questionId: number): void } {
  const connection = runner.connect(spoolId, {
    grants: (questionId) => answered.push(`${spoolId} ${questionId}`),
    denial: (denial) => denied.push(denial),
    recall: () => undefined,
    closed: () => undefined,
    cut: () => undefined,
  });
  const ask1 = (index: number, questionId: number): void =>
    connection.ask({ questionId, budget: budget(index), need: 1, want: 1, ratePer30s: 0 });
  return { ...connection, ask1 };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('the runner', () => {
  it('tries together what a node asks in one moment', async () => {
    const a = connect('a');
    for (let index = 1; index <= 10; index++) a.ask1(index, index);
    await turn();
    expect(database.waiting.map(({ questions }) => questions.length)).toEqual([10]);
  });

  it('has one transaction a budget: what is asked of it meanwhile shares the next one', async () => {
    const nodes = ['a', 'b', 'c', 'd'].map(connect);
    nodes[0]?.ask1(1, 1);
    await turn();
    for (const each of nodes.slice(1)) each.ask1(1, 1);
    await turn();
    expect(database.waiting).toHaveLength(1);
    database.grantAll();
    await turn();
    expect(database.waiting.map(({ questions }) => questions.map(({ spoolId }) => spoolId))).toEqual([['b', 'c', 'd']]);
    database.grantAll();
    await turn();
    expect(answered).toEqual(['a 1', 'b 1', 'c 1', 'd 1']);
  });

  it('keeps no node waiting for a budget that another one asks of', async () => {
    const [a, b] = [connect('a'), connect('b')];
    a.ask1(1, 1);
    await turn();
    b.ask1(1, 1);
    b.ask1(2, 2);
    await turn();
    expect(database.waiting[1]?.questions.map(({ budget: ref }) => ref.capId)).toEqual(['cap_2']);
  });

  it('has no more transactions at a time than connections', async () => {
    for (let index = 1; index <= 5; index++) connect(`n${index}`).ask1(index, 1);
    await turn();
    expect(database.waiting).toHaveLength(2);
    database.waiting.shift()?.answer([SHORT]);
    await turn();
    expect(database.waiting).toHaveLength(2);
    expect(denied).toHaveLength(1);
  });

  it('answers unreachable where the database cannot be asked', async () => {
    const a = connect('a');
    a.ask1(1, 1);
    a.ask1(2, 2);
    await turn();
    database.waiting.shift()?.fail();
    await turn();
    expect(denied.map(({ questionId, reason }) => `${questionId} ${reason}`)).toEqual(['1 unreachable', '2 unreachable']);
  });

  it('tries denied questions of others again when something was given back, and tells the other replicas once', async () => {
    for (const name of ['a', 'b']) connect(name).ask1(1, 1);
    await turn();
    database.waiting.shift()?.answer([SHORT, SHORT]);
    await turn();
    const record = { leaseId: 'l1', budget: budget(1), granted: 5, returned: 0, used: 0, closed: false };
    runner.ingested('b', [record]);
    await turn();
    expect(database.waiting).toEqual([]);
    runner.ingested('b', [{ ...record, returned: 2 }]);
    runner.ingested('b', [{ ...record, returned: 2 }]);
    await turn();
    expect(database.waiting.map(({ questions }) => questions)).toMatchObject([[{ spoolId: 'a', questionId: 0 }]]);
    expect(signals).toEqual([{ type: 'room', budgetIds: [budgetId(budget(1))], givenBackBy: 'b' }]);
  });
});
