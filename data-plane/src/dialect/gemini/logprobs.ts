/** Log probabilities of tokens, to and from the form that the canonical language has them in: that of OpenAI's chat. */
import { isObject, type JsonObject, number, text } from '../json.ts';
import { listOf } from './proto-json.ts';

/** `{content: [{token, logprob, bytes, top_logprobs}]}`; undefined for none. */
export function readLogprobs(result: unknown): JsonObject | undefined {
  if (!isObject(result)) return undefined;
  const top = listOf(result.topCandidates);
  const content = listOf(result.chosenCandidates).map((chosen, index) => {
    const alternatives: unknown = top[index];
    return { ...readToken(chosen), top_logprobs: listOf(isObject(alternatives) ? alternatives.candidates : undefined).map(readToken) };
  });
  return { content, refusal: null };
}

function readToken(value: unknown): JsonObject {
  const token = isObject(value) ? (text(value.token) ?? '') : '';
  return { token, logprob: isObject(value) ? (number(value.logProbability) ?? 0) : 0, bytes: [...Buffer.from(token)] };
}

/** A `logprobsResult`; undefined for none. */
export function writeLogprobs(logprobs: unknown): JsonObject | undefined {
  if (!isObject(logprobs) || !Array.isArray(logprobs.content)) return undefined;
  const tokens = logprobs.content.filter(isObject);
  const hasTop = tokens.some(({ top_logprobs: top }) => Array.isArray(top) && top.length > 0);
  return {
    ...(hasTop ? { topCandidates: tokens.map((token) => ({ candidates: listOf(token.top_logprobs).map(writeToken) })) } : {}),
    chosenCandidates: tokens.map(writeToken),
  };
}

function writeToken(value: unknown): JsonObject {
  return isObject(value) ? { token: value.token, logProbability: value.logprob } : {};
}
