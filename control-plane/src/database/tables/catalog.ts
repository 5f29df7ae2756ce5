/** Tables of migrations 0003_catalog, 0018_alias_scopes and 0019_provider_ways. */
import type { DialectName, Operation } from '@meridian/domain/dialect';
import type { Modality, ModelMode, ReasoningEffort } from '@meridian/domain/model';
import type { ColumnType, Generated } from 'kysely';

/** One rate card as it is stored: amounts are nano-USD per million units, in decimal digits. */
export interface StoredCard {
  readonly service_tier: string;
  readonly above_input_tokens: number;
  readonly prices: Readonly<Record<string, string>>;
}

export interface ProviderTable {
  id: string;
  name: string;
  origin: string;
  base_path: string;
  adapter: string;
  enabled: boolean;
  auth_header: string | null;
  auth_prefix: string | null;
  quirks: ColumnType<string[], string[] | undefined, string[]>;
  default_credential_id: ColumnType<string | null, string | null | undefined, string | null>;
  version: Generated<number>;
  created_at: Date;
}

export interface CredentialTable {
  id: string;
  provider_id: string;
  name: string;
  sealed: Buffer;
  last_four: string;
  enabled: boolean;
  version: Generated<number>;
  created_at: Date;
}

export interface ModelTable {
  id: string;
  vendor: string;
  display_name: string;
  mode: ModelMode;
  context_tokens: number | null;
  max_output_tokens: number | null;
  input_modalities: Modality[];
  output_modalities: Modality[];
  capabilities: string[];
  hides_reasoning: boolean;
  enabled: boolean;
  version: Generated<number>;
  created_at: Date;
}

export interface ModelNameTable {
  name: string;
  model_id: string;
}

export interface AliasTable {
  id: string;
  name: string;
  written: string;
  model_id: string;
  account_id: string | null;
  plan_id: string | null;
  reasoning_effort: ReasoningEffort | null;
  deleted: Generated<boolean>;
  version: Generated<number>;
}

export interface EndpointTable {
  id: string;
  model_id: string;
  provider_id: string;
  credential_id: string | null;
  upstream_model: string;
  dialect: DialectName;
  operations: Operation[];
  regions: string[];
  priority: number;
  enabled: boolean;
  version: Generated<number>;
  created_at: Date;
}

/** Written as JSON text, read back parsed. */
type Cards = ColumnType<StoredCard[], string, never>;

export interface EndpointCostTable {
  endpoint_id: string;
  version: number;
  effective_from: Date;
  cards: Cards;
  created_at: Date;
}

export interface ListPriceTable {
  model_id: string;
  version: number;
  effective_from: Date;
  cards: Cards;
  created_at: Date;
}

export interface SeedItemTable {
  kind: string;
  id: string;
  content_hash: string;
  applied_at: Date;
}

export interface CatalogTables {
  provider: ProviderTable;
  credential: CredentialTable;
  model: ModelTable;
  model_name: ModelNameTable;
  alias: AliasTable;
  endpoint: EndpointTable;
  endpoint_cost: EndpointCostTable;
  list_price: ListPriceTable;
  seed_item: SeedItemTable;
}
