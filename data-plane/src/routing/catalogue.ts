/** What routing needs to know of the configuration; the picture in `control/` satisfies it. All lookups are in memory. */
import type { AliasScope, Model, ModelSettings } from '@meridian/domain/model';
import type { Endpoint, PriceBook, Provider } from '@meridian/domain/snapshot';

/** What a name stands for. */
export interface NamedModel {
  readonly model: Model;
  readonly viaAlias: boolean;
  /** How an alias wants its model to be used. */
  readonly settings: ModelSettings | undefined;
}

export interface Catalogue {
  /**
   * By any name it answers to for whoever asks: an alias of the account, one of its plan, the model's own names (bare, prefixed,
   * dots or dashes), an alias for everybody, in this order.
   */
  modelByName(name: string, asker: AliasScope): NamedModel | undefined;
  model(id: string): Model | undefined;
  models(): Iterable<Model>;
  /** Names that are made for the model, for everybody or for whoever asks, as written. One for a few may hide one for more. */
  aliasesOf(modelId: string, asker: AliasScope): readonly string[];
  /** Enabled and disabled ones, by priority. */
  endpointsOf(modelId: string): readonly Endpoint[];
  provider(id: string): Provider | undefined;
  /** The plain secret, opened once when the entry arrived; undefined when disabled, absent or not to be opened. */
  credentialSecret(id: string): string | undefined;
  priceBook(modelId: string): PriceBook | undefined;
}
