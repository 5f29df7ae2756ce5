/** Vercel's AI SDK and its providers. */
import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import type { DialectName } from '@meridian/domain/dialect';
import { generateText, jsonSchema, type LanguageModel, type ModelMessage, streamText, type ToolSet, tool } from 'ai';
import { type Conversation, objectSchema, type Part, type Sdk, type Terms, type Turn } from './sdk.ts';

class VercelConversation implements Conversation {
  readonly #model: LanguageModel;
  readonly #terms: Terms;
  readonly #messages: ModelMessage[] = [];
  #called: { toolCallId: string; toolName: string }[] = [];

  constructor(model: LanguageModel, terms: Terms) {
    this.#model = model;
    this.#terms = terms;
  }

  say(parts: readonly Part[]): Promise<Turn> {
    const content = parts.map((part) =>
      'text' in part
        ? { type: 'text' as const, text: part.text }
        : { type: 'file' as const, data: new URL(part.image), mediaType: 'image/png' },
    );
    this.#messages.push({ role: 'user', content });
    return this.#ask();
  }

  answerCalls(results: readonly string[]): Promise<Turn> {
    const content = this.#called.map(({ toolCallId, toolName }, index) => ({
      type: 'tool-result' as const,
      toolCallId,
      toolName,
      output: { type: 'text' as const, value: results[index] ?? '' },
    }));
    this.#messages.push({ role: 'tool', content });
    return this.#ask();
  }

  async leave(text: string): Promise<void> {
    const controller = new AbortController();
    const { textStream } = streamText({ ...this.#settings(), messages: [{ role: 'user', content: text }], abortSignal: controller.signal });
    for await (const _ of textStream) break;
    controller.abort();
  }

  async #ask(): Promise<Turn> {
    const settings = { ...this.#settings(), messages: this.#messages };
    const result = this.#terms.stream
      ? streamText({
          ...settings,
          onError: ({ error }) => {
            throw error;
          },
        })
      : await generateText(settings);
    const [text, calls, finish, usage, response] = await Promise.all([
      result.text,
      result.toolCalls,
      result.finishReason,
      result.usage,
      result.response,
    ]);
    this.#messages.push(...response.messages);
    this.#called = calls.map(({ toolCallId, toolName }) => ({ toolCallId, toolName }));
    return {
      text,
      calls: calls.map(({ toolName, input }) => ({ name: toolName, arguments: input as Record<string, unknown> })),
      finish,
      inputTokens: usage.inputTokens,
      outputTokens: usage.outputTokens,
      model: response.modelId,
    };
  }

  #settings(): { model: LanguageModel; maxRetries: number; providerOptions: { openai: { store: false } }; tools?: ToolSet } {
    const { tools } = this.#terms;
    return {
      model: this.#model,
      maxRetries: 0,
      // Nothing is kept here: what a later turn needs goes along with it, as with OpenAI for those who have nothing kept there.
      providerOptions: { openai: { store: false } },
      ...(tools === undefined
        ? {}
        : {
            tools: Object.fromEntries(
              tools.map(({ name, description, parameters }) => [
                name,
                tool({ description, inputSchema: jsonSchema(objectSchema(parameters)) }),
              ]),
            ),
          }),
    };
  }
}

function vercel(name: string, dialect: DialectName, model: (url: string, apiKey: string, id: string) => LanguageModel): Sdk {
  return {
    name: `ai-sdk ${name}`,
    dialect,
    connect: (url, apiKey) => ({
      converse: (terms) => new VercelConversation(model(url, apiKey, terms.model), terms),
      models: () => Promise.reject(new Error('the AI SDK lists no models')),
    }),
  };
}

export const vercelAis: readonly Sdk[] = [
  vercel('openai chat', 'openai-chat', (url, apiKey, id) => createOpenAI({ baseURL: `${url}/v1`, apiKey }).chat(id)),
  vercel('openai responses', 'openai-responses', (url, apiKey, id) => createOpenAI({ baseURL: `${url}/v1`, apiKey }).responses(id)),
  vercel('anthropic', 'anthropic-messages', (url, apiKey, id) => createAnthropic({ baseURL: `${url}/v1`, apiKey })(id)),
  vercel('google', 'gemini', (url, apiKey, id) => createGoogleGenerativeAI({ baseURL: `${url}/genai/v1beta`, apiKey })(id)),
];
