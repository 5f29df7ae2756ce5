// The usage metadata of a generated answer: what the candidates hold excludes the thoughts.

import type { TokenCounts } from '../answer.ts';
import type { JsonObject } from '../json-value.ts';

/** So much of an answer is done. */
export interface Progress {
  candidates: number;
  thoughts: number;
  /** Of the candidates' tokens those of an image. */
  image: number;
}

function modalities(text: number, audio: number): JsonObject[] {
  const details = [{ modality: 'TEXT', tokenCount: text }];
  return audio > 0 ? [...details, { modality: 'AUDIO', tokenCount: audio }] : details;
}

/** The usage as it stands at some point of the answer; counts of nothing are left out, as Google does. */
export function usageMetadata(counts: TokenCounts, done: Progress): JsonObject {
  const { prompt, promptAudio, cached } = counts;
  const { candidates, thoughts, image } = done;
  return {
    promptTokenCount: prompt,
    ...(candidates > 0 ? { candidatesTokenCount: candidates } : {}),
    totalTokenCount: prompt + candidates + thoughts,
    ...(cached > 0 ? { cachedContentTokenCount: cached } : {}),
    promptTokensDetails: modalities(prompt - promptAudio, promptAudio),
    ...(cached > 0 ? { cacheTokensDetails: modalities(cached, 0) } : {}),
    ...(image > 0 ? { candidatesTokensDetails: [{ modality: 'IMAGE', tokenCount: image }] } : {}),
    ...(thoughts > 0 ? { thoughtsTokenCount: thoughts } : {}),
    serviceTier: counts.servedTier ?? 'standard',
  };
}

/** All of an answer. */
export function wholeProgress(counts: TokenCounts, imageTokens: number): Progress {
  return { candidates: counts.completion - counts.reasoning, thoughts: counts.reasoning, image: imageTokens };
}
