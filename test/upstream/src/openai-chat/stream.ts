// Writes a generated chat answer as a stream of events, in OpenAI's form or OpenRouter's.

import type { Answer, Choice, Piece } from '../answer.ts';
import type { JsonObject } from '../json-value.ts';
import { obfuscationOf } from '../obfuscation.ts';
import { reasoningWord } from '../reasoning.ts';
import { type Segment, segment } from '../reply.ts';
import { annotationsOf, callId, finishOf, logprobsOf, OPENROUTER_PROVIDER, type WireContext } from './json.ts';
import { servedModel } from './models.ts';
import type { ChatRequest } from './request.ts';

const OPENROUTER_COMMENT = ': OPENROUTER PROCESSING\n\n';

function pieceDelta(piece: Piece, choice: Choice, id: string, openrouter: boolean): JsonObject {
  const lead: JsonObject = openrouter ? { content: piece.kind === 'text' ? piece.text : null, role: 'assistant' } : {};
  switch (piece.kind) {
    case 'text':
      if (choice.refusal) return { ...(openrouter ? { ...lead, content: '' } : {}), refusal: piece.text };
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
  const tail = (text: string): string => (request.includeObfuscation ? `,"obfuscation":"${obfuscationOf(text)}"` : '');
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
  for (const choice of answer.choices) {
    const annotations = annotationsOf(choice, context);
    if (annotations.length > 0) segments.push(event(choice.index, JSON.stringify({ annotations }), null, 'null', 0));
  }
  for (const choice of answer.choices)
    segments.push(event(choice.index, '{}', null, JSON.stringify(finishOf(request, choice, context)), 0));
  if (withUsage)
    segments.push(segment(`data: ${head},"choices":[],"usage":${JSON.stringify(usage)}${tail('usage')}}\n\n`, { usage: true }));
  segments.push(segment('data: [DONE]\n\n'));
  return segments;
}

function openRouterStream(request: ChatRequest, answer: Answer, context: WireContext): Segment[] {
  const { id, created, usage, hideUsage } = context;
  const model = servedModel('openrouter', request.model);
  const head = JSON.stringify({ id, object: 'chat.completion.chunk', created, model, provider: OPENROUTER_PROVIDER }).slice(0, -1);
  const event = (index: number, delta: JsonObject, finish: string | null, logprobs: JsonObject | null, pieces: number): Segment => {
    const choice = { index, delta, finish_reason: finish, native_finish_reason: finish };
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
  for (const choice of answer.choices)
    segments.push(event(choice.index, { content: '', role: 'assistant' }, finishOf(request, choice, context), null, 0));
  if (!hideUsage) {
    // The recorded streams repeat the finish chunk with the usage on it, asked for or not.
    const [first] = answer.choices;
    const finish = first === undefined ? 'stop' : finishOf(request, first, context);
    const choice = {
      index: 0,
      delta: { content: '', role: 'assistant' },
      finish_reason: finish,
      native_finish_reason: finish,
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
