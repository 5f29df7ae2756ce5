/** Models in Gemini's shape, a page at a time. */
import type { Operation } from '@meridian/domain/dialect';
import type { ListedModel, ModelList } from '../listed-model.ts';
import { countParameter, invalid, type Query, textParameter } from '../page-query.ts';

const PAGE_MODELS = { least: 0, most: 999_999_999, fallback: 0 };
const DEFAULT_PAGE_MODELS = 50;
const MAX_PAGE_MODELS = 1000;

/** What is asked of a model, as its path ends. */
export const METHODS: Readonly<Record<Operation, readonly string[]>> = {
  chat: ['generateContent', 'streamGenerateContent', 'countTokens'],
  embeddings: ['embedContent', 'batchEmbedContents'],
};

export interface ModelInfo {
  /** `models/` and the id. */
  readonly name: string;
  readonly displayName: string;
  readonly inputTokenLimit?: number;
  readonly outputTokenLimit?: number;
  readonly supportedGenerationMethods: readonly string[];
  readonly thinking: boolean;
}

export interface ModelPage {
  readonly models: ModelInfo[];
  /** Absent on the last page. */
  readonly nextPageToken?: string;
}

/**
 * By id. `pageSize` (0 is the default of 50, more than 1,000 are 1,000) and `pageToken`: where the page before ended, which need
 * not be listed any more. Throws GatewayError 400.
 */
function list(models: readonly ListedModel[], query: Query): ModelPage {
  const size = Math.min(countParameter(query, 'pageSize', PAGE_MODELS) || DEFAULT_PAGE_MODELS, MAX_PAGE_MODELS);
  const after = idOf(textParameter(query, 'pageToken'));
  const rest = after === undefined ? models : models.filter(({ id }) => id > after);
  const page = rest.slice(0, size);
  const last = rest.length > size ? page.at(-1) : undefined;
  return { models: page.map(one), ...(last === undefined ? {} : { nextPageToken: tokenOf(last.id) }) };
}

function one({ id, model, operations }: ListedModel): ModelInfo {
  return {
    name: `models/${id}`,
    displayName: model.displayName,
    ...(model.contextTokens === undefined ? {} : { inputTokenLimit: model.contextTokens }),
    ...(model.maxOutputTokens === undefined ? {} : { outputTokenLimit: model.maxOutputTokens }),
    supportedGenerationMethods: operations.flatMap((operation) => METHODS[operation]),
    thinking: model.capabilities.includes('reasoning'),
  };
}

function tokenOf(id: string): string {
  return Buffer.from(id).toString('base64url');
}

/** An empty token is none. */
function idOf(token: string | undefined): string | undefined {
  if (token === undefined || token === '') return undefined;
  const id = Buffer.from(token, 'base64url').toString('utf8');
  if (tokenOf(id) !== token) throw invalid('pageToken', 'must be the nextPageToken of the page before');
  return id;
}

export const geminiModelList = { list, one } satisfies ModelList;
