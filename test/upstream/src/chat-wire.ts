// Writes a generated answer as the provider's bytes: one JSON body, or a stream of events.

import type { Answer, Choice, FinishReason, Piece } from './answer.ts';
import type { ProviderName } from './api-error.ts';
import type { ChatRequest } from './chat-request.ts';
import type { JsonObject, JsonValue } from './json-value.ts';
import { servedModel } from './models.ts';
import { type Segment, segment } from './reply.ts';
import { hash32 } from './seeded.ts';

/** What a rendering needs beside the request and its answer. */
export interface WireContext {
  provider: ProviderName;
  id: string;
  /** Seconds since 1970. */
  created: number;
  usage: JsonObject;
  /** The `no_usage` knob: the answer is given without its usage. */
  hideUsage: boolean;
  /** The `seed_usage` knob: what the first event of an OpenAI stream tells of usage; null where there is none. */
  seed: JsonObject | null;
}

const OBFUSCATION = 'IPio8PDeczEmdPrWuQNXk0OUCt9';
const OPENROUTER_COMMENT = ': OPENROUTER PROCESSING\n\n';
const OPENROUTER_PROVIDER = 'Simulated';
const REASONING_WORDS = ['Let', ' me', ' think', ' about', ' this', ' step', ' by', ' step', '.', ' '];

function callId(id: string, choice: number, call: number): string {
  return `call_${id.slice(-20)}${choice}${call.toString(36).padStart(3, '0')}`;
}

function reasoningWord(index: number): string {
  return REASONING_WORDS[index % REASONING_WORDS.length] ?? ' ';
}

function logprobEntry(token: string, top: number): JsonObject {
  const logprob = -(hash32(token) % 1000) / 1000;
  const bytes = [...Buffer.from(token)];
  const others = Array.from({ length: top }, (_, i): JsonObject => {
    const other = i === 0 ? token : `${token}${i}`;
    return { token: other, logprob: logprob - i, bytes: [...Buffer.from(other)] };
  });
  return { token, logprob, bytes, top_logprobs: others };
}

function logprobsOf(request: ChatRequest, pieces: Piece[]): JsonObject | null {
  if (!request.logprobs) return null;
  const content = pieces.flatMap((piece): JsonValue[] => (piece.kind === 'text' ? [logprobEntry(piece.text, request.topLogprobs)] : []));
  return { content, refusal: null };
}

function nativeReason(finish: FinishReason): string {
  return finish;
}

function messageOf(provider: ProviderName, choice: Choice, id: string): JsonObject {
  const text = choice.pieces.map((piece) => (piece.kind === 'text' ? piece.text : '')).join('');
  const calls: JsonObject[] = [];
  for (const piece of choice.pieces) {
    if (piece.kind !== 'call') continue;
    const given = choice.pieces.map((other) => (other.kind === 'arguments' && other.call === piece.call ? other.text : '')).join('');
    const own = { id: callId(id, choice.index, piece.call), type: piece.custom ? 'custom' : 'function' };
    calls.push(
      piece.custom ? { ...own, custom: { name: piece.name, input: given } } : { ...own, function: { name: piece.name, arguments: given } },
    );
  }
  const message: JsonObject = { role: 'assistant', content: calls.length > 0 ? null : text, refusal: null };
  if (provider === 'openrouter') {
    const words = Array.from({ length: choice.reasoningTokens }, (_, i) => reasoningWord(i)).join('');
    message.reasoning = words === '' ? null : words;
    if (words !== '') message.reasoning_details = [{ type: 'reasoning.text', text: words, format: 'unknown', index: 0 }];
  } else {
    message.annotations = [];
  }
  if (calls.length > 0) message.tool_calls = calls;
  return message;
}

/** The body of an answer that is not streamed. */
export function renderJson(request: ChatRequest, answer: Answer, context: WireContext): string {
  const { provider, id, created, usage } = context;
  const openrouter = provider === 'openrouter';
  const choices = answer.choices.map((choice): JsonObject => {
    const logprobs = logprobsOf(request, choice.pieces);
    const message = messageOf(provider, choice, id);
    if (openrouter) {
      return { index: choice.index, logprobs, finish_reason: choice.finish, native_finish_reason: nativeReason(choice.finish), message };
    }
    return { index: choice.index, message, logprobs, finish_reason: choice.finish };
  });
  const model = servedModel(provider, request.model);
  const shown = context.hideUsage ? {} : { usage };
  if (openrouter) {
    const body = { id, object: 'chat.completion', created, model, provider: OPENROUTER_PROVIDER, system_fingerprint: null };
    return JSON.stringify({ ...body, service_tier: request.serviceTier, choices, ...shown });
  }
  const body = { id, object: 'chat.completion', created, model, choices, ...shown };
  return `${JSON.stringify({ ...body, service_tier: request.serviceTier, system_fingerprint: null }, null, 2)}\n`;
}

function pieceDelta(piece: Piece, choice: Choice, id: string, openrouter: boolean): JsonObject {
  const lead: JsonObject = openrouter ? { content: piece.kind === 'text' ? piece.text : null, role: 'assistant' } : {};
  switch (piece.kind) {
    case 'text':
      return openrouter ? lead : { content: piece.text };
    case 'call': {
      const own = { index: piece.call, id: callId(id, choice.index, piece.call), type: piece.custom ? 'custom' : 'function' };
      const opened = piece.custom
        ? { ...own, custom: { name: piece.name, input: '' } }
        : { ...own, function: { name: piece.name, arguments: '' } };
      return { ...lead, tool_calls: [opened] };
    }
    case 'arguments': {
      const more = piece.custom ? { custom: { input: piece.text } } : { function: { arguments: piece.text } };
      return { ...lead, tool_calls: [{ index: piece.call, ...more }] };
    }
    default:
      return piece satisfies never;
  }
}

/** The pieces of all choices in the order they are streamed: in turn, so that the choices of `n` interleave. */
function interleaved(choices: Choice[]): Array<{ choice: Choice; piece: Piece }> {
  const order: Array<{ choice: Choice; piece: Piece }> = [];
  const longest = Math.max(0, ...choices.map((choice) => choice.pieces.length));
  for (let at = 0; at < longest; at++) {
    for (const choice of choices) {
      const piece = choice.pieces[at];
      if (piece !== undefined) order.push({ choice, piece });
    }
  }
  return order;
}

function openAiStream(request: ChatRequest, answer: Answer, context: WireContext): Segment[] {
  const { id, created, usage, hideUsage } = context;
  const head = JSON.stringify({
    id,
    object: 'chat.completion.chunk',
    created,
    model: servedModel('openai', request.model),
    service_tier: request.serviceTier,
    system_fingerprint: null,
  }).slice(0, -1);
  const withUsage = request.includeUsage && !hideUsage;
  const early = request.includeUsage ? ',"usage":null' : '';
  const first = context.seed === null ? early : `,"usage":${JSON.stringify(context.seed)}`;
  const tail = (text: string): string =>
    request.includeObfuscation ? `,"obfuscation":"${OBFUSCATION.slice(0, hash32(text) % OBFUSCATION.length)}"` : '';
  const event = (index: number, delta: string, logprobs: JsonObject | null, finish: string, pieces: number, usage = early): Segment => {
    const shown = request.logprobs ? `,"logprobs":${JSON.stringify(logprobs)}` : '';
    const choice = `{"index":${index},"delta":${delta}${shown},"finish_reason":${finish}}`;
    return segment(`data: ${head},"choices":[${choice}]${usage}${tail(delta)}}\n\n`, { pieces });
  };
  const segments: Segment[] = [];
  for (const choice of answer.choices) {
    const calls = choice.pieces[0]?.kind === 'call';
    segments.push(event(choice.index, `{"role":"assistant","content":${calls ? 'null' : '""'},"refusal":null}`, null, 'null', 0, first));
  }
  for (const { choice, piece } of interleaved(answer.choices)) {
    const delta = JSON.stringify(pieceDelta(piece, choice, id, false));
    segments.push(event(choice.index, delta, logprobsOf(request, [piece]), 'null', 1));
  }
  for (const choice of answer.choices) segments.push(event(choice.index, '{}', null, `"${choice.finish}"`, 0));
  if (withUsage)
    segments.push(segment(`data: ${head},"choices":[],"usage":${JSON.stringify(usage)}${tail('usage')}}\n\n`, { usage: true }));
  segments.push(segment('data: [DONE]\n\n'));
  return segments;
}

function openRouterStream(request: ChatRequest, answer: Answer, context: WireContext): Segment[] {
  const { id, created, usage, hideUsage } = context;
  const model = servedModel('openrouter', request.model);
  const head = JSON.stringify({ id, object: 'chat.completion.chunk', created, model, provider: OPENROUTER_PROVIDER }).slice(0, -1);
  const event = (index: number, delta: JsonObject, finish: FinishReason | null, logprobs: JsonObject | null, pieces: number): Segment => {
    const choice = { index, delta, finish_reason: finish, native_finish_reason: finish === null ? null : nativeReason(finish) };
    return segment(`data: ${head},"choices":[${JSON.stringify(logprobs === null ? choice : { ...choice, logprobs })}]}\n\n`, { pieces });
  };
  const segments: Segment[] = [segment(OPENROUTER_COMMENT, { events: 0 }), segment(OPENROUTER_COMMENT, { events: 0 })];
  for (const choice of answer.choices) {
    for (let at = 0; at < choice.reasoningTokens; at++) {
      const text = reasoningWord(at);
      const reasoning_details = [{ type: 'reasoning.text', text, format: 'unknown', index: 0 }];
      segments.push(event(choice.index, { content: '', role: 'assistant', reasoning: text, reasoning_details }, null, null, 1));
    }
  }
  for (const { choice, piece } of interleaved(answer.choices)) {
    segments.push(event(choice.index, pieceDelta(piece, choice, id, true), null, logprobsOf(request, [piece]), 1));
  }
  for (const choice of answer.choices) segments.push(event(choice.index, { content: '', role: 'assistant' }, choice.finish, null, 0));
  if (!hideUsage) {
    // The recorded streams repeat the finish chunk with the usage on it, asked for or not.
    const finish = answer.choices[0]?.finish ?? 'stop';
    const choice = {
      index: 0,
      delta: { content: '', role: 'assistant' },
      finish_reason: finish,
      native_finish_reason: nativeReason(finish),
    };
    segments.push(
      segment(`data: ${head},"service_tier":null,"choices":[${JSON.stringify(choice)}],"usage":${JSON.stringify(usage)}}\n\n`, {
        usage: true,
      }),
    );
  }
  segments.push(segment('data: [DONE]\n\n'));
  return segments;
}

/** The events of a streamed answer, one segment each. */
export function renderStream(request: ChatRequest, answer: Answer, context: WireContext): Segment[] {
  return context.provider === 'openai' ? openAiStream(request, answer, context) : openRouterStream(request, answer, context);
}
