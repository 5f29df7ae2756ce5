/** A model as a client is told of it, and the contract of a dialect's way to tell it. */
import type { CustomerPriceCard } from '@meridian/domain/customer-price';
import type { Operation } from '@meridian/domain/dialect';
import type { Model } from '@meridian/domain/model';
import type { Query } from './page-query.ts';

export interface ListedModel {
  /** A name by which this key reaches it: its own, unless the account has that name for another model. */
  readonly id: string;
  readonly model: Model;
  /** When its first price came into force (ms since 1970). */
  readonly createdMs: number;
  /** What can be asked of it; never empty. */
  readonly operations: readonly Operation[];
  /** Where that can be asked, in every dialect. */
  readonly endpoints: readonly string[];
  /** The other names by which this key reaches it. */
  readonly aliases: readonly string[];
  /** At the account's present markup. */
  readonly prices: readonly CustomerPriceCard[];
}

export interface ModelList {
  /** `models` are in the order of their ids. Throws GatewayError 400 for a page that cannot be told. */
  list(models: readonly ListedModel[], query: Query): unknown;
  one(model: ListedModel): unknown;
}
