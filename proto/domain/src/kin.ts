/** Which component another one is a part of, or a dearer or cheaper form of. */
import type { Component } from './usage.ts';

/**
 * Nearest first. Tokens read from or written to a cache are input all the same, and reasoning is output. So are the tokens of pictures,
 * pages and films in a prompt, which most providers do not even count apart. Sound, media that are made, and what is counted by the
 * piece have no such kin.
 */
export const KIN: Readonly<Partial<Record<Component, readonly Component[]>>> = {
  cached_input: ['input'],
  cache_write_5m: ['input'],
  cache_write_1h: ['cache_write_5m', 'input'],
  image_in: ['input'],
  reasoning: ['output'],
};
