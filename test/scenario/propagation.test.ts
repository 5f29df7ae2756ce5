/** How fast a key works on every node after it was created, and stops after it was revoked. */
import { ApiClient, textField } from '@meridian/local/operator';
import { keyWorks, provisionAccount } from '@meridian/local/provision';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGIONS, until, World } from '../world/world.ts';

const ROUNDS = 25;
const LIMIT_MS = 1_000;

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world?.stop());

function summary(name: string, times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(0);
  return `${name}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms over ${sorted.length}`;
}

describe('a key', () => {
  it(`works on both nodes within ${LIMIT_MS} ms of its creation, and stops within ${LIMIT_MS} ms of its revocation`, async () => {
    const created: number[] = [];
    const revoked: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const made = await world.account.post('/v1/keys', { name: `round ${round}` });
      const key = textField(made, 'key');
      const atCreation = performance.now();
      await Promise.all(REGIONS.map((region) => until(() => keyWorks(world.url(region), key), `the key to work in ${region}`)));
      created.push(performance.now() - atCreation);

      const gone = await world.account.delete(`/v1/keys/${textField(made, 'id')}`);
      const atRevocation = performance.now();
      expect(gone).toMatchObject({ deleted: true, rev: expect.anything() });
      await Promise.all(
        REGIONS.map((region) => until(async () => !(await keyWorks(world.url(region), key)), `the key to stop in ${region}`)),
      );
      revoked.push(performance.now() - atRevocation);
    }
    console.log(summary('created → works on both nodes', created));
    console.log(summary('revoked → stops on both nodes', revoked));
    expect(Math.max(...created, ...revoked)).toBeLessThan(LIMIT_MS);
  });

  it('that is revoked is reported as applied by every node', async () => {
    const made = await world.account.post('/v1/keys', { name: 'told' });
    const gone = await world.account.delete(`/v1/keys/${textField(made, 'id')}`);
    await until(async () => {
      const told = await world.operator.get(`/admin/v1/propagation?lane=SECURITY&rev=${String(gone.rev)}`);
      return Array.isArray(told.applied) && told.applied.length === REGIONS.length;
    }, 'both nodes to have applied the revocation');
  });

  it('of an account without credit is refused with 402, and works after a top-up', async () => {
    const poor = await world.operator.post('/admin/v1/accounts', { name: 'Without credit', plan_id: 'starter' });
    const accountId = textField(poor, 'id');
    const token = textField(await world.operator.post(`/admin/v1/accounts/${accountId}/tokens`, {}), 'token');
    const key = textField(await new ApiClient(world.controlUrl, token).post('/v1/keys', { name: 'poor' }), 'key');
    await until(() => keyWorks(world.url('us'), key), 'the key to be known');
    const ask = (): Promise<Response> =>
      fetch(`${world.url('us')}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'gpt-5.4-mini', messages: [{ role: 'user', content: 'Hi' }] }),
      });
    const refused = await ask();
    expect(refused.status).toBe(402);
    expect(await refused.json()).toMatchObject({
      error: { code: 'insufficient_credits', type: 'insufficient_credits', scope: 'account', window: 'prepaid', left_usd: '0.00' },
    });
    await world.operator.post(
      `/admin/v1/accounts/${accountId}/credits`,
      { type: 'topup', amount_usd: '10' },
      { 'idempotency-key': 'first' },
    );
    await until(async () => (await ask()).status === 200, 'the credit to arrive at the node', 3_000);
  });

  it('of a disabled account, or of a plan without API access, is refused', async () => {
    const other = await provisionAccount(world.operator, 'Soon disabled', '5');
    const key = textField(await new ApiClient(world.controlUrl, other.accountToken).post('/v1/keys', { name: 'k' }), 'key');
    await until(() => keyWorks(world.url('eu'), key), 'the key to work');
    await world.operator.post(`/admin/v1/accounts/${other.accountId}/disable`, {});
    await until(async () => !(await keyWorks(world.url('eu'), key)), 'the account to be refused', LIMIT_MS);
  });
});
