/** Usage as Responses answers carry it (and pictures, and transcripts, which write it the same way), and our disjoint components. */
import { type Component, inputTokens, outputTokens, type Usage, unitsOf } from '@meridian/domain/usage';
import { addToolCalls, count, isUsageObject, objectIn, takeParts, type UsageDraft, type UsageObject } from '../usage-object.ts';

/**
 * Reads a `usage` object; undefined when it holds no token count. `input_tokens` contains what was read from a cache,
 * written to one, and media; those are taken out of it. Reasoning is inside `output_tokens`; what a total has beyond its
 * two parts is reasoning that was left outside.
 */
export function readUsage(raw: unknown): Usage | undefined {
  if (!isUsageObject(raw)) return undefined;
  const input = count(raw, 'input_tokens');
  const output = count(raw, 'output_tokens');
  const total = count(raw, 'total_tokens');
  if (input === undefined && output === undefined && total === undefined) return undefined;
  const usage: UsageDraft = {};
  const inputDetails = objectIn(raw, 'input_tokens_details', 'input_token_details');
  const outputDetails = objectIn(raw, 'output_tokens_details', 'output_token_details');
  usage.input = takeParts(usage, input ?? Math.max(0, (total ?? 0) - (output ?? 0)), [
    ['cached_input', count(inputDetails, 'cached_tokens')],
    ['cache_write_5m', count(inputDetails, 'cache_write_tokens')],
    ['audio_in', count(inputDetails, 'audio_tokens')],
    ['image_in', count(inputDetails, 'image_tokens')],
  ]);
  const outside = total === undefined || input === undefined ? 0 : Math.max(0, total - input - (output ?? 0));
  if (output !== undefined || outside > 0) {
    usage.output = takeParts(usage, (output ?? 0) + outside, [
      ['audio_out', count(outputDetails, 'audio_tokens')],
      ['image_out', count(outputDetails, 'image_tokens')],
    ]);
  }
  for (const [field, tool] of SERVER_TOOLS) addToolCalls(usage, tool, count(objectIn(raw, 'server_side_tool_usage_details'), field));
  return usage;
}

/** Where xAI counts the calls of its own tools, and what we call them. */
const SERVER_TOOLS = [
  ['web_search_calls', 'web_search'],
  ['x_search_calls', 'x_search'],
  ['code_interpreter_calls', 'code_interpreter'],
  ['file_search_calls', 'file_search'],
  ['document_search_calls', 'document_search'],
] as const;

/** Output items that are calls of the provider's own tools, billed by the call. */
const TOOL_ITEMS: ReadonlyMap<unknown, string> = new Map([
  ['web_search_call', 'web_search'],
  ['file_search_call', 'file_search'],
]);

/**
 * The usage of a whole answer: its `usage`, and the calls of the provider's own tools where its output or `tool_usage`
 * shows them. A web search that opens or reads a page is a part of a search; code runs in containers, each billed once.
 */
export function readAnswerUsage(answer: UsageObject): Usage | undefined {
  const usage = readUsage(answer.usage);
  if (usage === undefined) return undefined;
  const shown: UsageDraft = {};
  const containers = new Set<unknown>();
  for (const item of Array.isArray(answer.output) ? answer.output : []) {
    if (!isUsageObject(item)) continue;
    const tool = TOOL_ITEMS.get(item.type);
    const action = objectIn(item, 'action')?.type;
    if (tool !== undefined && (action === undefined || action === 'search')) addToolCalls(shown, tool, 1);
    if (item.type === 'code_interpreter_call') containers.add(item.container_id);
  }
  addToolCalls(shown, 'code_interpreter', containers.size);
  const searches = count(objectIn(objectIn(answer, 'tool_usage') ?? {}, 'web_search'), 'num_requests');
  if (searches !== undefined && searches > 0) shown['per_tool_call:web_search'] = searches;
  // What the provider counted itself holds.
  return { ...shown, ...usage };
}

/** Reasoning tokens, a part of the output; undefined where they were not told. */
export function reasoningTokens(raw: unknown): number | undefined {
  return isUsageObject(raw) ? count(objectIn(raw, 'output_tokens_details'), 'reasoning_tokens') : undefined;
}

/** Usage as our answers carry it; `reasoning` is a part of the output that is told apart for information. */
export function writeUsage(usage: Usage, reasoning: number | undefined): UsageObject {
  const input = inputTokens(usage);
  const output = outputTokens(usage);
  const searches = usage['per_tool_call:web_search'];
  return {
    input_tokens: input,
    input_tokens_details: {
      cached_tokens: unitsOf(usage, 'cached_input'),
      cache_write_tokens: unitsOf(usage, 'cache_write_5m') + unitsOf(usage, 'cache_write_1h'),
      ...told('audio_tokens', usage, 'audio_in'),
      ...told('image_tokens', usage, 'image_in'),
    },
    output_tokens: output,
    output_tokens_details: {
      reasoning_tokens: reasoning ?? unitsOf(usage, 'reasoning'),
      ...told('audio_tokens', usage, 'audio_out'),
      ...told('image_tokens', usage, 'image_out'),
    },
    total_tokens: input + output,
    ...(searches === undefined ? {} : { server_side_tool_usage_details: { web_search_calls: searches } }),
  };
}

/** A count of its own for what only some requests have. */
function told(field: string, usage: Usage, component: Component): UsageObject {
  const units = unitsOf(usage, component);
  return units === 0 ? {} : { [field]: units };
}
