/** What a credential of a provider is, and how it is published. */
import type { ConfigEntry } from '@meridian/domain/snapshot';

export const SEALING_NONCE_BYTES = 12;
export const MAX_SECRET_CHARS = 4_096;

export interface CredentialRow {
  readonly id: string;
  readonly provider_id: string;
  readonly name: string;
  readonly sealed: Buffer;
  readonly last_four: string;
  readonly enabled: boolean;
  readonly version: number;
  readonly created_at: Date;
}

/** The secret travels sealed: only a node that holds the key can open it. */
export function credentialEntry(row: CredentialRow): ConfigEntry {
  return {
    kind: 'credential',
    id: row.id,
    version: row.version,
    body: { kind: 'credential', value: { id: row.id, providerId: row.provider_id, sealed: row.sealed, enabled: row.enabled } },
  };
}

/** What may be shown of a secret: its last four characters, or nothing where they would be a good part of it. */
export function lastFour(secret: string): string {
  return secret.length >= 16 ? secret.slice(-4) : '';
}
