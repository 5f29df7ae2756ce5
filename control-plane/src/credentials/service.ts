/** Use cases of credentials: the keys we call providers with, sealed at rest and never given out again. */
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import { sealSecret } from '@meridian/domain/sealed-secret';
import type { CatalogService } from '../catalog/service.ts';
import type { Database } from '../database/connect.ts';
import { transaction } from '../database/transaction.ts';
import type { Publish } from '../snapshots/publish.ts';
import { type CredentialRow, credentialEntry, lastFour, SEALING_NONCE_BYTES } from './credential.ts';
import * as store from './store.ts';

export interface CredentialDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  readonly catalog: CatalogService;
  /** 32 bytes, the same on every node. */
  readonly sealingKey: Uint8Array;
}

export interface NewCredential {
  readonly providerId: string;
  readonly name: string;
  readonly secret: string;
  /** Take the place of the provider's default credential; the first one always does. */
  readonly makeDefault: boolean;
}

export interface CredentialChange {
  readonly name?: string | undefined;
  readonly secret?: string | undefined;
  readonly enabled?: boolean | undefined;
  readonly makeDefault?: boolean | undefined;
}

export class CredentialService {
  readonly #deps: CredentialDeps;

  constructor(deps: CredentialDeps) {
    this.#deps = deps;
  }

  async create(input: NewCredential): Promise<CredentialRow> {
    const { ids, catalog, publish } = this.#deps;
    return transaction(this.#deps.db, async (trx) => {
      const provider = await catalog.requireProviderIn(trx, input.providerId);
      const id = newId('crd', ids);
      const row = await store.insertCredential(trx, {
        id,
        provider_id: provider.id,
        name: input.name,
        ...this.#seal(id, input.secret),
        enabled: true,
        created_at: new Date(ids.nowMs()),
      });
      const isDefault = input.makeDefault || provider.default_credential_id === null;
      const moved = isDefault ? await catalog.setDefaultCredentialIn(trx, provider.id, id) : [];
      await publish(trx, 'catalog', [credentialEntry(row), ...moved]);
      return row;
    });
  }

  /** A new secret takes the place of the old one under the same id. Throws `not_found`. */
  async change(id: string, change: CredentialChange): Promise<CredentialRow> {
    return transaction(this.#deps.db, async (trx) => {
      const row = await store.updateCredential(trx, id, {
        ...(change.name === undefined ? {} : { name: change.name }),
        ...(change.enabled === undefined ? {} : { enabled: change.enabled }),
        ...(change.secret === undefined ? {} : this.#seal(id, change.secret)),
      });
      if (row === undefined) throw new GatewayError('not_found', { message: `There is no credential ${id}.` });
      const moved = change.makeDefault ? await this.#deps.catalog.setDefaultCredentialIn(trx, row.provider_id, id) : [];
      await this.#deps.publish(trx, 'catalog', [credentialEntry(row), ...moved]);
      return row;
    });
  }

  list(): Promise<CredentialRow[]> {
    return store.listCredentials(this.#deps.db);
  }

  #seal(id: string, secret: string): { sealed: Buffer; last_four: string } {
    const sealed = sealSecret(this.#deps.sealingKey, id, secret, this.#deps.ids.randomBytes(SEALING_NONCE_BYTES));
    return { sealed: Buffer.from(sealed), last_four: lastFour(secret) };
  }
}
