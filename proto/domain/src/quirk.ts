/** Ways of a provider's own in a protocol that it shares with others, as data: what it refuses, and what it takes besides. */

/** By name, with what a request to such a provider has in its place. Only OpenAI's chat completions are spoken in so many ways. */
export const QUIRKS = {
  no_stream_options: 'Refuses `stream_options`: usage is not asked for in streams.',
  max_tokens: 'Knows the output limit by its older name only, `max_tokens`.',
  system_role: 'Has no role `developer`: such messages have the role `system`.',
  text_content: 'Takes texts as strings only: several texts of a message are one.',
  no_tool_choice: 'Refuses `tool_choice`.',
  no_parallel_tool_calls: 'Refuses `parallel_tool_calls`.',
  no_strict_tools: 'Refuses `strict` of tools.',
  no_custom_tools: 'Has no custom tools: functions stand in for them.',
  no_json_schema: 'Has no `json_schema` format: JSON is asked for, and the schema told to the model.',
  no_reasoning_effort: 'Refuses `reasoning_effort`.',
  no_reasoning_input: 'Refuses the thinking of earlier turns.',
  no_stop: 'Refuses `stop`.',
  no_seed: 'Refuses `seed`.',
  no_penalties: 'Refuses `frequency_penalty` and `presence_penalty`.',
  no_logprobs: 'Refuses `logprobs` and `logit_bias`.',
  no_user: 'Refuses `user` and `prompt_cache_key`.',
  top_k: 'Takes `top_k`.',
  cache_control: 'Takes `cache_control` in the parts of messages.',
  reasoning_object: 'Takes thinking as an object: `reasoning: {effort, max_tokens, enabled, exclude}`.',
  image_config: 'Takes shape and size of images in the answer: `image_config`.',
  file_urls: 'Takes documents by URL.',
} as const satisfies Readonly<Record<string, string>>;

export type Quirk = keyof typeof QUIRKS;

export const QUIRK_NAMES = Object.keys(QUIRKS) as readonly Quirk[];

export function isQuirk(name: string): name is Quirk {
  return Object.hasOwn(QUIRKS, name);
}
