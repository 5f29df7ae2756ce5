/** OpenAI's SDK and the Responses API, without anything kept on the server. */
import OpenAI from 'openai';
import { type Client, type Conversation, collect, objectSchema, type Part, type Sdk, type Terms, type Turn } from './sdk.ts';

type Body = Omit<OpenAI.Responses.ResponseCreateParamsNonStreaming, 'stream'>;

class ResponsesConversation implements Conversation {
  readonly #openai: OpenAI;
  readonly #terms: Terms;
  readonly #input: OpenAI.Responses.ResponseInputItem[] = [];
  #called: string[] = [];

  constructor(openai: OpenAI, terms: Terms) {
    this.#openai = openai;
    this.#terms = terms;
  }

  say(parts: readonly Part[]): Promise<Turn> {
    this.#input.push({ role: 'user', content: parts.map(contentPart) });
    return this.#ask();
  }

  answerCalls(results: readonly string[]): Promise<Turn> {
    for (const [index, call_id] of this.#called.entries()) {
      this.#input.push({ type: 'function_call_output', call_id, output: results[index] ?? '' });
    }
    return this.#ask();
  }

  async leave(text: string): Promise<void> {
    this.#input.push({ role: 'user', content: text });
    const stream = await this.#openai.responses.create({ ...this.#body(), stream: true });
    for await (const event of stream) if (event.type === 'response.output_text.delta') break;
  }

  async #ask(): Promise<Turn> {
    const response = this.#terms.stream
      ? await this.#openai.responses.stream({ ...this.#body(), stream: true }).finalResponse()
      : await this.#openai.responses.create(this.#body());
    // What came goes back as it came, with the fields that only answers have.
    this.#input.push(...(response.output as OpenAI.Responses.ResponseInputItem[]));
    const calls = response.output.flatMap((item) => (item.type === 'function_call' ? [item] : []));
    this.#called = calls.map(({ call_id }) => call_id);
    return {
      text: response.output_text,
      calls: calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.arguments) })),
      finish: response.incomplete_details?.reason ?? response.status ?? '',
      inputTokens: response.usage?.input_tokens,
      outputTokens: response.usage?.output_tokens,
      model: response.model,
    };
  }

  #body(): Body {
    const { model, tools, thinks, json, maxOutputTokens } = this.#terms;
    const schema = json === undefined || json === 'any' ? undefined : objectSchema(json);
    return {
      model,
      input: [...this.#input],
      store: false,
      include: ['reasoning.encrypted_content'],
      ...(tools === undefined
        ? {}
        : {
            tools: tools.map((tool) => ({ ...tool, type: 'function' as const, strict: true, parameters: objectSchema(tool.parameters) })),
          }),
      ...(thinks === true ? { reasoning: { effort: 'low' as const } } : {}),
      ...(json === 'any' ? { text: { format: { type: 'json_object' as const } } } : {}),
      ...(schema === undefined ? {} : { text: { format: { type: 'json_schema' as const, name: 'answer', strict: true, schema } } }),
      ...(maxOutputTokens === undefined ? {} : { max_output_tokens: maxOutputTokens }),
    };
  }
}

function contentPart(part: Part): OpenAI.Responses.ResponseInputContent {
  return 'text' in part ? { type: 'input_text', text: part.text } : { type: 'input_image', image_url: part.image, detail: 'auto' };
}

export const openaiResponses: Sdk = {
  name: 'openai responses',
  dialect: 'openai-responses',
  connect: (url, apiKey): Client => {
    const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
    return {
      converse: (terms) => new ResponsesConversation(openai, terms),
      models: async () => (await collect(openai.models.list())).map(({ id }) => id),
    };
  },
};
