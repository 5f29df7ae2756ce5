/** Models and the names they are called by. */
import type { Operation } from './dialect.ts';

export type Modality = 'text' | 'image' | 'audio' | 'video' | 'pdf';

/** What kind of work a model does; decides the operations it can be asked for. */
export type ModelMode = 'chat' | 'embedding' | 'image_generation' | 'image_edit' | 'video_generation';

export interface Model {
  /** Public id as the trade writes it, without the vendor: `gpt-5.4`, `claude-opus-4-7`, `fal-ai/flux-pro/v1.1-ultra`. */
  readonly id: string;
  /** Who makes it: `openai`, `anthropic`, `google` … */
  readonly vendor: string;
  readonly displayName: string;
  readonly mode: ModelMode;
  readonly contextTokens: number | undefined;
  readonly maxOutputTokens: number | undefined;
  readonly inputModalities: readonly Modality[];
  readonly outputModalities: readonly Modality[];
  /** `tools`, `json_schema`, `reasoning`, `prompt_caching` … */
  readonly capabilities: readonly string[];
  /** The model spends output tokens that its stream does not show, so an abandoned stream must be read to its end. */
  readonly hidesReasoning: boolean;
  readonly enabled: boolean;
}

/** How much a model is to think before it answers, least first. */
export const REASONING_EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh'] as const;
export type ReasoningEffort = (typeof REASONING_EFFORTS)[number];

/** How a model is used under a name. */
export interface ModelSettings {
  /**
   * In the place of whatever the request asks for: what a client asks of one model means little to the one that it gets instead.
   */
  readonly reasoningEffort?: ReasoningEffort;
}

/** Prefixes that mean the same vendor. */
const VENDOR_SYNONYMS: Readonly<Record<string, string>> = {
  gemini: 'google',
  xai: 'x-ai',
  zai: 'z-ai',
  mistral: 'mistralai',
  meta: 'meta-llama',
};

/**
 * The form under which names are compared: lower case, `%2F` as a slash, without a leading `models/`, vendor synonyms folded,
 * dots between digits as dashes (`claude-opus-4.7` = `claude-opus-4-7`).
 */
export function normalizeModelName(name: string): string {
  // Every request comes here, and most names have nothing to replace.
  let plain = name.trim().toLowerCase();
  if (plain.includes('%2f')) plain = plain.replaceAll('%2f', '/');
  if (plain.startsWith('models/')) plain = plain.slice('models/'.length);
  if (plain.includes('.')) plain = plain.replace(/(\d)\.(?=\d)/g, '$1-');
  const slash = plain.indexOf('/');
  if (slash === -1) return plain;
  const vendor = plain.slice(0, slash);
  return `${VENDOR_SYNONYMS[vendor] ?? vendor}/${plain.slice(slash + 1)}`;
}

/** The normalised names a model answers to by itself, aliases apart: bare, and with its vendor in front. */
export function modelNames(model: Pick<Model, 'id' | 'vendor'>): readonly string[] {
  return [normalizeModelName(model.id), normalizeModelName(`${model.vendor}/${model.id}`)];
}

/** Whom an alias is for: one account, the accounts of one plan, or everybody. */
export interface AliasScope {
  readonly accountId?: string | undefined;
  readonly planId?: string | undefined;
}

/**
 * What an alias is known by: its normalised name, with its scope behind it. A normalised name has no capital letters, so
 * no name is the id of another one's scope, and a node that knows of no scopes refuses what is for a few instead of giving it to all.
 */
export function aliasId(name: string, { accountId, planId }: AliasScope = {}): string {
  return scopedAliasId(normalizeModelName(name), accountId, planId);
}

/** `aliasId` of a name that is normalised already. */
export function scopedAliasId(normalized: string, accountId: string | undefined, planId: string | undefined): string {
  if (accountId !== undefined) return `${normalized}@ACCOUNT:${accountId}`;
  return planId === undefined ? normalized : `${normalized}@PLAN:${planId}`;
}

export function modelServes(mode: ModelMode, operation: Operation): boolean {
  switch (operation) {
    case 'chat':
      return mode === 'chat';
    case 'embeddings':
      return mode === 'embedding';
    default:
      return operation satisfies never;
  }
}

/** Up to `limit` of the given names that are nearest to the one asked for, by edit distance over the normalised form. */
export function nearestModelNames(asked: string, names: Iterable<string>, limit: number): string[] {
  const wanted = normalizeModelName(asked).slice(0, 64);
  const bare = wanted.slice(wanted.lastIndexOf('/') + 1);
  const scored: { name: string; distance: number }[] = [];
  for (const name of names) {
    const normalized = normalizeModelName(name);
    const distance = editDistance(bare, normalized.slice(normalized.lastIndexOf('/') + 1).slice(0, 64));
    if (distance <= Math.max(3, Math.floor(bare.length / 2))) scored.push({ name, distance });
  }
  return scored
    .sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))
    .slice(0, limit)
    .map((entry) => entry.name);
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
