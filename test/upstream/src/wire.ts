// What every simulated wire is, and what it is given to serve a call.

import type { AnswerWishes } from './answer.ts';
import type { ApiError } from './api-error.ts';
import type { JsonObject } from './json-value.ts';
import type { Knobs } from './knobs.ts';
import type { PromptCache } from './prompt-cache.ts';
import type { ProviderName } from './provider.ts';
import type { Reply, Segment } from './reply.ts';
import type { StoredResponses } from './stored-responses.ts';

/** One call as it came in. */
export interface Call {
  method: string;
  /** With its query. */
  path: string;
  provider: ProviderName;
  /** The path after the provider's prefix, without its query: `/chat/completions`. */
  operation: string;
  key: string | null;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The x-sim header. */
  sim: string | null;
  body: Buffer;
}

/** What serving needs beside the call. */
export interface Surroundings {
  cache: PromptCache;
  stored: StoredResponses;
  now: () => number;
  /** A new answer id each time: letters and digits, `length` of them. */
  newId: (length: number) => string;
}

/** An answer before faults are applied. */
export interface Healthy {
  reply: Reply;
  id: string | null;
  usage: JsonObject | null;
  /** Whether segments are pieces of generated text, which are paced by default. */
  paced: boolean;
  /** How this stream tells of an error after so many events; the wire's own way unless given. */
  errorEvents?: (error: ApiError, eventsBefore: number) => Segment[];
}

/** One protocol as a simulated provider speaks it. */
export interface Wire {
  /** The key a call carries in the place where this wire looks for it. */
  keyOf(headers: Call['headers'], path: string): string | null;
  /** What the call asks for, before anything of it is checked. */
  glance(call: Call, body: JsonObject): { model: string | null; stream: boolean };
  /** Throws the refusal of a missing or wrong key, or of a body without a model where that is checked first. */
  check(call: Call, body: JsonObject): void;
  /** Throws an ApiError for what the provider would refuse. */
  serve(call: Call, body: JsonObject, knobs: Knobs, around: Surroundings): Healthy;
  /** The error a provider gives with this status when a fault asks for it. */
  errorForStatus(status: number, knobs: Knobs): ApiError;
  /** Whether waiting times are told in headers; else only in the error itself. */
  tellsRetryInHeaders: boolean;
  errorReply(error: ApiError, call: Call): Reply;
  /** What a stream of this wire says when it fails after so many events. */
  errorEvents(error: ApiError, call: Call, eventsBefore: number): Segment[];
  /** The refusal of a body that is no JSON object. */
  badJson(): ApiError;
}

/** What the knobs ask of the answer itself. */
export function wishesOf(knobs: Knobs): AnswerWishes {
  return {
    ...(knobs.tokens === undefined ? {} : { tokens: knobs.tokens }),
    ...(knobs.reasoning === undefined ? {} : { reasoning: knobs.reasoning }),
    ...(knobs.extra_output === undefined ? {} : { extraOutput: knobs.extra_output }),
    ...(knobs.served_tier === undefined ? {} : { servedTier: knobs.served_tier }),
    ...(knobs.empty === undefined ? {} : { empty: knobs.empty }),
    ...(knobs.huge === undefined ? {} : { hugeBytes: knobs.huge }),
    ...(knobs.cache === undefined ? {} : { cache: knobs.cache }),
    ...(knobs.refusal === undefined ? {} : { refusal: knobs.refusal }),
    ...(knobs.content_filter === undefined ? {} : { contentFilter: knobs.content_filter }),
  };
}
