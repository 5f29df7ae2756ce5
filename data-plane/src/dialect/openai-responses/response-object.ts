/** The response object of an answer, which its first and its last event hold, too. */
import type { ServiceTier } from '@meridian/domain/price';
import type { Request } from '../../canonical/request.ts';
import type { UsageReport } from '../../canonical/response.ts';
import { type JsonObject, NO_REST, withLiteral } from '../json.ts';
import { writeTier } from '../openai-tiers.ts';
import { instructionsOf, writeFormat } from './request.ts';
import { echoTool, writeToolChoice } from './tools.ts';
import { writeUsage } from './usage.ts';

/** What is constant in all events of an answer. */
export interface ResponseHead {
  readonly id: string;
  readonly createdSeconds: number;
  readonly model: string | undefined;
}

/** What changes while an answer comes. */
export interface ResponseState {
  readonly status: string;
  readonly incomplete_details: JsonObject | null;
  readonly output: readonly JsonObject[];
  readonly serviceTier: ServiceTier | undefined;
  /** When the answer was whole, in seconds since 1970; absent: not told. */
  readonly endedSeconds?: number | undefined;
}

/** The response object without its usage: what was asked for is repeated, with this protocol's defaults for what was not. */
export function responseObject(request: Request, head: ResponseHead, state: ResponseState): JsonObject {
  const { sampling, reasoning, rest: others } = request;
  return {
    id: head.id,
    object: 'response',
    created_at: head.createdSeconds,
    status: state.status,
    background: false,
    completed_at: state.status === 'completed' ? (state.endedSeconds ?? head.createdSeconds) : null,
    error: null,
    frequency_penalty: sampling.frequencyPenalty ?? 0,
    incomplete_details: state.incomplete_details,
    instructions: instructionsOf(request.messages) ?? null,
    max_output_tokens: request.maxOutputTokens ?? null,
    max_tool_calls: others.max_tool_calls ?? null,
    metadata: request.metadata ?? {},
    model: head.model ?? request.model,
    output: state.output,
    parallel_tool_calls: request.parallelToolCalls ?? true,
    presence_penalty: sampling.presencePenalty ?? 0,
    previous_response_id: null,
    prompt_cache_key: request.promptCacheKey ?? null,
    reasoning: { effort: reasoning?.effort ?? null, summary: reasoning?.show ?? null },
    safety_identifier: request.user ?? null,
    service_tier: writeTier(state.serviceTier ?? request.serviceTier),
    store: false,
    temperature: sampling.temperature ?? 1,
    text: {
      format: request.format === undefined ? { type: 'text' } : echoFormat(writeFormat(request.format)),
      verbosity: request.verbosity ?? 'medium',
    },
    tool_choice: (request.toolChoice === undefined ? undefined : writeToolChoice(request.toolChoice)) ?? 'auto',
    tools: request.tools.map(echoTool),
    top_logprobs: request.logprobs?.top ?? 0,
    top_p: sampling.topP ?? 1,
    truncation: others.truncation ?? 'disabled',
    user: request.user ?? null,
  };
}

function echoFormat(format: JsonObject): JsonObject {
  if (format.type !== 'json_schema') return format;
  return { ...format, description: format.description ?? null, strict: format.strict ?? false };
}

/** The response object's text, with its usage, in which `more` stands beside the counts. */
export function withUsage(
  response: JsonObject,
  usage: UsageReport | undefined,
  costUsdLiteral: string | undefined,
  more: JsonObject = NO_REST,
): string {
  const told = usage === undefined ? undefined : { ...writeUsage(usage.usage, usage.reasoningTokens), ...more };
  const counts = told === undefined ? 'null' : withLiteral(told, 'cost_usd', costUsdLiteral);
  return `${JSON.stringify(response).slice(0, -1)},"usage":${counts}}`;
}
