/** What can be called: models by every name, endpoints in the order they are tried, opened credentials, as the picture fills them in. */
import { type AliasScope, type Model, modelNames, normalizeModelName, scopedAliasId } from '@meridian/domain/model';
import type { Alias, Endpoint, PriceBook, Provider } from '@meridian/domain/snapshot';
import type { Catalogue, NamedModel } from '../routing/catalogue.ts';

export class PictureCatalogue implements Catalogue {
  readonly #models = new Map<string, Model>();
  /** Normalised name → ids of the models that answer to it by themselves. */
  readonly #ownNames = new NameIndex();
  /** By id, which tells name and scope. */
  readonly #aliases = new Map<string, Alias>();
  /** Normalised name → how many accounts and plans have it for themselves, so that all other names are looked up once. */
  readonly #scopedNames = new Map<string, number>();
  /** Model id → ids of its aliases for everybody. */
  readonly #aliasesByModel = new NameIndex();
  /** Account or plan → ids of its aliases: as many accounts may have the same name as there are. */
  readonly #aliasesByScope = new Map<string, Set<string>>();
  readonly #endpointsByModel = new Map<string, readonly Endpoint[]>();
  readonly #providers = new Map<string, Provider>();
  readonly #secrets = new Map<string, string>();
  readonly #priceBooks = new Map<string, PriceBook>();

  modelByName(name: string, asker: AliasScope): NamedModel | undefined {
    const normalized = normalizeModelName(name);
    const scoped = this.#scopedNames.has(normalized) ? this.#aliasOf(normalized, asker) : undefined;
    if (scoped !== undefined) return this.#aliased(scoped);
    const own = this.#ownNames.first(normalized);
    if (own !== undefined) {
      const model = this.#models.get(own);
      return model === undefined ? undefined : { model, viaAlias: false, settings: undefined };
    }
    const alias = this.#aliases.get(normalized);
    return alias === undefined ? undefined : this.#aliased(alias);
  }

  model(id: string): Model | undefined {
    return this.#models.get(id);
  }

  models(): Iterable<Model> {
    return this.#models.values();
  }

  aliasesOf(modelId: string, { accountId, planId }: AliasScope): readonly string[] {
    const ids = [...this.#aliasesByModel.all(modelId)];
    for (const scope of [scopeOf({ accountId }), scopeOf({ planId })]) {
      for (const id of this.#aliasesByScope.get(scope) ?? []) if (this.#aliases.get(id)?.modelId === modelId) ids.push(id);
    }
    return ids.sort().map((id) => this.#aliases.get(id)?.name ?? id);
  }

  endpointsOf(modelId: string): readonly Endpoint[] {
    return this.#endpointsByModel.get(modelId) ?? [];
  }

  provider(id: string): Provider | undefined {
    return this.#providers.get(id);
  }

  credentialSecret(id: string): string | undefined {
    return this.#secrets.get(id);
  }

  priceBook(modelId: string): PriceBook | undefined {
    return this.#priceBooks.get(modelId);
  }

  setModel(before: Model | undefined, model: Model | undefined): void {
    if (before !== undefined) {
      for (const name of modelNames(before)) this.#ownNames.remove(name, before.id);
      this.#models.delete(before.id);
    }
    if (model !== undefined) {
      for (const name of modelNames(model)) this.#ownNames.add(name, model.id);
      this.#models.set(model.id, model);
    }
  }

  setAlias(id: string, before: Alias | undefined, alias: Alias | undefined): void {
    if (before !== undefined) {
      this.#aliases.delete(id);
      if (isScoped(before)) this.#forgetScoped(id, before);
      else this.#aliasesByModel.remove(before.modelId, id);
    }
    if (alias !== undefined) {
      this.#aliases.set(id, alias);
      if (isScoped(alias)) this.#rememberScoped(id, alias);
      else this.#aliasesByModel.add(alias.modelId, id);
    }
  }

  setEndpoint(before: Endpoint | undefined, endpoint: Endpoint | undefined): void {
    if (before !== undefined) {
      const rest = this.endpointsOf(before.modelId).filter((other) => other.id !== before.id);
      if (rest.length === 0) this.#endpointsByModel.delete(before.modelId);
      else this.#endpointsByModel.set(before.modelId, rest);
    }
    if (endpoint !== undefined) {
      const all = [...this.endpointsOf(endpoint.modelId), endpoint];
      this.#endpointsByModel.set(
        endpoint.modelId,
        all.sort((a, b) => a.priority - b.priority || (a.id < b.id ? -1 : 1)),
      );
    }
  }

  setProvider(id: string, provider: Provider | undefined): void {
    if (provider === undefined) this.#providers.delete(id);
    else this.#providers.set(id, provider);
  }

  setSecret(credentialId: string, secret: string | undefined): void {
    if (secret === undefined) this.#secrets.delete(credentialId);
    else this.#secrets.set(credentialId, secret);
  }

  setPriceBook(modelId: string, book: PriceBook | undefined): void {
    if (book === undefined) this.#priceBooks.delete(modelId);
    else this.#priceBooks.set(modelId, book);
  }

  #rememberScoped(id: string, alias: Alias): void {
    const name = normalizeModelName(alias.name);
    this.#scopedNames.set(name, (this.#scopedNames.get(name) ?? 0) + 1);
    const ids = this.#aliasesByScope.get(scopeOf(alias));
    if (ids === undefined) this.#aliasesByScope.set(scopeOf(alias), new Set([id]));
    else ids.add(id);
  }

  #forgetScoped(id: string, alias: Alias): void {
    const name = normalizeModelName(alias.name);
    const others = (this.#scopedNames.get(name) ?? 0) - 1;
    if (others > 0) this.#scopedNames.set(name, others);
    else this.#scopedNames.delete(name);
    const ids = this.#aliasesByScope.get(scopeOf(alias));
    ids?.delete(id);
    if (ids?.size === 0) this.#aliasesByScope.delete(scopeOf(alias));
  }

  /** The account's own goes before its plan's. */
  #aliasOf(normalized: string, { accountId, planId }: AliasScope): Alias | undefined {
    const ofAccount = accountId === undefined ? undefined : this.#aliases.get(scopedAliasId(normalized, accountId, undefined));
    if (ofAccount !== undefined || planId === undefined) return ofAccount;
    return this.#aliases.get(scopedAliasId(normalized, undefined, planId));
  }

  /** A name whose model is not there stands for nothing: what it hides is another one than was asked for. */
  #aliased({ modelId, settings }: Alias): NamedModel | undefined {
    const model = this.#models.get(modelId);
    return model === undefined ? undefined : { model, viaAlias: true, settings };
  }
}

/** Name → ids in ascending order, so that two claims to one name resolve alike on every node, whichever came first. */
class NameIndex {
  readonly #ids = new Map<string, readonly string[]>();

  first(name: string): string | undefined {
    return this.#ids.get(name)?.[0];
  }

  all(name: string): readonly string[] {
    return this.#ids.get(name) ?? [];
  }

  add(name: string, id: string): void {
    if (!this.all(name).includes(id)) this.#ids.set(name, [...this.all(name), id].sort());
  }

  remove(name: string, id: string): void {
    const rest = this.all(name).filter((other) => other !== id);
    if (rest.length === 0) this.#ids.delete(name);
    else this.#ids.set(name, rest);
  }
}

function isScoped({ accountId, planId }: AliasScope): boolean {
  return accountId !== undefined || planId !== undefined;
}

/** What the ids of its aliases end in; empty for everybody. */
function scopeOf({ accountId, planId }: AliasScope): string {
  return scopedAliasId('', accountId, planId);
}
