/** Models in OpenAI's shape, with what our customers ask about added. */
import type { ListedModel, ModelList } from '../listed-model.ts';

export interface ModelObject {
  readonly id: string;
  readonly object: 'model';
  /** Seconds since 1970. */
  readonly created: number;
  readonly owned_by: string;
  readonly [extension: string]: unknown;
}

/** All at once: OpenAI's list has no pages. */
function list(models: readonly ListedModel[]): { readonly object: 'list'; readonly data: ModelObject[] } {
  return { object: 'list', data: models.map(one) };
}

function one({ id, model, createdMs, endpoints, aliases, prices }: ListedModel): ModelObject {
  return {
    id,
    object: 'model',
    created: Math.floor(createdMs / 1000),
    owned_by: model.vendor,
    name: model.displayName,
    context_length: model.contextTokens ?? null,
    max_output_tokens: model.maxOutputTokens ?? null,
    input_modalities: model.inputModalities,
    output_modalities: model.outputModalities,
    capabilities: model.capabilities,
    supported_endpoints: endpoints,
    aliases,
    pricing: prices,
  };
}

export const openaiModelList = { list, one } satisfies ModelList;
