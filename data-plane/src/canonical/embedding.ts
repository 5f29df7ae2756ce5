/** Texts to be embedded, and their vectors. */
import type { DialectName } from '@meridian/domain/dialect';
import type { Rest } from './message.ts';
import type { UsageReport } from './response.ts';

export interface EmbeddingRequest {
  /** The dialect it was read from, which alone gets its `rest` back. */
  readonly dialect: DialectName;
  readonly model: string;
  /** Texts, or arrays of token ids, at least one. */
  readonly inputs: readonly (string | readonly number[])[];
  /** The client gave one input and not a list of them. */
  readonly isSingle: boolean;
  readonly dimensions: number | undefined;
  /** How the client wants its vectors: `base64` is little-endian float32. */
  readonly encoding: 'float' | 'base64';
  /** What the vectors are for, as Gemini writes it: `RETRIEVAL_QUERY`. */
  readonly taskType?: string;
  readonly user: string | undefined;
  readonly rest: Rest;
}

export interface EmbeddingResponse {
  readonly model: string | undefined;
  /** One for each input, in their order. */
  readonly vectors: readonly (readonly number[])[];
  /** Undefined where the upstream counted nothing. */
  readonly usage: UsageReport | undefined;
  readonly rest: Rest;
}
