// For tests: one call, written for and read from each of the simulated wires.

import { isObject, type JsonObject, type JsonValue } from './json-value.ts';

/** What a test asks for, whatever the wire. */
export interface Ask {
  model?: string;
  text?: string;
  stream?: boolean;
  /** The x-sim header. */
  sim?: string;
  /** Fields of the body beside those of the wire's plain request. */
  more?: JsonObject;
}

/** What came back. */
export interface Heard {
  status: number;
  /** Of a stream the texts of its events, else the body. */
  text: string;
  usage: JsonObject | null;
  finish: string | null;
  error: JsonObject | null;
  /** The payloads of a stream's events; a body is one. */
  events: JsonObject[];
  raw: string;
}

/** How one wire is called and read. */
export interface TestedWire {
  name: string;
  model: string;
  /** Whether the wire tells reasoning in its text. */
  request(ask: Ask): { path: string; headers: Record<string, string>; body: JsonObject };
  /** The text of one payload. */
  textOf(payload: JsonObject): string;
  usageOf(payload: JsonObject): JsonObject | null;
  finishOf(payload: JsonObject): string | null;
  /** Output tokens by a usage object. */
  outputTokens(usage: JsonObject): number;
}

function at(value: JsonValue | undefined, ...path: Array<string | number>): JsonValue | undefined {
  let here = value;
  for (const step of path) {
    if (typeof step === 'number') here = Array.isArray(here) ? here.at(step) : undefined;
    else here = isObject(here) ? here[step] : undefined;
  }
  return here;
}

function text(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : '';
}

function objectOrNull(value: JsonValue | undefined): JsonObject | null {
  return isObject(value) ? value : null;
}

function list(value: JsonValue | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

const chat: TestedWire = {
  name: 'openai-chat',
  model: 'gpt-4o',
  request: ({ model = 'gpt-4o', text: content = 'one two three', stream = false, more = {} }) => ({
    path: '/v1/chat/completions',
    headers: { authorization: 'Bearer sk-test-abcd' },
    body: { model, stream, messages: [{ role: 'user', content }], ...(stream ? { stream_options: { include_usage: true } } : {}), ...more },
  }),
  textOf: (payload) => text(at(payload, 'choices', 0, 'delta', 'content') ?? at(payload, 'choices', 0, 'message', 'content')),
  usageOf: (payload) => objectOrNull(payload.usage),
  finishOf: (payload) => text(at(payload, 'choices', 0, 'finish_reason')) || null,
  outputTokens: (usage) => Number(usage.completion_tokens),
};

const responses: TestedWire = {
  name: 'openai-responses',
  model: 'gpt-5.4',
  request: ({ model = 'gpt-5.4', text: input = 'one two three', stream = false, more = {} }) => ({
    path: '/v1/responses',
    headers: { authorization: 'Bearer sk-test-abcd' },
    body: { model, stream, input, ...more },
  }),
  textOf(payload) {
    if (payload.type === 'response.output_text.delta') return text(payload.delta);
    const items = list(payload.output).flatMap((item) => list(item.content));
    return items.map((part) => text(part.text)).join('');
  },
  usageOf: (payload) => objectOrNull(payload.usage ?? at(payload, 'response', 'usage')),
  finishOf(payload) {
    const response = payload.object === 'response' ? payload : objectOrNull(payload.response);
    if (response === null || response.status === 'in_progress') return null;
    return text(at(response, 'incomplete_details', 'reason')) || text(response.status);
  },
  outputTokens: (usage) => Number(usage.output_tokens),
};

const messages: TestedWire = {
  name: 'anthropic-messages',
  model: 'claude-sonnet-4-5',
  request: ({ model = 'claude-sonnet-4-5', text: content = 'one two three', stream = false, more = {} }) => ({
    path: '/anthropic/v1/messages',
    headers: { 'x-api-key': 'sk-test-abcd', 'anthropic-version': '2023-06-01' },
    body: { model, stream, max_tokens: 100_000, messages: [{ role: 'user', content }], ...more },
  }),
  textOf: (payload) =>
    text(at(payload, 'delta', 'text')) +
    list(payload.content)
      .map((block) => text(block.text))
      .join(''),
  usageOf: (payload) => objectOrNull(payload.usage ?? at(payload, 'message', 'usage')),
  finishOf: (payload) => text(payload.stop_reason ?? at(payload, 'delta', 'stop_reason')) || null,
  outputTokens: (usage) => Number(usage.output_tokens),
};

const generate: TestedWire = {
  name: 'gemini',
  model: 'gemini-2.5-flash',
  request: ({ model = 'gemini-2.5-flash', text: content = 'one two three', stream = false, more = {} }) => ({
    path: `/gemini/v1beta/models/${model}:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
    headers: { 'x-goog-api-key': 'sk-test-abcd' },
    body: { contents: [{ role: 'user', parts: [{ text: content }] }], ...more },
  }),
  textOf: (payload) =>
    list(at(payload, 'candidates', 0, 'content', 'parts'))
      .filter((part) => part.thought !== true)
      .map((part) => text(part.text))
      .join(''),
  usageOf: (payload) => objectOrNull(payload.usageMetadata),
  finishOf: (payload) => text(at(payload, 'candidates', 0, 'finishReason')) || null,
  outputTokens: (usage) => Number(usage.candidatesTokenCount ?? 0) + Number(usage.thoughtsTokenCount ?? 0),
};

/** The four wires. */
export const WIRES: TestedWire[] = [chat, responses, messages, generate];

/** The wire of a name. */
export function wireNamed(name: string): TestedWire {
  const wire = WIRES.find((one) => one.name === name);
  if (wire === undefined) throw new Error(`no wire is called ${name}`);
  return wire;
}

/** The payloads of a stream's events. */
export function eventsOf(raw: string): JsonObject[] {
  const found: JsonObject[] = [];
  for (const line of raw.split(/\r?\n/)) {
    if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
    try {
      const value: JsonValue = JSON.parse(line.slice('data: '.length));
      if (isObject(value)) found.push(value);
    } catch {
      // An event that a knob has broken; the raw text has it.
    }
  }
  return found;
}

/** Sends a call as it stands. */
export async function send(origin: string, path: string, headers: Record<string, string>, body: JsonValue): Promise<Response> {
  return fetch(origin + path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });
}

/** Asks over one wire and reads the answer. */
export async function ask(origin: string, wire: TestedWire, what: Ask): Promise<Heard> {
  const { path, headers, body } = wire.request(what);
  const response = await send(origin, path, { ...headers, ...(what.sim === undefined ? {} : { 'x-sim': what.sim }) }, body);
  const raw = await response.text();
  const streamed = (response.headers.get('content-type') ?? '').startsWith('text/event-stream');
  let events: JsonObject[] = [];
  if (streamed) events = eventsOf(raw);
  else {
    try {
      const whole: JsonValue = JSON.parse(raw);
      events = isObject(whole) ? [whole] : [];
    } catch {
      // A body that a knob has broken; the raw text has it.
    }
  }
  let usage: JsonObject | null = null;
  let finish: string | null = null;
  let error: JsonObject | null = null;
  for (const payload of events) {
    const found = wire.usageOf(payload);
    if (found !== null) usage = Object.assign({}, usage, found);
    finish = wire.finishOf(payload) ?? finish;
    if (isObject(payload.error)) error = payload.error;
  }
  return { status: response.status, text: events.map((payload) => wire.textOf(payload)).join(''), usage, finish, error, events, raw };
}
