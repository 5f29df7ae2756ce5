/**
 * What a translation cannot carry, in one table. An encoder that leaves something out names it from here, and the client reads it in
 * `x-meridian-loss`: nothing is dropped in silence.
 */
import type { DialectName } from '@meridian/domain/dialect';

interface LossRow {
  /** What is lost, in words. */
  readonly what: string;
  /** The dialects that have no form for it. */
  readonly to: readonly DialectName[];
}

const EVERYBODY = ['openai-chat', 'openai-responses', 'anthropic-messages', 'gemini'] as const;

export const LOSSES = {
  // Anything
  unknown_field: { what: 'A field that only the dialect of the request knows.', to: EVERYBODY },
  unknown_part: { what: 'A part of a message that only the dialect of the request knows.', to: EVERYBODY },

  // Settings
  temperature: {
    what: 'A temperature that the model does not take: above 1, beside top_p, or at all.',
    to: ['openai-chat', 'openai-responses', 'anthropic-messages'],
  },
  top_p: { what: 'Nucleus sampling, where the model does not take it.', to: ['openai-chat', 'openai-responses', 'anthropic-messages'] },
  top_k: { what: 'Sampling from the k likeliest tokens.', to: ['openai-chat', 'openai-responses', 'anthropic-messages'] },
  seed: { what: 'The seed of the sampling.', to: ['openai-chat', 'openai-responses', 'anthropic-messages'] },
  frequency_penalty: { what: 'The penalty of frequent tokens.', to: ['openai-chat', 'openai-responses', 'anthropic-messages'] },
  presence_penalty: { what: 'The penalty of tokens that have come.', to: ['openai-chat', 'openai-responses', 'anthropic-messages'] },
  logit_bias: {
    what: 'Biases of single tokens, whose ids are of one tokenizer.',
    to: EVERYBODY,
  },
  logprobs: { what: 'Log probabilities of the tokens.', to: ['openai-chat', 'openai-responses', 'anthropic-messages'] },
  stop: {
    what: 'A stop sequence that the model cannot be given: blank, or one more than it takes.',
    to: ['openai-chat', 'anthropic-messages', 'gemini'],
  },
  verbosity: { what: 'How long the answer should be.', to: ['openai-chat', 'anthropic-messages', 'gemini'] },
  service_tier: { what: 'The service tier that is asked for.', to: ['openai-chat', 'anthropic-messages', 'gemini'] },
  prompt_cache_key: { what: 'Which requests share a prompt cache.', to: ['openai-chat', 'anthropic-messages', 'gemini'] },
  prompt_cache_retention: { what: 'How long a prompt cache is kept.', to: ['openai-chat', 'anthropic-messages', 'gemini'] },
  cache_control: { what: 'Where the prompt is to be cached.', to: EVERYBODY },
  metadata: { what: 'Labels of the client.', to: ['openai-chat', 'anthropic-messages', 'gemini'] },
  user: { what: 'Who the end user is.', to: ['openai-chat', 'anthropic-messages', 'gemini'] },
  output_modalities: { what: 'What the answer may consist of.', to: ['openai-responses', 'anthropic-messages'] },
  image_output: { what: 'Shape and size of images in the answer.', to: ['openai-chat', 'openai-responses', 'anthropic-messages'] },
  json_schema: { what: 'A JSON schema that the answer must satisfy: the model is only told of it.', to: EVERYBODY },
  json_object: { what: 'That the answer must be JSON: the model is only told so.', to: ['anthropic-messages'] },
  embedding_task: { what: 'What vectors are for.', to: ['openai-chat'] },

  // Thinking
  reasoning_effort: { what: 'How much to think, where the model has no such setting, or not this value.', to: EVERYBODY },
  reasoning_budget: { what: 'A thinking budget in tokens: the nearest effort is asked for.', to: EVERYBODY },
  reasoning_show: { what: 'Whether, and how, the thinking is shown.', to: EVERYBODY },
  reasoning: { what: 'Thinking of another provider in earlier turns, which proves nothing to this one.', to: EVERYBODY },

  // Tools
  parallel_tool_calls: { what: 'Whether several tools may be called at once.', to: ['openai-chat', 'gemini'] },
  tool_choice: {
    what: 'Which tool is to be called, where the model takes no order.',
    to: ['openai-chat', 'openai-responses', 'anthropic-messages'],
  },
  strict_tool: { what: 'That arguments must satisfy the schema of the tool.', to: EVERYBODY },
  tool_grammar: {
    what: 'The grammar of a custom tool: the model is only told of it.',
    to: ['openai-chat', 'anthropic-messages', 'gemini'],
  },

  schema_keyword: { what: 'A keyword of a JSON schema that the model does not know.', to: ['anthropic-messages', 'gemini'] },

  // Messages
  prefill: {
    what: 'That the answer is to continue a text of the assistant: it is taken for an earlier turn.',
    to: ['openai-chat', 'openai-responses', 'gemini'],
  },
  message_name: { what: 'The name of the author of a message.', to: ['openai-responses', 'anthropic-messages', 'gemini'] },
  image_detail: { what: 'In which detail an image is to be seen.', to: ['anthropic-messages', 'gemini'] },
  file_name: { what: 'The name of a file.', to: ['openai-chat', 'gemini'] },
  call_arguments: {
    what: 'The form of arguments of an earlier call that are no JSON object: they are told as a text.',
    to: ['anthropic-messages', 'gemini'],
  },
  citations: { what: 'Sources that a text of an earlier turn cites.', to: EVERYBODY },
  audio: { what: 'Sound: what was said is told in its place.', to: ['openai-responses', 'anthropic-messages'] },

  // Answers
  choices: { what: 'Answers beside the first.', to: ['openai-responses', 'anthropic-messages'] },
  media_output: { what: 'A picture or a sound in the answer.', to: ['openai-responses', 'anthropic-messages'] },
} as const satisfies Readonly<Record<string, LossRow>>;

export type LossName = keyof typeof LOSSES;

export interface Loss {
  readonly name: LossName;
  /** Where in the request it stood, as its own dialect writes it, where that tells more than the name: `messages[2].content[0]`, `seed`. */
  readonly at?: string;
}

/** Longer lists are cut in the header, with the number of those that are left out. */
const MAX_HEADER_CHARACTERS = 1_000;

/** The header's value: `top_k, unknown_field(store)`; undefined for no loss. */
export function lossHeader(losses: readonly Loss[]): string | undefined {
  if (losses.length === 0) return undefined;
  const words = [...new Set(losses.map(lossWord))];
  let text = '';
  for (const [index, word] of words.entries()) {
    const longer = text === '' ? word : `${text}, ${word}`;
    if (longer.length > MAX_HEADER_CHARACTERS) return `${text}${text === '' ? '' : ', '}+${words.length - index}`;
    text = longer;
  }
  return text;
}

function lossWord({ name, at }: Loss): string {
  return at === undefined ? name : `${name}(${at})`;
}

const MAX_STREAM_LOSSES = 64;

/**
 * What an answer loses that is told piece by piece. Its headers are gone by then, so that the words stand in the stream itself: each of
 * them once, the first 64 of them.
 */
export class StreamLosses {
  readonly #words = new Set<string>();
  #told = 0;

  readonly add = (loss: Loss): void => {
    if (this.#words.size < MAX_STREAM_LOSSES) this.#words.add(lossWord(loss));
  };

  /** As a member of the name that the dialect gives it; nothing where nothing was lost. */
  member(name: string): Readonly<Record<string, unknown>> {
    this.#told = this.#words.size;
    return this.#told === 0 ? NOTHING : { [name]: [...this.#words] };
  }

  /** The same, where something was lost since it was told last. */
  newMember(name: string): Readonly<Record<string, unknown>> {
    return this.#words.size === this.#told ? NOTHING : this.member(name);
  }
}

const NOTHING = Object.freeze({});
