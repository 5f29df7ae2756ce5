/** A client of a Responses WebSocket, and a provider that speaks Responses, for tests. */
import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { type ClientOptions, WebSocket } from 'ws';
import type { Provider } from '../../testing.ts';

export interface ServerMessage {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** What the tests read of a response. */
export interface ResponseObject {
  readonly id: string;
  readonly status: string;
  readonly output: readonly { readonly type: string; readonly content?: readonly { readonly text?: string }[] }[];
  readonly usage?: { readonly cost_usd?: number } | null;
}

export class TestClient {
  readonly ws: WebSocket;
  /** Not taken yet. */
  readonly messages: ServerMessage[] = [];
  /** Code and reason, once it is closed. */
  readonly closed: Promise<readonly [number, string]>;
  #wake: () => void = () => {};
  #isClosed = false;

  constructor(url: string, apiKey: string, options: ClientOptions = {}) {
    this.ws = new WebSocket(url, { headers: { authorization: `Bearer ${apiKey}` }, ...options });
    this.ws.on('error', () => {});
    this.ws.on('message', (data: Buffer) => {
      this.messages.push(JSON.parse(data.toString('utf8')));
      this.#wake();
    });
    this.closed = new Promise((resolve) => {
      this.ws.once('close', (code, reason) => {
        this.#isClosed = true;
        this.#wake();
        resolve([code, String(reason)]);
      });
    });
  }

  async opened(): Promise<this> {
    await once(this.ws, 'open');
    return this;
  }

  send(message: object): void {
    this.ws.send(JSON.stringify(message));
  }

  /** `response.create` of the tests' model. */
  create(fields: object): void {
    this.send({ type: 'response.create', model: 'm-1.5', store: false, ...fields });
  }

  /** The next message of a lane; those of others stay. */
  async next(lane?: string): Promise<ServerMessage> {
    for (;;) {
      const index = this.messages.findIndex((message) => message.stream_id === lane);
      const [message] = index === -1 ? [] : this.messages.splice(index, 1);
      if (message !== undefined) return message;
      if (this.#isClosed) throw new Error('closed without a further message');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** All messages of a lane up to the first that ends a response or is an error. */
  async answer(lane?: string): Promise<ServerMessage[]> {
    const taken: ServerMessage[] = [];
    for (;;) {
      const message = await this.next(lane);
      taken.push(message);
      if (['response.completed', 'response.incomplete', 'response.failed', 'error'].includes(message.type)) return taken;
    }
  }

  /** Sends a turn and gives its response; throws on an error. */
  async turn(fields: object): Promise<ResponseObject> {
    this.create(fields);
    const last = (await this.answer()).at(-1);
    if (last === undefined || last.type === 'error') throw new Error(JSON.stringify(last));
    return last.response as ResponseObject;
  }

  /** Sends a turn that is answered with an error. */
  async refused(fields: object): Promise<{ status: unknown; code: unknown; message: string; param: unknown }> {
    this.create(fields);
    return errorOf((await this.answer()).at(-1));
  }

  async close(): Promise<void> {
    this.ws.close();
    await this.closed;
  }
}

export function errorOf(message: ServerMessage | undefined): { status: unknown; code: unknown; message: string; param: unknown } {
  if (message?.type !== 'error') throw new Error(`no error: ${JSON.stringify(message)}`);
  const error = message.error as { code: unknown; message: string; param: unknown };
  return { status: message.status, code: error.code, message: error.message, param: error.param };
}

/** Why a connection was not let in. */
export async function notLetIn(client: TestClient): Promise<{ status: number; headers: IncomingHttpHeaders; body: string }> {
  const [, answer] = (await once(client.ws, 'unexpected-response')) as [unknown, IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks).toString('utf8') };
}

/** A request as a provider gets it. */
export interface ProviderRequest {
  readonly model: string;
  readonly input: readonly { readonly content?: unknown; readonly [field: string]: unknown }[];
  readonly [field: string]: unknown;
}

/** A provider's stream of events, numbered. */
export class ResponseStream {
  readonly id: string;
  readonly response: ServerResponse;
  readonly #model: string;
  #number = 0;

  constructor(id: string, response: ServerResponse, model = 'up-m-1.5') {
    this.id = id;
    this.response = response;
    this.#model = model;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
  }

  event(type: string, fields: object): boolean {
    const data = JSON.stringify({ type, sequence_number: this.#number++, ...fields });
    return this.response.write(`event: ${type}\ndata: ${data}\n\n`);
  }

  #object(status: string, fields: object): object {
    return { id: this.id, object: 'response', created_at: 1_000, model: this.#model, status, output: [], error: null, ...fields };
  }

  begin(): void {
    this.event('response.created', { response: this.#object('in_progress', { usage: null }) });
    this.event('response.in_progress', { response: this.#object('in_progress', { usage: null }) });
    const item = { id: `msg_${this.id}`, type: 'message', status: 'in_progress', role: 'assistant', content: [] };
    this.event('response.output_item.added', { output_index: 0, item });
    this.event('response.content_part.added', {
      item_id: item.id,
      output_index: 0,
      content_index: 0,
      part: { type: 'output_text', text: '', annotations: [], logprobs: [] },
    });
  }

  text(delta: string): boolean {
    return this.event('response.output_text.delta', {
      item_id: `msg_${this.id}`,
      output_index: 0,
      content_index: 0,
      delta,
      logprobs: [],
    });
  }

  end(text: string, status: 'completed' | 'incomplete' = 'completed', item: object = {}): void {
    const part = { type: 'output_text', text, annotations: [], logprobs: [] };
    const message = { id: `msg_${this.id}`, type: 'message', status, role: 'assistant', content: [part], ...item };
    const place = { item_id: message.id, output_index: 0, content_index: 0 };
    this.event('response.output_text.done', { ...place, text, logprobs: [] });
    this.event('response.content_part.done', { ...place, part });
    this.event('response.output_item.done', { output_index: 0, item: message });
    const usage = {
      input_tokens: 10,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: 5,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 15,
    };
    const reason = status === 'incomplete' ? { incomplete_details: { reason: 'max_output_tokens' } } : { incomplete_details: null };
    this.event(`response.${status}`, { response: this.#object(status, { output: [message], usage, ...reason }) });
    this.response.end();
  }

  whole(text: string): void {
    this.begin();
    this.text(text);
    this.end(text);
  }
}

/** Answers each request with a number and how many items it had; what it was asked is kept. */
export function counting(): { readonly provider: Provider; readonly requests: ProviderRequest[] } {
  const requests: ProviderRequest[] = [];
  return {
    requests,
    provider: (_, response, body) => {
      const request = JSON.parse(body) as ProviderRequest;
      requests.push(request);
      new ResponseStream(`resp_up${requests.length}`, response).whole(`answer ${requests.length} to ${request.input.length} items`);
    },
  };
}

/** A provider that leaves its answers to the test. */
export function asking(): {
  readonly provider: Provider;
  asked(): Promise<{ readonly request: ProviderRequest; readonly stream: ResponseStream; readonly message: IncomingMessage }>;
} {
  const waiting: { readonly request: ProviderRequest; readonly response: ServerResponse; readonly message: IncomingMessage }[] = [];
  let wake: () => void = () => {};
  let count = 0;
  return {
    provider: (message, response, body) => {
      waiting.push({ request: JSON.parse(body) as ProviderRequest, response, message });
      wake();
    },
    async asked() {
      while (waiting.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const { request, response, message } = waiting.shift() as (typeof waiting)[number];
      return { request, stream: new ResponseStream(`resp_ask${++count}`, response), message };
    },
  };
}
