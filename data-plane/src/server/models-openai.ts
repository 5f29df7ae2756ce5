/** Models in OpenAI's shape, with what our customers ask about added. */
import type { Operation } from '@meridian/domain/dialect';
import type { CallableModel } from './callable-models.ts';

/** Where each operation can be asked for, in every dialect. */
const ENDPOINTS: Readonly<Record<Operation, readonly string[]>> = {
  chat: [
    '/v1/chat/completions',
    '/v1/responses',
    '/v1/messages',
    '/genai/v1beta/models/{model}:generateContent',
    '/genai/v1beta/models/{model}:streamGenerateContent',
  ],
  embeddings: ['/v1/embeddings', '/genai/v1beta/models/{model}:embedContent', '/genai/v1beta/models/{model}:batchEmbedContents'],
};

export interface OpenaiModel {
  readonly id: string;
  readonly object: 'model';
  /** Seconds since 1970. */
  readonly created: number;
  readonly owned_by: string;
  readonly [extension: string]: unknown;
}

/** All at once: OpenAI's list has no pages. */
export function openaiModels(models: readonly CallableModel[]): { readonly object: 'list'; readonly data: OpenaiModel[] } {
  return { object: 'list', data: models.map(openaiModel) };
}

export function openaiModel({ id, model, createdMs, operations, aliases, prices }: CallableModel): OpenaiModel {
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
    supported_endpoints: operations.flatMap((operation) => ENDPOINTS[operation]),
    aliases,
    pricing: prices,
  };
}
