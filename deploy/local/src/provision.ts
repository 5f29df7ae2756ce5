/**
 * Fills a fresh control plane through its own API: providers and their credentials, an account with a member, credit and a key.
 * Running it again changes nothing that is already so.
 */
import { type ApiClient, ApiError, type Json, listField, textField } from './operator.ts';

const CREDENTIAL_NAME = 'local';
/** An account token lasts as long as somebody may leave a terminal open. */
const TOKEN_SECONDS = 30 * 24 * 60 * 60;
const PAGE_ITEMS = 1_000;

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
  await provisionCredential(operator, target.providerId, target.apiKey);
}

/** Gives a secret to the provider's credential of ours; credentials that an operator made are left alone. */
export async function provisionCredential(operator: ApiClient, providerId: string, secret: string): Promise<void> {
  const credentials = listField(await operator.get('/admin/v1/credentials'));
  const ours = credentials.find(({ provider_id, name }) => provider_id === providerId && name === CREDENTIAL_NAME);
  if (ours === undefined) await operator.post('/admin/v1/credentials', { provider_id: providerId, name: CREDENTIAL_NAME, secret });
  else await operator.patch(`/admin/v1/credentials/${textField(ours, 'id')}`, { secret, enabled: true });
}

export interface Customer {
  readonly accountId: string;
  readonly memberId: string;
  readonly accountToken: string;
}

/** Finds the account of that name or makes it on a plan, and mints a token for its owner. */
export async function provisionAccount(operator: ApiClient, name: string, creditUsd: string, planId = 'starter'): Promise<Customer> {
  const account = (await oldestAccount(operator, name)) ?? (await operator.post('/admin/v1/accounts', { name, plan_id: planId }));
  const accountId = textField(account, 'id');
  await operator.post(
    `/admin/v1/accounts/${accountId}/credits`,
    { type: 'topup', amount_usd: creditUsd },
    { 'idempotency-key': `first-credit-${accountId}` },
  );
  const token = await operator.post(`/admin/v1/accounts/${accountId}/tokens`, { expires_in_seconds: TOKEN_SECONDS });
  return { accountId, memberId: textField(token, 'member_id'), accountToken: textField(token, 'token') };
}

/** Accounts come newest first, and others may have the name, too: ours was the first. */
async function oldestAccount(operator: ApiClient, name: string): Promise<Json | undefined> {
  let found: Json | undefined;
  for (let after = ''; ; ) {
    const page = await operator.get(`/admin/v1/accounts?limit=${PAGE_ITEMS}${after}`);
    const accounts = listField(page);
    found = accounts.findLast((account) => account.name === name) ?? found;
    const last = accounts.at(-1);
    if (page.has_more !== true || last === undefined) return found;
    after = `&after=${encodeURIComponent(textField(last, 'id'))}`;
  }
}

/** A new key; its text is in the answer this once. Where a member has as many as may be, the oldest of this name goes. */
export async function provisionKey(account: ApiClient, name: string): Promise<string> {
  const make = async (): Promise<string> => textField(await account.post('/v1/keys', { name }), 'key');
  try {
    return await make();
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 'conflict') throw error;
    const oldest = listField(await account.get(`/v1/keys?limit=${PAGE_ITEMS}`)).findLast((key) => key.name === name);
    if (oldest === undefined) throw error;
    await account.delete(`/v1/keys/${textField(oldest, 'id')}`);
    return make();
  }
}

/** Whether a key works, asked of a node or of the control plane. */
export async function keyWorks(nodeUrl: string, key: string): Promise<boolean> {
  const response = await fetch(`${nodeUrl}/v1/me`, { headers: { authorization: `Bearer ${key}` } });
  await response.arrayBuffer();
  return response.ok;
}
