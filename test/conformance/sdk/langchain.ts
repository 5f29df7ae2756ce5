/** LangChain's chat models, each over the SDK of its vendor. */
import { ChatAnthropic } from '@langchain/anthropic';
import type { BaseChatModel } from '@langchain/core/language_models/chat_models';
import { AIMessage, type AIMessageChunk, type BaseMessage, HumanMessage, ToolMessage, type UsageMetadata } from '@langchain/core/messages';
import { ChatGoogleGenerativeAI } from '@langchain/google-genai';
import { ChatOpenAI } from '@langchain/openai';
import type { DialectName } from '@meridian/domain/dialect';
import { type Conversation, objectSchema, type Part, type Sdk, type Terms, type Turn } from './sdk.ts';

class LangChainConversation implements Conversation {
  readonly #model: BaseChatModel;
  readonly #terms: Terms;
  readonly #messages: BaseMessage[] = [];

  constructor(model: BaseChatModel, terms: Terms) {
    this.#model = model;
    this.#terms = terms;
  }

  say(parts: readonly Part[]): Promise<Turn> {
    const content = parts.map((part) =>
      'text' in part ? { type: 'text' as const, text: part.text } : { type: 'image_url' as const, image_url: { url: part.image } },
    );
    this.#messages.push(new HumanMessage({ content }));
    return this.#ask();
  }

  answerCalls(results: readonly string[]): Promise<Turn> {
    const last = this.#messages.at(-1);
    const calls = AIMessage.isInstance(last) ? (last.tool_calls ?? []) : [];
    for (const [index, call] of calls.entries()) {
      this.#messages.push(new ToolMessage({ content: results[index] ?? '', tool_call_id: call.id ?? '', name: call.name }));
    }
    return this.#ask();
  }

  async leave(text: string): Promise<void> {
    const controller = new AbortController();
    const stream = await this.#model.stream([...this.#messages, new HumanMessage(text)], { signal: controller.signal });
    for await (const chunk of stream) if (chunk.text !== '') break;
    controller.abort();
  }

  async #ask(): Promise<Turn> {
    const { tools } = this.#terms;
    const definitions = tools?.map(({ name, description, parameters }) => ({ name, description, schema: objectSchema(parameters) }));
    const model = definitions === undefined ? this.#model : this.#model.bindTools?.(definitions);
    if (model === undefined) throw new Error('the model takes no tools');
    const message = this.#terms.stream ? await joined(await model.stream(this.#messages)) : await model.invoke(this.#messages);
    this.#messages.push(message);
    const usage = message.usage_metadata as UsageMetadata | undefined;
    return {
      text: message.text,
      calls: (message.tool_calls ?? []).map(({ name, args }) => ({ name, arguments: args })),
      finish: '',
      inputTokens: usage?.input_tokens,
      outputTokens: usage?.output_tokens,
      model: '',
    };
  }
}

async function joined(stream: AsyncIterable<AIMessageChunk>): Promise<AIMessageChunk> {
  let whole: AIMessageChunk | undefined;
  for await (const chunk of stream) whole = whole === undefined ? chunk : whole.concat(chunk);
  if (whole === undefined) throw new Error('the stream was empty');
  return whole;
}

function langChain(name: string, dialect: DialectName, make: (url: string, apiKey: string, model: string) => BaseChatModel): Sdk {
  return {
    name: `langchain ${name}`,
    dialect,
    connect: (url, apiKey) => ({
      converse: (terms) => new LangChainConversation(make(url, apiKey, terms.model), terms),
      models: () => Promise.reject(new Error('LangChain lists no models')),
    }),
  };
}

const RETRIES = { maxRetries: 0 };

export const langChains: readonly Sdk[] = [
  langChain(
    'openai',
    'openai-chat',
    (url, apiKey, model) => new ChatOpenAI({ model, apiKey, configuration: { baseURL: `${url}/v1` }, ...RETRIES }),
  ),
  langChain(
    'openai responses',
    'openai-responses',
    (url, apiKey, model) =>
      new ChatOpenAI({ model, apiKey, configuration: { baseURL: `${url}/v1` }, useResponsesApi: true, zdrEnabled: true, ...RETRIES }),
  ),
  langChain(
    'anthropic',
    'anthropic-messages',
    (url, apiKey, model) => new ChatAnthropic({ model, apiKey, anthropicApiUrl: url, maxTokens: 4096, ...RETRIES }),
  ),
  langChain(
    'google',
    'gemini',
    (url, apiKey, model) => new ChatGoogleGenerativeAI({ model, apiKey, baseUrl: `${url}/genai`, apiVersion: 'v1beta', ...RETRIES }),
  ),
];
