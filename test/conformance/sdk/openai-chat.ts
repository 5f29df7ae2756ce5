/** OpenAI's SDK and chat completions. */
import OpenAI from 'openai';
import { type Call, type Client, type Conversation, collect, objectSchema, type Part, type Sdk, type Terms, type Turn } from './sdk.ts';

type Body = Omit<OpenAI.ChatCompletionCreateParamsNonStreaming, 'stream'>;

class ChatConversation implements Conversation {
  readonly #openai: OpenAI;
  readonly #terms: Terms;
  readonly #messages: OpenAI.ChatCompletionMessageParam[] = [];

  constructor(openai: OpenAI, terms: Terms) {
    this.#openai = openai;
    this.#terms = terms;
  }

  say(parts: readonly Part[]): Promise<Turn> {
    this.#messages.push({ role: 'user', content: parts.map(contentPart) });
    return this.#ask();
  }

  answerCalls(results: readonly string[]): Promise<Turn> {
    const last = this.#messages.at(-1);
    const calls = last?.role === 'assistant' ? (last.tool_calls ?? []) : [];
    for (const [index, call] of calls.entries()) {
      this.#messages.push({ role: 'tool', tool_call_id: call.id, content: results[index] ?? '' });
    }
    return this.#ask();
  }

  async leave(text: string): Promise<void> {
    this.#messages.push({ role: 'user', content: text });
    const stream = await this.#openai.chat.completions.create({ ...this.#body(), stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
  }

  async #ask(): Promise<Turn> {
    const completion = this.#terms.stream
      ? await this.#openai.chat.completions
          .stream({ ...this.#body(), stream: true, stream_options: { include_usage: true } })
          .finalChatCompletion()
      : await this.#openai.chat.completions.create(this.#body());
    const [choice] = completion.choices;
    if (choice === undefined) throw new Error('the answer has no choice');
    this.#messages.push(choice.message);
    return {
      text: choice.message.content ?? '',
      calls: (choice.message.tool_calls ?? []).map(callOf),
      finish: choice.finish_reason,
      inputTokens: completion.usage?.prompt_tokens,
      outputTokens: completion.usage?.completion_tokens,
      model: completion.model,
    };
  }

  #body(): Body {
    const { model, tools, thinks, json, maxOutputTokens } = this.#terms;
    const schema = json === undefined || json === 'any' ? undefined : objectSchema(json);
    return {
      model,
      messages: [...this.#messages],
      ...(tools === undefined ? {} : { tools: tools.map(({ parameters, ...rest }) => functionTool({ ...rest, parameters })) }),
      ...(thinks === true ? { reasoning_effort: 'low' as const } : {}),
      ...(json === 'any' ? { response_format: { type: 'json_object' as const } } : {}),
      ...(schema === undefined
        ? {}
        : { response_format: { type: 'json_schema' as const, json_schema: { name: 'answer', strict: true, schema } } }),
      ...(maxOutputTokens === undefined ? {} : { max_completion_tokens: maxOutputTokens }),
    };
  }
}

function functionTool(tool: { name: string; description: string; parameters: readonly string[] }): OpenAI.ChatCompletionTool {
  return { type: 'function', function: { ...tool, parameters: objectSchema(tool.parameters) } };
}

function contentPart(part: Part): OpenAI.ChatCompletionContentPart {
  return 'text' in part ? { type: 'text', text: part.text } : { type: 'image_url', image_url: { url: part.image } };
}

function callOf(call: OpenAI.ChatCompletionMessageToolCall): Call {
  if (call.type !== 'function') throw new Error(`a call of type ${call.type}`);
  return { name: call.function.name, arguments: JSON.parse(call.function.arguments) };
}

export const openaiChat: Sdk = {
  name: 'openai chat',
  dialect: 'openai-chat',
  connect: (url, apiKey): Client => {
    const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
    return {
      converse: (terms) => new ChatConversation(openai, terms),
      models: async () => (await collect(openai.models.list())).map(({ id }) => id),
      embed: async (model, texts) => (await openai.embeddings.create({ model, input: [...texts] })).data.map(({ embedding }) => embedding),
    };
  },
};
