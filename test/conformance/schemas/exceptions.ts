/** Where our answers say more than a provider describes, and where a description has not caught up with its provider. */
import type { DialectName } from '@meridian/domain/dialect';

interface Extension {
  /** Components that may have it. */
  readonly schemas: readonly string[];
  readonly field: string;
  readonly reason: string;
}

const COST = 'what the request has cost';
const LOSS = 'what a stream could not carry, whose headers are gone';
const THINKING = 'thinking, as everybody but OpenAI writes it in this dialect';
const MESSAGE = ['ChatCompletionResponseMessage', 'ChatCompletionStreamResponseDelta'];

export const EXTENSIONS: Readonly<Record<DialectName, readonly Extension[]>> = {
  'openai-chat': [
    { schemas: ['CompletionUsage'], field: 'cost_usd', reason: COST },
    { schemas: ['CompletionUsage', 'CreateChatCompletionStreamResponse'], field: 'meridian_loss', reason: LOSS },
    { schemas: ['CompletionUsage'], field: 'server_tool_use', reason: 'searches of the provider, which are paid for apart' },
    { schemas: ['CompletionUsage'], field: 'image_tokens', reason: 'tokens of images, which are paid for apart' },
    { schemas: ['CompletionUsage'], field: 'video_tokens', reason: 'tokens of videos, which are paid for apart' },
    { schemas: MESSAGE, field: 'reasoning_content', reason: THINKING },
    { schemas: MESSAGE, field: 'reasoning_details', reason: 'proofs of thinking, which the next turn must bring back' },
    { schemas: ['ChatCompletionRequestAssistantMessage'], field: 'reasoning_content', reason: THINKING },
    { schemas: MESSAGE, field: 'images', reason: 'images in an answer, as OpenRouter writes them' },
    { schemas: ['ChatCompletionStreamResponseDelta'], field: 'annotations', reason: 'in messages they are described, in deltas forgotten' },
    {
      schemas: ['ChatCompletionMessageToolCall', 'ChatCompletionMessageToolCallChunk'],
      field: 'extra_content',
      reason: 'Gemini’s signature of a call, as Google writes it in this dialect',
    },
  ],
  'openai-responses': [
    { schemas: ['Usage'], field: 'cost_usd', reason: COST },
    { schemas: ['Usage'], field: 'meridian_loss', reason: LOSS },
    { schemas: ['ResponseFunctionCallArgumentsDoneStreamingEvent'], field: 'name', reason: 'OpenAI tells it, Open Responses forgets it' },
    { schemas: ['ErrorStreamingEvent'], field: 'code', reason: 'OpenAI’s own form, beside the other' },
    { schemas: ['ErrorStreamingEvent'], field: 'message', reason: 'OpenAI’s own form, beside the other' },
    { schemas: ['ErrorStreamingEvent'], field: 'param', reason: 'OpenAI’s own form, beside the other' },
  ],
  'anthropic-messages': [
    { schemas: ['Usage', 'MessageDeltaUsage'], field: 'cost_usd', reason: COST },
    { schemas: ['MessageDeltaUsage'], field: 'meridian_loss', reason: LOSS },
    { schemas: ['Usage', 'MessageDeltaUsage'], field: 'output_tokens_details', reason: 'the newest models tell what was thought' },
    { schemas: ['MessageDeltaUsage'], field: 'cache_creation', reason: 'here all usage is told at the end, when it is known' },
    { schemas: ['MessageDeltaUsage'], field: 'service_tier', reason: 'here all usage is told at the end, when it is known' },
    { schemas: ['MessageDeltaUsage'], field: 'inference_geo', reason: 'here all usage is told at the end, when it is known' },
  ],
  gemini: [
    { schemas: ['UsageMetadata'], field: 'costUsd', reason: COST },
    { schemas: ['UsageMetadata'], field: 'meridianLoss', reason: LOSS },
  ],
};

/** Items of an answer that Open Responses leaves to each provider, and that OpenAI has. */
export const UNDESCRIBED_ITEMS: ReadonlySet<unknown> = new Set(['image_generation_call', 'custom_tool_call']);

/** Rules of requests that a client's own wish can break, or that a description has not caught up with. */
export const KNOWN_OF_REQUESTS: readonly RegExp[] = [
  // The upstream refuses so small a limit of output, and says so.
  /max_output_tokens must be >= 16/,
  // What the assistant said is taken without the id and status that it is described with.
  /^\/input\/n\/content\/n\/type must be equal .* \("(output_text|refusal)"\)$/,
  // Sound is described for chat alone; a provider whose models hear in this dialect writes it in the same way.
  /^\/input\/n\/content\/n\/type must be equal .* \("input_audio"\)$/,
  // The newest models take system messages among the others.
  /^\/messages\/n\/role must be equal to one of the allowed values user,assistant \("system"\)$/,
];

/** The same of answers. */
export const KNOWN_OF_ANSWERS: readonly RegExp[] = [
  // Calls of custom tools are described in whole answers and forgotten in chunks.
  /^\/choices\/n\/delta\/tool_calls\/n\/type must be equal to one of the allowed values function \("custom"\)$/,
  /^\/choices\/n\/delta\/tool_calls\/n must NOT have unevaluated properties custom /,
  // Of the tools that a response repeats, Open Responses describes functions alone.
  /^(\/response)?\/tools\/n .* \(\{"type":"custom",/,
  // The schema of a format is described as null; OpenAI's own answers repeat it.
  /^(\/response)?\/text\/format\/(type|schema) .*/,
];
