/** Google's SDK and Gemini, by the chats that keep their own history. */
import {
  type Chat,
  type Content,
  type GenerateContentConfig,
  type GenerateContentResponse,
  GoogleGenAI,
  type Part as GooglePart,
} from '@google/genai';
import { type Client, type Conversation, collect, dataOf, objectSchema, type Part, type Sdk, type Terms, type Turn } from './sdk.ts';

class GoogleConversation implements Conversation {
  readonly #google: GoogleGenAI;
  readonly #chat: Chat;
  readonly #terms: Terms;
  #called: { id?: string; name?: string }[] = [];

  constructor(google: GoogleGenAI, terms: Terms) {
    this.#google = google;
    this.#terms = terms;
    this.#chat = google.chats.create({ model: terms.model, config: configOf(terms) });
  }

  say(parts: readonly Part[]): Promise<Turn> {
    return this.#ask(parts.map(googlePart));
  }

  answerCalls(results: readonly string[]): Promise<Turn> {
    return this.#ask(
      this.#called.map(({ id, name }, index) => ({
        functionResponse: {
          ...(id === undefined ? {} : { id }),
          ...(name === undefined ? {} : { name }),
          response: { output: results[index] },
        },
      })),
    );
  }

  async leave(text: string): Promise<void> {
    const controller = new AbortController();
    const stream = await this.#google.models.generateContentStream({
      model: this.#terms.model,
      contents: text,
      config: { ...configOf(this.#terms), abortSignal: controller.signal },
    });
    // Leaving the loop does not cancel what is read: the signal does.
    for await (const chunk of stream) if (textOf(chunk.candidates?.[0]?.content) !== '') break;
    controller.abort();
  }

  async #ask(message: GooglePart[]): Promise<Turn> {
    const chunks: GenerateContentResponse[] = this.#terms.stream
      ? await collect(await this.#chat.sendMessageStream({ message }))
      : [await this.#chat.sendMessage({ message })];
    const calls = chunks.flatMap(({ functionCalls }) => functionCalls ?? []);
    this.#called = calls.map(({ id, name }) => ({ ...(id === undefined ? {} : { id }), ...(name === undefined ? {} : { name }) }));
    const usage = chunks.findLast(({ usageMetadata }) => usageMetadata !== undefined)?.usageMetadata;
    const output = (usage?.candidatesTokenCount ?? 0) + (usage?.thoughtsTokenCount ?? 0);
    return {
      text: chunks.map(({ candidates }) => textOf(candidates?.[0]?.content)).join(''),
      calls: calls.map(({ name, args }) => ({ name: name ?? '', arguments: args ?? {} })),
      finish: chunks.findLast(({ candidates }) => candidates?.[0]?.finishReason !== undefined)?.candidates?.[0]?.finishReason ?? '',
      inputTokens: usage?.promptTokenCount,
      outputTokens: usage === undefined ? undefined : output,
      model: chunks.at(-1)?.modelVersion ?? '',
    };
  }
}

function configOf({ tools, thinks, json, maxOutputTokens }: Terms): GenerateContentConfig {
  return {
    ...(tools === undefined
      ? {}
      : {
          tools: [
            {
              functionDeclarations: tools.map(({ name, description, parameters }) => ({
                name,
                description,
                parametersJsonSchema: objectSchema(parameters),
              })),
            },
          ],
        }),
    ...(thinks === true ? { thinkingConfig: { thinkingBudget: 1024, includeThoughts: true } } : {}),
    ...(json === undefined ? {} : { responseMimeType: 'application/json' }),
    ...(json === undefined || json === 'any' ? {} : { responseJsonSchema: objectSchema(json) }),
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
  };
}

function googlePart(part: Part): GooglePart {
  if ('text' in part) return { text: part.text };
  const data = dataOf(part.image);
  if (data === undefined) return { fileData: { fileUri: part.image, mimeType: 'image/png' } };
  return { inlineData: { mimeType: data.mediaType, data: data.base64 } };
}

/** The answer's own words, without its thoughts. */
function textOf(content: Content | undefined): string {
  return (content?.parts ?? []).map(({ text, thought }) => (thought === true ? '' : (text ?? ''))).join('');
}

export const google: Sdk = {
  name: 'google-genai',
  dialect: 'gemini',
  connect: (url, apiKey): Client => {
    const client = new GoogleGenAI({ apiKey, httpOptions: { baseUrl: `${url}/genai` } });
    return {
      converse: (terms) => new GoogleConversation(client, terms),
      models: async () => (await collect(await client.models.list())).map(({ name }) => name?.replace(/^models\//, '') ?? ''),
      countTokens: async (model, text) => (await client.models.countTokens({ model, contents: text })).totalTokens ?? 0,
      embed: async (model, texts) =>
        ((await client.models.embedContent({ model, contents: [...texts] })).embeddings ?? []).map(({ values }) => values ?? []),
    };
  },
};
