// Writes a generated chat answer as one JSON body, in OpenAI's form or OpenRouter's.

import type { Answer, Choice, FinishReason, Piece } from '../answer.ts';
import type { JsonObject, JsonValue } from '../json-value.ts';
import { logprobEntry } from '../logprobs.ts';
import type { ProviderName } from '../provider.ts';
import { reasoningWord } from '../reasoning.ts';
import { servedModel } from './models.ts';
import type { ChatRequest } from './request.ts';

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
  /** The `finish` knob: the reason to give instead of the true one. */
  finish: string | null;
  /** The `citations` knob. */
  citations: boolean;
}

export const OPENROUTER_PROVIDER = 'Simulated';

export function callId(id: string, choice: number, call: number): string {
  return `call_${id.slice(-20)}${choice}${call.toString(36).padStart(3, '0')}`;
}

export function logprobsOf(request: ChatRequest, pieces: Piece[]): JsonObject | null {
  if (!request.logprobs) return null;
  const content = pieces.flatMap((piece): JsonValue[] => (piece.kind === 'text' ? [logprobEntry(piece.text, request.topLogprobs)] : []));
  return { content, refusal: null };
}

const FINISH: Record<FinishReason, string> = {
  stop: 'stop',
  stop_sequence: 'stop',
  length: 'length',
  tool_calls: 'tool_calls',
  content_filter: 'content_filter',
};

/** The `finish_reason` of a choice. */
export function finishOf(request: ChatRequest, choice: Choice, context: WireContext): string {
  if (context.finish !== null) return context.finish;
  // OpenAI reports `stop` for a call that was named by the request; the model did not choose to end there.
  if (choice.finish === 'tool_calls' && request.toolChoice.mode === 'named') return 'stop';
  return FINISH[choice.finish];
}

/** What an answer cites where the `citations` knob asks for it: all of its text. */
export function annotationsOf(choice: Choice, context: WireContext): JsonObject[] {
  if (!context.citations) return [];
  const end = choice.pieces.reduce((sum, piece) => sum + (piece.kind === 'text' ? piece.text.length : 0), 0);
  const url_citation = { start_index: 0, end_index: end, url: 'https://example.com/source', title: 'A simulated source' };
  return [{ type: 'url_citation', url_citation }];
}

function messageOf(choice: Choice, context: WireContext): JsonObject {
  const { provider, id } = context;
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
  const content = calls.length > 0 || choice.refusal ? null : text;
  const message: JsonObject = { role: 'assistant', content, refusal: choice.refusal ? text : null };
  if (provider === 'openrouter') {
    const words = Array.from({ length: choice.reasoningTokens }, (_, i) => reasoningWord(i)).join('');
    message.reasoning = words === '' ? null : words;
    if (words !== '') message.reasoning_details = [{ type: 'reasoning.text', text: words, format: 'unknown', index: 0 }];
  } else {
    message.annotations = annotationsOf(choice, context);
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
    const message = messageOf(choice, context);
    const finish = finishOf(request, choice, context);
    if (openrouter) return { index: choice.index, logprobs, finish_reason: finish, native_finish_reason: finish, message };
    return { index: choice.index, message, logprobs, finish_reason: finish };
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
