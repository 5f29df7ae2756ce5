import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, expect, it } from 'vitest';
import { ANSWER, chatRequest, rawClient, startTestNode, type TestNode } from './testing.ts';

let node: TestNode;
afterEach(() => node.stop());

const tier = (id: string, markupBasisPoints: number, fromSpendNano: bigint) => ({ id, name: id, fromSpendNano, markupBasisPoints });

/** The account's tier as the control plane reckoned it anew, from BULK. */
function assign(tierId: string, version: number): void {
  const value = { accountId: 'acc_1', tierId, spend30dNano: 0n, windowToMs: 0 };
  expect(node.picture.apply({ kind: 'tier_assignment', id: 'acc_1', version, body: { kind: 'tier_assignment', value } }, { bulk: 1 })).toBe(
    'applied',
  );
}

async function ask(): Promise<{ readonly answered: Promise<string> }> {
  const client = await rawClient(node.port);
  client.socket.write(chatRequest(node.apiKey, {}, ['connection: close']));
  return { answered: client.closed };
}

it('keeps the markup of a request that is under way when the account’s tier changes, and charges the next one by the new tier', async () => {
  const asked: ServerResponse[] = [];
  const arrived: (() => void)[] = [];
  const provider = (_: IncomingMessage, response: ServerResponse): void => {
    asked.push(response);
    arrived.shift()?.();
  };
  node = await startTestNode(provider);
  const tiers = [tier('dear', 10_000, 0n), tier('cheap', 0, 1n)];
  node.picture.apply({ kind: 'ladder', id: 'ladder', version: 100, body: { kind: 'ladder', value: { id: 'ladder', tiers } } });
  assign('dear', 100);
  const answerNext = async (): Promise<void> => {
    if (asked.length === 0) await new Promise<void>((resolve) => arrived.push(resolve));
    const response = asked.shift();
    response?.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
    if (response !== undefined) await once(response, 'close');
  };

  const first = await ask();
  await new Promise<void>((resolve) => {
    if (asked.length > 0) resolve();
    else arrived.push(resolve);
  });
  assign('cheap', 101);
  await answerNext();
  await first.answered;
  const second = await ask();
  await answerNext();
  await second.answered;

  const [before, after] = await node.finals(2);
  expect([before, after]).toMatchObject([
    { tierId: 'dear', markupBasisPoints: 10_000, outcome: 'success' },
    { tierId: 'cheap', markupBasisPoints: 0, outcome: 'success' },
  ]);
  expect(before?.chargeNano).toBe(2n * (after?.chargeNano ?? 0n));
  expect(after?.chargeNano).toBeGreaterThan(0n);
});
