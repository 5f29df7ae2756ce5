/**
 * Messages: what any of the dialects can say in a turn. A superset: what one dialect alone knows stays with the part
 * it came on, so that a message that returns to its own dialect returns whole.
 */
import type { DialectName } from '@meridian/domain/dialect';

/** Fields that the canonical language has no word for, as the dialect wrote them. Given back to that dialect only. */
export type Rest = Readonly<Record<string, unknown>>;

export type Role = 'system' | 'developer' | 'user' | 'assistant' | 'tool';

export interface Message {
  readonly role: Role;
  readonly parts: readonly Part[];
  readonly name: string | undefined;
  readonly rest: Rest;
}

export type Part =
  | TextPart
  | ImagePart
  | AudioPart
  | VideoPart
  | FilePart
  | ReasoningPart
  | RefusalPart
  | ToolCallPart
  | ToolResultPart
  | ForeignPart;

/** Where a medium's bytes are. `id` belongs to one provider. */
export type MediaSource =
  | { readonly from: 'url'; readonly url: string }
  | { readonly from: 'base64'; readonly mediaType: string; readonly data: string }
  | { readonly from: 'id'; readonly id: string };

/** That the prompt up to here is to be cached, for upstreams that are told so: `{type: 'ephemeral', ttl: '1h'}`. */
export type CacheControl = Rest;

export interface TextPart {
  readonly type: 'text';
  readonly text: string;
  readonly cacheControl?: CacheControl;
  readonly citations: readonly Citation[];
  readonly rest: Rest;
}

export interface ImagePart {
  readonly type: 'image';
  readonly source: MediaSource;
  /** `low`, `high`, `auto` … */
  readonly detail: string | undefined;
  readonly cacheControl?: CacheControl;
  readonly rest: Rest;
}

export interface AudioPart {
  readonly type: 'audio';
  readonly source: MediaSource;
  readonly transcript: string | undefined;
  readonly rest: Rest;
}

export interface VideoPart {
  readonly type: 'video';
  readonly source: MediaSource;
  readonly rest: Rest;
}

export interface FilePart {
  readonly type: 'file';
  readonly source: MediaSource;
  readonly name: string | undefined;
  readonly cacheControl?: CacheControl;
  readonly rest: Rest;
}

/**
 * Thinking that the model shows. What proves it to its issuer travels in `carriers`, byte for byte. One without text proves what
 * stands before it in the message (Gemini signs any part), or is all that its issuer shows (a redacted block).
 */
export interface ReasoningPart {
  readonly type: 'reasoning';
  /** May be empty: a block can consist of its signature alone. */
  readonly text: string;
  readonly carriers: readonly ReasoningCarrier[];
}

/** Opaque state of one issuer: a signature, an encrypted block. Useless, and refused, anywhere else. */
export interface ReasoningCarrier {
  readonly dialect: DialectName;
  readonly value: unknown;
}

export interface RefusalPart {
  readonly type: 'refusal';
  readonly text: string;
}

export interface ToolCallPart {
  readonly type: 'tool_call';
  readonly id: string;
  readonly name: string;
  /** JSON text of an object (`{}` for none) for a function; free text for a custom tool. */
  readonly arguments: string;
  readonly kind: 'function' | 'custom';
  /** What its issuer wants back with the call (Gemini's `thoughtSignature`). */
  readonly carriers?: readonly ReasoningCarrier[];
  readonly cacheControl?: CacheControl;
  readonly rest: Rest;
}

export interface ToolResultPart {
  readonly type: 'tool_result';
  readonly callId: string;
  readonly parts: readonly Part[];
  readonly isError: boolean;
  /** Of the function, where the dialect writes it. */
  readonly name?: string;
  /** A result that the client's program gave as an object, where the dialect has such. */
  readonly json?: Rest;
  readonly cacheControl?: CacheControl;
}

/** A part that only its own dialect understands. */
export interface ForeignPart {
  readonly type: 'foreign';
  readonly dialect: DialectName;
  readonly value: Rest;
}

export interface Citation {
  /** Where the source is, and what it is called, as far as known. */
  readonly url: string | undefined;
  readonly title: string | undefined;
  /** Characters of the final text that it supports, `[start, end)`. */
  readonly start: number | undefined;
  readonly end: number | undefined;
  readonly rest: Rest;
}
