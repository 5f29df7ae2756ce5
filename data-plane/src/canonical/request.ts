/** A request for a conversation's next turn. */
import type { DialectName } from '@meridian/domain/dialect';
import type { ServiceTier } from '@meridian/domain/price';
import type { Message, Rest } from './message.ts';
import type { Tool, ToolChoice } from './tool.ts';

/** Undefined is always: the client said nothing. */
export interface Request {
  /** The dialect it was read from, which alone gets its `rest` back. */
  readonly dialect: DialectName;
  readonly model: string;
  readonly messages: readonly Message[];
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice | undefined;
  readonly parallelToolCalls: boolean | undefined;
  readonly stream: boolean;
  readonly wantsStreamUsage: boolean;
  readonly maxOutputTokens: number | undefined;
  readonly sampling: Sampling;
  readonly stop: readonly string[];
  readonly choices: number;
  readonly logprobs: { readonly top: number | undefined } | undefined;
  readonly format: ResponseFormat | undefined;
  readonly reasoning: Reasoning | undefined;
  readonly serviceTier: ServiceTier;
  readonly user: string | undefined;
  /** Requests with the same one share a prompt cache. */
  readonly promptCacheKey?: string;
  /** How long the prompt cache is kept: `in_memory`, `24h`. */
  readonly promptCacheRetention?: string;
  /** `low`, `medium`, `high`. */
  readonly verbosity?: string;
  /** Token id → bias. */
  readonly logitBias?: Rest;
  /** What the answer may consist of (`text`, `image`, `audio`); absent: text. */
  readonly outputModalities?: readonly string[];
  /** Of images in the answer. */
  readonly imageOutput?: { readonly aspectRatio?: string; readonly size?: string };
  /** Labels of the client's own. */
  readonly metadata?: Rest;
  readonly rest: Rest;
}

export interface Sampling {
  readonly temperature: number | undefined;
  readonly topP: number | undefined;
  readonly topK: number | undefined;
  readonly seed: number | undefined;
  readonly frequencyPenalty: number | undefined;
  readonly presencePenalty: number | undefined;
}

export type ResponseFormat =
  | { readonly type: 'text' }
  | { readonly type: 'json_object' }
  | {
      readonly type: 'json_schema';
      readonly name: string;
      readonly schema: Rest | undefined;
      readonly strict: boolean | undefined;
      readonly description: string | undefined;
    };

/** How much thinking is asked for: an effort word (`none` … `xhigh`, `max`), a budget in tokens, or both. */
export interface Reasoning {
  readonly effort: string | undefined;
  readonly budgetTokens: number | undefined;
  /** `adaptive`: the model decides · `off`: none. Absent: as effort and budget say. */
  readonly mode?: 'adaptive' | 'off';
  /** Whether the thinking is to be shown, in whole or as a summary: `auto`, `concise`, `detailed`, `none`. Absent: as the dialect does by itself. */
  readonly show?: string;
  /** The effort is what the dialect does by itself, and not asked for: only for a model that thinks. */
  readonly isDefault?: boolean;
  /** Whether the opaque state of the thinking is to come with the answer. Absent: as the dialect does by itself. */
  readonly wantsCarriers?: boolean;
}
