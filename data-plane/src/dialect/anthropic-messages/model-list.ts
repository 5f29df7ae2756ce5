/** Models in Anthropic's shape, a page at a time: those that can be asked for messages. */
import type { ListedModel, ModelList } from '../listed-model.ts';
import { countParameter, invalid, type Query, textParameter } from '../page-query.ts';

const PAGE_MODELS = { least: 1, most: 1000, fallback: 20 };

export interface ModelInfo {
  readonly type: 'model';
  readonly id: string;
  readonly display_name: string;
  /** RFC 3339 in UTC. */
  readonly created_at: string;
  readonly max_input_tokens: number | null;
  readonly max_tokens: number | null;
  /** Not told: of Anthropic's own features the catalogue knows some, and the object has to have all. */
  readonly capabilities: null;
}

export interface ModelPage {
  readonly data: ModelInfo[];
  readonly has_more: boolean;
  readonly first_id: string | null;
  readonly last_id: string | null;
}

/** By id. `limit`, and `after_id` or `before_id`, which need not be listed any more. Throws GatewayError 400. */
function list(models: readonly ListedModel[], query: Query): ModelPage {
  const limit = countParameter(query, 'limit', PAGE_MODELS);
  const after = textParameter(query, 'after_id');
  const before = textParameter(query, 'before_id');
  if (after !== undefined && before !== undefined) throw invalid('before_id', "cannot stand beside 'after_id'");
  const chat = models.filter(({ operations }) => operations.includes('chat'));
  const rest = chat.filter(({ id }) => (after === undefined || id > after) && (before === undefined || id < before));
  const data = (before === undefined ? rest.slice(0, limit) : rest.slice(-limit)).map(one);
  return { data, has_more: rest.length > limit, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
}

function one({ id, model, createdMs }: ListedModel): ModelInfo {
  return {
    type: 'model',
    id,
    display_name: model.displayName,
    created_at: new Date(createdMs).toISOString(),
    max_input_tokens: model.contextTokens ?? null,
    max_tokens: model.maxOutputTokens ?? null,
    capabilities: null,
  };
}

export const anthropicModelList = { list, one } satisfies ModelList;
