// The token rule of the simulated providers: simple enough to be computed a second time, by hand, in a test.

import type { JsonValue } from './json-value.ts';

/** Tokens added once to every chat prompt (the priming of the answer). */
export const PROMPT_OVERHEAD_TOKENS = 3;
/** Tokens added for every message, whatever its role. */
export const MESSAGE_OVERHEAD_TOKENS = 4;
/** One image part with `detail: "low"`. */
export const IMAGE_LOW_TOKENS = 85;
/** One image part with any other detail. */
export const IMAGE_TOKENS = 765;
/** One file part, whatever its size. */
export const FILE_TOKENS = 250;
/** Decoded audio bytes a token stands for. */
const AUDIO_BYTES_PER_TOKEN = 1000;
/** Prompt caching counts whole blocks of this many tokens … */
export const CACHE_BLOCK_TOKENS = 128;
/** … and starts at this length. */
export const CACHE_MINIMUM_TOKENS = 1024;

const PIECE = /\s?[^\s]{1,12}|\s+/gu;

/** Tokens of one text: a quarter of its UTF-8 bytes, rounded up; an empty text has none. */
export function textTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / 4);
}

/** Tokens of a value that reaches the model as JSON (a tool, a schema): those of its compact text. */
export function jsonTokens(value: JsonValue): number {
  return textTokens(JSON.stringify(value));
}

/** Tokens of an audio part, by the size of its decoded data: rounded up, at least one. */
export function audioTokens(base64: string): number {
  return Math.max(1, Math.ceil(Buffer.byteLength(base64, 'base64') / AUDIO_BYTES_PER_TOKEN));
}

/**
 * Cuts generated text into pieces. A piece is one output token, and in a stream one chunk: a word of at most twelve
 * code points with the blank before it. Joined again they are the text.
 */
export function splitPieces(text: string): string[] {
  return text.match(PIECE) ?? [];
}
