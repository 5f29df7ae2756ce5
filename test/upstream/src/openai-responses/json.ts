// Writes a generated answer as the output items of a response, and as one JSON body.

import type { Answer, Choice } from '../answer.ts';
import type { JsonObject, JsonValue } from '../json-value.ts';
import { logprobEntry } from '../logprobs.ts';
import { servedModel } from '../openai-chat/models.ts';
import { reasoningText } from '../reasoning.ts';
import { shortId } from '../short-id.ts';
import { sign } from '../signature.ts';
import { encrypted, purposeFor } from './items.ts';
import type { ResponsesRequest } from './request.ts';

/** What a rendering needs beside the request and its answer. */
export interface WireContext {
  /** The letters that all ids of this answer share. */
  id: string;
  key: string;
  /** Seconds since 1970. */
  created: number;
  usage: JsonObject;
  /** The `no_usage` knob. */
  hideUsage: boolean;
  /** The `seed_usage` knob: what the first event tells of usage; null where there is none. */
  seed: JsonObject | null;
  /** The `finish` knob: the reason for an incomplete answer, whatever the true one. */
  finish: string | null;
  /** The `citations` knob. */
  citations: boolean;
}

/** An output item as it is when it is done, with the tokens it is streamed in. */
export type Output =
  | { kind: 'reasoning'; id: string; tokens: number; summary: string | null; encrypted: string | null }
  | { kind: 'message'; id: string; pieces: string[]; refusal: boolean; annotations: JsonObject[]; complete: boolean }
  | { kind: 'call'; id: string; callId: string; name: string; custom: boolean; pieces: string[]; complete: boolean };

/** The one choice of an answer: this wire has no `n`. */
export function onlyChoice(answer: Answer): Choice {
  const [choice] = answer.choices;
  if (choice === undefined) throw new Error('an answer has a choice');
  return choice;
}

/** The output of an answer, in its order. */
export function outputsOf(request: ResponsesRequest, choice: Choice, context: WireContext): Output[] {
  const { id } = context;
  const outputs: Output[] = [];
  const cut = choice.finish === 'length' || choice.finish === 'content_filter';
  if (choice.reasoningTokens > 0) {
    const summary = request.summarizes ? reasoningText(0, choice.reasoningTokens) : null;
    const content = request.encrypts ? encrypted(sign(purposeFor(context.key), '', id)) : null;
    outputs.push({ kind: 'reasoning', id: `rs_${id}`, tokens: choice.reasoningTokens, summary, encrypted: content });
  }
  // Whether a call was reasoned about is in its id, so that it is known when the call comes back alone.
  const mark = choice.reasoningTokens > 0 ? 'r' : 'n';
  const words: string[] = [];
  for (const piece of choice.pieces) {
    if (piece.kind === 'text') words.push(piece.text);
    if (piece.kind === 'call') {
      const number = piece.call.toString(36).padStart(3, '0');
      const call = { name: piece.name, custom: piece.custom, pieces: [], complete: true };
      outputs.push({
        kind: 'call',
        id: `${piece.custom ? 'ctc' : 'fc'}_${id}${mark}${number}`,
        callId: `call_${shortId(id)}${number}`,
        ...call,
      });
    }
    if (piece.kind === 'arguments') {
      const last = outputs.at(-1);
      if (last?.kind === 'call') last.pieces.push(piece.text);
    }
  }
  const text = words.join('');
  const citation = {
    type: 'url_citation',
    start_index: 0,
    end_index: text.length,
    url: 'https://example.com/source',
    title: 'A simulated source',
  };
  if (words.length > 0) {
    const annotations = context.citations ? [citation] : [];
    outputs.push({ kind: 'message', id: `msg_${id}`, pieces: words, refusal: choice.refusal, annotations, complete: true });
  }
  const last = outputs.at(-1);
  if (cut && last !== undefined && last.kind !== 'reasoning') last.complete = false;
  return outputs;
}

/** The log probabilities of some words, where they were asked for. */
export function logprobsOf(request: ResponsesRequest, pieces: string[]): JsonValue[] {
  return request.logprobs ? pieces.map((piece) => logprobEntry(piece, request.topLogprobs)) : [];
}

/** The content part of a message that is done. */
export function partObject(request: ResponsesRequest, output: Extract<Output, { kind: 'message' }>): JsonObject {
  const text = output.pieces.join('');
  if (output.refusal) return { type: 'refusal', refusal: text };
  return { type: 'output_text', annotations: output.annotations, logprobs: logprobsOf(request, output.pieces), text };
}

/** An output item when it is done. */
export function itemObject(request: ResponsesRequest, output: Output): JsonObject {
  switch (output.kind) {
    case 'reasoning': {
      const summary = output.summary === null ? [] : [{ type: 'summary_text', text: output.summary }];
      const content = output.encrypted === null ? {} : { encrypted_content: output.encrypted };
      return { id: output.id, type: 'reasoning', ...content, summary };
    }
    case 'message': {
      const status = output.complete ? 'completed' : 'incomplete';
      return { id: output.id, type: 'message', status, content: [partObject(request, output)], role: 'assistant' };
    }
    case 'call': {
      const text = output.pieces.join('');
      const own = {
        id: output.id,
        type: output.custom ? 'custom_tool_call' : 'function_call',
        status: output.complete ? 'completed' : 'incomplete',
      };
      const given = output.custom ? { input: text } : { arguments: text };
      return { ...own, ...given, call_id: output.callId, name: output.name };
    }
    default:
      return output satisfies never;
  }
}

/** Where a response stands. */
export type Stage = 'in_progress' | 'ended' | 'failed';

/** Why an answer is incomplete; null where it is not. */
function incompleteReason(choice: Choice, context: WireContext): string | null {
  if (context.finish !== null) return context.finish;
  if (choice.finish === 'length') return 'max_output_tokens';
  return choice.finish === 'content_filter' ? 'content_filter' : null;
}

/** The response object at a stage; `output` holds the items that are done. */
export function responseObject(
  request: ResponsesRequest,
  answer: Answer,
  context: WireContext,
  stage: Stage,
  output: JsonObject[],
): JsonObject {
  const reason = stage === 'ended' ? incompleteReason(onlyChoice(answer), context) : null;
  const status = stage === 'ended' ? (reason === null ? 'completed' : 'incomplete') : stage;
  const { echoed } = request;
  const shown = stage === 'ended' && !context.hideUsage ? context.usage : null;
  const { instructions, max_output_tokens, max_tool_calls, ...rest } = echoed;
  return {
    id: `resp_${context.id}`,
    object: 'response',
    created_at: context.created,
    status,
    background: false,
    completed_at: status === 'completed' ? context.created : null,
    error: null,
    frequency_penalty: 0,
    incomplete_details: reason === null ? null : { reason },
    instructions,
    max_output_tokens,
    max_tool_calls,
    model: servedModel('openai', request.model),
    output,
    ...rest,
    // The tier that served is known at the end; until then it is the one asked for.
    service_tier: stage === 'in_progress' ? 'auto' : request.serviceTier,
    usage: shown,
  };
}

/** The object of an answer that has ended. */
export function endedResponse(request: ResponsesRequest, answer: Answer, context: WireContext): JsonObject {
  const items = outputsOf(request, onlyChoice(answer), context).map((output) => itemObject(request, output));
  return responseObject(request, answer, context, 'ended', items);
}
