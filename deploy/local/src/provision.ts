/**
 * Fills a fresh control plane through its own API: providers and their credentials, an account with a member, credit and a key.
 * Running it again changes nothing that is already so.
 */
import { type ApiClient, listField, textField } from './operator.ts';

export interface ProviderTarget {
  readonly providerId: string;
  /** Scheme, host, port. */
  readonly origin: string;
  readonly basePath: string;
  readonly apiKey: string;
}

/** Splits a base URL such as https://api.openai.com/v1 into what a provider row holds. */
export function providerTarget(providerId: string, baseUrl: string, apiKey: string): ProviderTarget {
  const url = new URL(baseUrl);
  return { providerId, origin: url.origin, basePath: url.pathname.replace(/\/+$/, ''), apiKey };
}

/** Points a provider at an origin and gives its credential the key. */
export async function provisionProvider(operator: ApiClient, target: ProviderTarget): Promise<void> {
  await operator.patch(`/admin/v1/providers/${target.providerId}`, { origin: target.origin, base_path: target.basePath, enabled: true });
  const credentials = listField(await operator.get('/admin/v1/credentials'));
  const existing = credentials.find((credential) => credential.provider_id === target.providerId);
  if (existing === undefined)
    await operator.post('/admin/v1/credentials', { provider_id: target.providerId, name: 'local', secret: target.apiKey });
  else await operator.patch(`/admin/v1/credentials/${textField(existing, 'id')}`, { secret: target.apiKey });
}

export interface Customer {
  readonly accountId: string;
  readonly memberId: string;
  readonly accountToken: string;
}

/** Finds the account of that name or makes it, and mints a token for its owner. */
export async function provisionAccount(operator: ApiClient, name: string, creditUsd: string): Promise<Customer> {
  const existing = listField(await operator.get('/admin/v1/accounts?limit=100')).find((account) => account.name === name);
  const account = existing ?? (await operator.post('/admin/v1/accounts', { name, plan_id: 'starter' }));
  const accountId = textField(account, 'id');
  await operator.post(
    `/admin/v1/accounts/${accountId}/credits`,
    { type: 'topup', amount_usd: creditUsd },
    { 'idempotency-key': `first-credit-${accountId}` },
  );
  const token = await operator.post(`/admin/v1/accounts/${accountId}/tokens`, {});
  return { accountId, memberId: textField(token, 'member_id'), accountToken: textField(token, 'token') };
}

/** A new key; its text is in the answer this once. */
export async function provisionKey(account: ApiClient, name: string): Promise<string> {
  return textField(await account.post('/v1/keys', { name }), 'key');
}

/** Whether the key still works, asked of a node. */
export async function keyWorks(nodeUrl: string, key: string): Promise<boolean> {
  const response = await fetch(`${nodeUrl}/v1/me`, { headers: { authorization: `Bearer ${key}` } });
  await response.arrayBuffer();
  return response.ok;
}
