/** Headers → principal, before a byte of the body is read. */
import { hashApiKey, isWellFormedApiKey } from '@meridian/domain/api-key';
import { GatewayError } from '@meridian/domain/error';
import type { Region } from '@meridian/domain/region';
import type { Account, ApiKey, Plan } from '@meridian/domain/snapshot';
import type { KeyTable, TierStanding } from './key-table.ts';

/** Who asks, with the terms that hold for the whole request. */
export interface Principal {
  readonly key: ApiKey;
  readonly account: Account;
  readonly plan: Plan;
  readonly standing: TierStanding;
}

export interface AuthenticateSettings {
  readonly keyPrefix: string;
  readonly pepper: Uint8Array;
  readonly region: Region;
  /** Base URLs of the regions, named to a key that is used in the wrong one. */
  readonly regionUrls: Readonly<Record<Region, string>>;
}

/** The credential headers of all dialects; the values as the client sent them. */
export interface CredentialHeaders {
  readonly authorization?: string | undefined;
  readonly 'x-api-key'?: string | string[] | undefined;
  readonly 'x-goog-api-key'?: string | string[] | undefined;
}

/**
 * The key a client presents, from whichever header its SDK uses, or from `?key=`, where Google's clients may put it; undefined when it
 * presents none. `url` is the path with its query.
 */
export function presentedKey(headers: CredentialHeaders, url = ''): string | undefined {
  const authorization = headers.authorization;
  if (authorization !== undefined) return /^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? '';
  const direct = headers['x-api-key'] ?? headers['x-goog-api-key'];
  if (typeof direct === 'string') return direct;
  const queryAt = url.indexOf('?');
  return queryAt === -1 ? undefined : (new URLSearchParams(url.slice(queryAt + 1)).get('key') ?? undefined);
}

/** Throws GatewayError 401 (`invalid_api_key`), 403 (`insufficient_tier`, `wrong_region`) or 503 while the node has no price ladder. */
export function authenticate(keys: KeyTable, settings: AuthenticateSettings, presented: string | undefined, nowMs: number): Principal {
  if (presented === undefined) {
    throw new GatewayError('invalid_api_key', { message: 'No API key was given. Send it as "Authorization: Bearer <key>".' });
  }
  if (!isWellFormedApiKey(settings.keyPrefix, presented)) {
    throw new GatewayError('invalid_api_key', {
      message: 'The API key is malformed: its form or its checksum is wrong. Check that it was copied whole.',
    });
  }
  const key = keys.keyByHash(hashApiKey(settings.pepper, presented));
  if (key === undefined) throw new GatewayError('invalid_api_key', { message: 'There is no such API key.' });
  if (key.status !== 'active') throw new GatewayError('invalid_api_key', { message: `This API key has been ${key.status}.` });
  if (key.expiresAtMs !== undefined && key.expiresAtMs <= nowMs)
    throw new GatewayError('invalid_api_key', { message: 'This API key has expired.' });

  const account = keys.account(key.accountId);
  const member = keys.member(key.memberId);
  if (account === undefined || member === undefined) {
    throw new GatewayError('overloaded', { message: 'The account of this key is not known here yet.', retryAfterSeconds: 1 });
  }
  if (account.status !== 'active') throw new GatewayError('invalid_api_key', { message: 'The account of this API key is disabled.' });
  if (member.status !== 'active') throw new GatewayError('invalid_api_key', { message: 'The member who made this API key is disabled.' });

  const plan = keys.plan(account.planId);
  if (plan?.apiAccess !== true) throw new GatewayError('insufficient_tier');
  if (key.allowedRegions.length > 0 && !key.allowedRegions.includes(settings.region)) {
    const regions = key.allowedRegions.map((region) => ({ region, base_url: settings.regionUrls[region] ?? null }));
    throw new GatewayError('wrong_region', {
      message: `This key may be used in ${key.allowedRegions.join(', ')}, not in ${settings.region}.`,
      details: { regions },
    });
  }
  const standing = keys.tierOf(account.id);
  if (standing === undefined) throw new GatewayError('overloaded', { message: 'Prices are not known here yet.', retryAfterSeconds: 1 });
  return { key, account, plan, standing };
}
