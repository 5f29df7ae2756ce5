/** What became of one request on its way to one upstream, and whether that may be. */
import { LOSSES, type LossName } from '@meridian/data-plane/canonical/loss';
import { dialectOf } from '@meridian/data-plane/dialect/registry';
import type { DialectName } from '@meridian/domain/dialect';
import type { Difference } from './compare-answers.ts';
import { compareRequests, readRequest } from './compare-requests.ts';
import { compareStrict } from './compare-strict.ts';
import { type ClientRequest, carryRequest, isRefused, type Via } from './exchange.ts';
import { isJson, type Json } from './json.ts';
import { upstreamTerms } from './upstream-terms.ts';

/** The losses that explain a difference. */
const EXPLAINED_BY: Readonly<Record<string, readonly LossName[]>> = {
  temperature: ['temperature'],
  topP: ['top_p'],
  topK: ['top_k'],
  seed: ['seed'],
  frequencyPenalty: ['frequency_penalty'],
  presencePenalty: ['presence_penalty'],
  stop: ['stop'],
  logprobs: ['logprobs'],
  'service tier': ['service_tier'],
  user: ['user'],
  'cache marks': ['cache_control', 'unknown_field'],
  thinking: ['reasoning_effort', 'reasoning_budget', 'reasoning', 'unknown_field'],
  reasoning: ['reasoning'],
  'parallel calls': ['parallel_tool_calls'],
  'tool choice': ['tool_choice'],
  tools: ['schema_keyword', 'tool_grammar'],
  calls: ['call_arguments'],
  'strict tools': ['strict_tool'],
  'strict format': ['json_schema'],
  format: ['json_schema', 'json_object', 'schema_keyword'],
  system: ['json_schema', 'json_object', 'tool_grammar'],
  foreign: ['unknown_part'],
  text: ['unknown_part'],
  media: ['unknown_part'],
  turns: ['prefill', 'unknown_part', 'reasoning'],
};

export interface Judged {
  /** Of the refusal, where there was one. */
  readonly refusal: { readonly message: string; readonly status: number; readonly param: string | undefined } | undefined;
  readonly losses: readonly LossName[];
  readonly body: Json;
  /** Differences that no loss explains, and losses that the table does not have for this dialect. */
  readonly unexplained: readonly Difference[];
}

export function judgeRequest(
  client: DialectName,
  upstream: DialectName,
  request: ClientRequest,
  model: string | undefined,
  via: Via,
  capabilities?: readonly string[],
): Judged {
  const from = dialectOf(client);
  const to = dialectOf(upstream);
  const outcome = carryRequest(from, to, request, upstreamTerms(upstream, model, capabilities), via);
  if (isRefused(outcome)) {
    const { error } = outcome;
    const unexplained = error.status >= 500 ? [{ of: 'refusal', what: `${error.status} ${error.message} ${String(error.cause)}` }] : [];
    return { refusal: { message: error.message, status: error.status, param: error.param }, losses: [], body: {}, unexplained };
  }
  const body: unknown = JSON.parse(outcome.bytes.toString('utf8'));
  const isStream = request.place.stream === true;
  const told = readRequest(client, request.body, isStream);
  const got = readRequest(upstream, isJson(body) ? body : {}, isStream);
  const losses = [...new Set(outcome.losses.map(({ name }) => name))];
  const differences = [
    ...compareRequests(told, got, client, upstream),
    ...compareStrict(client, request.body, upstream, isJson(body) ? body : {}),
  ];
  const unexplained = differences.filter(({ of }) => EXPLAINED_BY[of]?.some((name) => losses.includes(name)) !== true);
  for (const name of losses) {
    const to: readonly DialectName[] = LOSSES[name].to;
    if (!to.includes(upstream)) unexplained.push({ of: 'losses', what: `${name} is named, which this dialect has` });
  }
  return { refusal: undefined, losses, body: isJson(body) ? body : {}, unexplained };
}
