/** What routing needs to know of the configuration; the picture in `control/` satisfies it. All lookups are in memory. */
import type { Model } from '@meridian/domain/model';
import type { Endpoint, PriceBook, Provider } from '@meridian/domain/snapshot';

export interface Catalogue {
  /** By any name it answers to: bare, prefixed, dots or dashes, alias. */
  modelByName(name: string): { readonly model: Model; readonly viaAlias: boolean } | undefined;
  model(id: string): Model | undefined;
  models(): Iterable<Model>;
  /** Other names that point at the model, as written. */
  aliasesOf(modelId: string): readonly string[];
  /** Enabled and disabled ones, by priority. */
  endpointsOf(modelId: string): readonly Endpoint[];
  provider(id: string): Provider | undefined;
  /** The plain secret, opened once when the entry arrived; undefined when disabled, absent or not to be opened. */
  credentialSecret(id: string): string | undefined;
  priceBook(modelId: string): PriceBook | undefined;
}
