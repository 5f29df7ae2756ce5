import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { published } from '../snapshots/published.ts';

describe('aliases for a few', () => {
  let http: TestHttp;
  beforeAll(async () => {
    http = await testHttp();
    const models = ['opus-4.7', 'gpt-9', 'mini'].map((id) => ({ id, vendor: 'acme' }));
    await http.admin('POST', '/admin/v1/models', { data: [...models, { id: 'embed', vendor: 'acme', mode: 'embedding' }] });
    await http.admin('POST', '/admin/v1/plans', { id: 'pro', name: 'Pro', api_access: true });
  });
  afterAll(() => http.close());

  const make = (body: object) => http.admin('POST', '/admin/v1/aliases', body);
  const errorOf = (answer: { statusCode: number; json(): { error: { code: string; param: string | null } } }) => [
    answer.statusCode,
    answer.json().error.code,
    answer.json().error.param,
  ];

  it('may be the name of another model, with a setting, and keep the name from nobody else', async () => {
    const { accountId } = await http.account('mapped');
    const other = await http.account('mapped too');
    const mapping = { name: 'Opus-4.7', model_id: 'gpt-9', account_id: accountId, reasoning_effort: 'high' };
    const id = `opus-4-7@ACCOUNT:${accountId}`;
    const made = await make(mapping);
    expect(made.statusCode).toBe(201);
    expect(made.json().data).toEqual([{ id, object: 'alias', ...mapping, plan_id: null }]);
    expect((await make({ ...mapping, account_id: other.accountId })).statusCode).toBe(201);
    expect((await make({ name: 'opus-4-7', model_id: 'mini', plan_id: 'pro' })).statusCode).toBe(201);
    // The same again is no error, anything else is.
    expect((await make(mapping)).statusCode).toBe(201);
    expect(errorOf(await make({ ...mapping, reasoning_effort: 'low' }))).toEqual([409, 'conflict', null]);
    expect((await published(http.db, id)).map(({ lane, entry }) => [lane, entry.version, entry.body?.value])).toEqual([
      ['catalog', 1, { name: 'Opus-4.7', modelId: 'gpt-9', accountId, settings: { reasoningEffort: 'high' } }],
    ]);
    expect((await published(http.db, 'opus-4-7@PLAN:pro'))[0]?.entry.body?.value).toEqual({
      name: 'opus-4-7',
      modelId: 'mini',
      planId: 'pro',
    });
    // Nobody's names have changed beside theirs.
    expect((await http.admin('GET', '/admin/v1/models/opus-4.7')).json().id).toBe('opus-4.7');
    const listed = async (query: string): Promise<string[]> =>
      (await http.admin('GET', `/admin/v1/aliases?${query}`)).json().data.map((alias: { id: string }) => alias.id);
    expect(await listed(`account_id=${accountId}`)).toEqual([id]);
    expect(await listed('plan_id=pro')).toEqual(['opus-4-7@PLAN:pro']);
    expect((await listed('')).length).toBeGreaterThanOrEqual(3);
  });

  it('are changed and deleted by their id, each a new version, with the trail telling what was before', async () => {
    const { accountId } = await http.account('changed');
    const id = `nick@ACCOUNT:${accountId}`;
    await make({ name: 'nick', model_id: 'gpt-9', account_id: accountId });
    const path = `/admin/v1/aliases/${encodeURIComponent(id)}`;
    expect((await http.admin('PATCH', path, { reasoning_effort: 'xhigh' })).json()).toMatchObject({
      model_id: 'gpt-9',
      reasoning_effort: 'xhigh',
    });
    expect((await http.admin('PATCH', path, { model_id: 'mini' })).json()).toMatchObject({ model_id: 'mini', reasoning_effort: 'xhigh' });
    expect((await http.admin('PATCH', path, { reasoning_effort: null })).json()).toMatchObject({ reasoning_effort: null });
    expect((await http.admin('DELETE', path)).json()).toEqual({ id, object: 'alias', deleted: true });
    expect((await http.admin('PATCH', path, { model_id: 'mini' })).statusCode).toBe(404);
    expect((await http.admin('DELETE', path)).statusCode).toBe(404);
    await make({ name: 'nick', model_id: 'gpt-9', account_id: accountId });
    expect((await published(http.db, id)).map(({ entry }) => [entry.version, entry.body?.value])).toEqual([
      [1, { name: 'nick', modelId: 'gpt-9', accountId }],
      [2, { name: 'nick', modelId: 'gpt-9', accountId, settings: { reasoningEffort: 'xhigh' } }],
      [3, { name: 'nick', modelId: 'mini', accountId, settings: { reasoningEffort: 'xhigh' } }],
      [4, { name: 'nick', modelId: 'mini', accountId }],
      [5, undefined],
      [6, { name: 'nick', modelId: 'gpt-9', accountId }],
    ]);
    const trail = (await http.admin('GET', `/admin/v1/trail?object_id=${encodeURIComponent(id)}&limit=100`)).json().data;
    type Change = { after: { reasoning_effort?: string } };
    const change = trail.find((event: { changes: Change[] }) => event.changes.some((one) => one.after.reasoning_effort === 'xhigh'));
    expect(change).toMatchObject({
      route: 'PATCH /admin/v1/aliases/:id',
      changes: [{ kind: 'alias', id, before: { reasoning_effort: null }, after: { reasoning_effort: 'xhigh' } }],
    });
  });

  it('that undo a mapping, or repeat what everybody has, leave both as they were when they go', async () => {
    const { accountId } = await http.account('undone');
    await make({ name: 'shared', model_id: 'mini' });
    for (const [name, model_id] of [
      ['opus-4.7', 'opus-4.7'],
      ['shared', 'mini'],
    ]) {
      const made = await make({ name, model_id, account_id: accountId });
      expect(made.statusCode).toBe(201);
      const path = `/admin/v1/aliases/${encodeURIComponent(made.json().data[0].id)}`;
      expect((await http.admin('PATCH', path, { model_id: 'gpt-9' })).statusCode).toBe(200);
      expect((await http.admin('GET', `/admin/v1/models/${name}`)).json().id).toBe(model_id);
      expect((await http.admin('PATCH', path, { model_id })).statusCode).toBe(200);
      expect((await http.admin('DELETE', path)).statusCode).toBe(200);
      expect((await http.admin('GET', `/admin/v1/models/${name}`)).json().id).toBe(model_id);
    }
  });

  it('of everybody are changed and deleted by their name as well, and free it', async () => {
    await make({ name: 'Free-1.0', model_id: 'gpt-9' });
    expect((await http.admin('PATCH', '/admin/v1/aliases/FREE-1.0', { model_id: 'mini', reasoning_effort: 'none' })).json()).toMatchObject({
      id: 'free-1-0',
      model_id: 'mini',
      reasoning_effort: 'none',
    });
    expect((await http.admin('GET', '/admin/v1/models/free-1.0')).json().id).toBe('mini');
    expect((await http.admin('DELETE', '/admin/v1/aliases/Free-1-0')).json().id).toBe('free-1-0');
    expect((await http.admin('POST', '/admin/v1/models', { id: 'free-1.0', vendor: 'acme' })).statusCode).toBe(201);
  });

  it.each([
    ['both an account and a plan', { account_id: 'acc_1', plan_id: 'pro' }, 'plan_id'],
    ['an account that is not there', { account_id: 'acc_nobody' }, 'account_id'],
    ['a plan that is not there', { plan_id: 'nothing' }, 'plan_id'],
    ['an alias in the place of a model', { model_id: 'once' }, 'model_id'],
    ['an effort that is none', { reasoning_effort: 'furious' }, 'reasoning_effort'],
    ['an effort of a model that is not for chat', { model_id: 'embed', reasoning_effort: 'low' }, 'reasoning_effort'],
    ['a name that could be an id', { name: 'once@PLAN:pro' }, 'name'],
  ])('refuse %s', async (_, change, param) => {
    await make({ name: 'once', model_id: 'mini' });
    expect(errorOf(await make({ name: 'twice', model_id: 'mini', ...change }))).toEqual([400, 'invalid_request_error', param]);
  });

  it('tell the models that a key of the account may use', async () => {
    const { accountId, token } = await http.account('keyed');
    const keyModels = async (models: string[]): Promise<unknown> =>
      (await http.as(token, 'POST', '/v1/keys', { name: 'k', models })).json().models;
    await make({ name: 'opus-4.7', model_id: 'gpt-9', account_id: accountId });
    expect(await keyModels(['opus-4-7', 'acme/opus-4.7'])).toEqual(['gpt-9', 'opus-4.7']);
    const other = await http.account('not mapped');
    expect((await http.as(other.token, 'POST', '/v1/keys', { name: 'k', models: ['opus-4.7'] })).json().models).toEqual(['opus-4.7']);
    const { account, owner } = await http.services.accounts.create({ name: 'A', ownerName: 'O', planId: 'pro' });
    const session = await http.services.sessions.mint(owner.id, account.id, 3_600);
    await make({ name: 'ours', model_id: 'mini', plan_id: 'pro' });
    const key = (await http.as(session.token, 'POST', '/v1/keys', { name: 'k', models: ['ours'] })).json();
    expect(key.models).toEqual(['mini']);
    await make({ name: 'ours', model_id: 'gpt-9', account_id: account.id });
    expect((await http.as(session.token, 'PATCH', `/v1/keys/${key.id}`, { models: ['ours'] })).json().models).toEqual(['gpt-9']);
  });
});
