/** Anthropic's SDK and Messages. */
import Anthropic from '@anthropic-ai/sdk';
import { type Client, type Conversation, collect, dataOf, objectSchema, type Part, type Sdk, type Terms, type Turn } from './sdk.ts';

/** Each request must have a limit. */
const MAX_TOKENS = 4096;

class MessagesConversation implements Conversation {
  readonly #anthropic: Anthropic;
  readonly #terms: Terms;
  readonly #messages: Anthropic.MessageParam[] = [];
  #called: string[] = [];

  constructor(anthropic: Anthropic, terms: Terms) {
    this.#anthropic = anthropic;
    this.#terms = terms;
  }

  say(parts: readonly Part[]): Promise<Turn> {
    this.#messages.push({ role: 'user', content: parts.map(contentBlock) });
    return this.#ask();
  }

  answerCalls(results: readonly string[]): Promise<Turn> {
    const content = this.#called.map((id, index) => ({ type: 'tool_result' as const, tool_use_id: id, content: results[index] ?? '' }));
    this.#messages.push({ role: 'user', content });
    return this.#ask();
  }

  async leave(text: string): Promise<void> {
    this.#messages.push({ role: 'user', content: text });
    const stream = await this.#anthropic.messages.create({ ...this.#body(), stream: true });
    for await (const event of stream) if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') break;
  }

  async #ask(): Promise<Turn> {
    const message = this.#terms.stream
      ? await this.#anthropic.messages.stream(this.#body()).finalMessage()
      : await this.#anthropic.messages.create(this.#body());
    this.#messages.push({ role: 'assistant', content: message.content });
    const calls = message.content.filter((block) => block.type === 'tool_use');
    this.#called = calls.map(({ id }) => id);
    return {
      text: message.content.map((block) => (block.type === 'text' ? block.text : '')).join(''),
      calls: calls.map(({ name, input }) => ({ name, arguments: input as Record<string, unknown> })),
      finish: message.stop_reason ?? '',
      inputTokens: message.usage.input_tokens,
      outputTokens: message.usage.output_tokens,
      model: message.model,
    };
  }

  #body(): Anthropic.MessageCreateParamsNonStreaming {
    const { model, tools, thinks, json, maxOutputTokens } = this.#terms;
    if (json === 'any') throw new Error('Anthropic has no JSON mode without a schema');
    const output = {
      ...(thinks === true ? { effort: 'low' as const } : {}),
      ...(json === undefined ? {} : { format: { type: 'json_schema' as const, schema: objectSchema(json) } }),
    };
    return {
      model,
      max_tokens: maxOutputTokens ?? MAX_TOKENS,
      messages: [...this.#messages],
      ...(tools === undefined
        ? {}
        : { tools: tools.map(({ name, description, parameters }) => ({ name, description, input_schema: objectSchema(parameters) })) }),
      ...(thinks === true ? { thinking: { type: 'adaptive' as const } } : {}),
      ...(Object.keys(output).length === 0 ? {} : { output_config: output }),
    };
  }
}

function contentBlock(part: Part): Anthropic.TextBlockParam | Anthropic.ImageBlockParam {
  if ('text' in part) return { type: 'text', text: part.text };
  const data = dataOf(part.image);
  if (data === undefined) return { type: 'image', source: { type: 'url', url: part.image } };
  return { type: 'image', source: { type: 'base64', media_type: data.mediaType as 'image/png', data: data.base64 } };
}

export const anthropic: Sdk = {
  name: 'anthropic',
  dialect: 'anthropic-messages',
  connect: (url, apiKey): Client => {
    const client = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
    return {
      converse: (terms) => new MessagesConversation(client, terms),
      models: async () => (await collect(client.models.list())).map(({ id }) => id),
      countTokens: async (model, text) =>
        (await client.messages.countTokens({ model, messages: [{ role: 'user', content: text }] })).input_tokens,
    };
  },
};
