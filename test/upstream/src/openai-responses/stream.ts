// Writes a generated answer as the events of a Responses stream.

import type { Answer } from '../answer.ts';
import type { ApiError } from '../api-error.ts';
import type { JsonObject } from '../json-value.ts';
import { obfuscationOf } from '../obfuscation.ts';
import { reasoningText } from '../reasoning.ts';
import { type Segment, segment } from '../reply.ts';
import {
  endedResponse,
  itemObject,
  logprobsOf,
  type Output,
  onlyChoice,
  outputsOf,
  partObject,
  responseObject,
  type WireContext,
} from './json.ts';
import type { ResponsesRequest } from './request.ts';

/** Reasoning arrives in larger parts than words do. */
const SUMMARY_TOKENS_AN_EVENT = 16;

interface Event {
  body: JsonObject;
  pieces: number;
  usage: boolean;
}

function event(type: string, fields: JsonObject, pieces = 0): Event {
  return { body: { type, ...fields }, pieces, usage: false };
}

function framed(body: JsonObject, number: number, mark: { pieces?: number; usage?: boolean }): Segment {
  const { type, ...fields } = body;
  return segment(`event: ${String(type)}\ndata: ${JSON.stringify({ type, sequence_number: number, ...fields })}\n\n`, mark);
}

/** An item as it is when it is opened. */
function openedItem(output: Output): JsonObject {
  switch (output.kind) {
    case 'reasoning': {
      const content = output.encrypted === null ? {} : { encrypted_content: output.encrypted };
      return { id: output.id, type: 'reasoning', ...content, summary: [] };
    }
    case 'message':
      return { id: output.id, type: 'message', status: 'in_progress', content: [], role: 'assistant' };
    case 'call': {
      const empty = output.custom ? { type: 'custom_tool_call', input: '' } : { type: 'function_call', arguments: '' };
      return { id: output.id, status: 'in_progress', ...empty, call_id: output.callId, name: output.name };
    }
    default:
      return output satisfies never;
  }
}

function hidden(request: ResponsesRequest, text: string): JsonObject {
  return request.obfuscates ? { obfuscation: obfuscationOf(text) } : {};
}

function reasoningEvents(request: ResponsesRequest, output: Extract<Output, { kind: 'reasoning' }>, index: number): Event[] {
  if (output.summary === null) return [];
  const place = { item_id: output.id, output_index: index, summary_index: 0 };
  const events = [event('response.reasoning_summary_part.added', { ...place, part: { type: 'summary_text', text: '' } })];
  for (let at = 0; at < output.tokens; at += SUMMARY_TOKENS_AN_EVENT) {
    const end = Math.min(output.tokens, at + SUMMARY_TOKENS_AN_EVENT);
    const delta = reasoningText(at, end);
    events.push(event('response.reasoning_summary_text.delta', { ...place, delta, ...hidden(request, delta) }, end - at));
  }
  const text = output.summary;
  events.push(event('response.reasoning_summary_text.done', { ...place, text }));
  events.push(event('response.reasoning_summary_part.done', { ...place, part: { type: 'summary_text', text } }));
  return events;
}

function messageEvents(request: ResponsesRequest, output: Extract<Output, { kind: 'message' }>, index: number): Event[] {
  const place = { item_id: output.id, output_index: index, content_index: 0 };
  const text = output.pieces.join('');
  const empty = output.refusal ? { type: 'refusal', refusal: '' } : { type: 'output_text', annotations: [], logprobs: [], text: '' };
  const kind = output.refusal ? 'response.refusal' : 'response.output_text';
  const probs = (pieces: string[]): JsonObject => (output.refusal ? {} : { logprobs: logprobsOf(request, pieces) });
  const done = output.refusal ? { refusal: text } : { text, ...probs(output.pieces) };
  return [
    event('response.content_part.added', { ...place, part: empty }),
    ...output.pieces.map((delta) => event(`${kind}.delta`, { ...place, delta, ...probs([delta]), ...hidden(request, delta) }, 1)),
    ...output.annotations.map((annotation, annotation_index) =>
      event('response.output_text.annotation.added', { ...place, annotation_index, annotation }),
    ),
    event(`${kind}.done`, { ...place, ...done }),
    event('response.content_part.done', { ...place, part: partObject(request, output) }),
  ];
}

function callEvents(request: ResponsesRequest, output: Extract<Output, { kind: 'call' }>, index: number): Event[] {
  const place = { item_id: output.id, output_index: index };
  const kind = output.custom ? 'response.custom_tool_call_input' : 'response.function_call_arguments';
  const text = output.pieces.join('');
  return [
    ...output.pieces.map((delta) => event(`${kind}.delta`, { ...place, delta, ...hidden(request, delta) }, 1)),
    event(`${kind}.done`, { ...place, ...(output.custom ? { input: text } : { arguments: text, name: output.name }) }),
  ];
}

function outputEvents(request: ResponsesRequest, output: Output, index: number): Event[] {
  const between = (): Event[] => {
    switch (output.kind) {
      case 'reasoning':
        return reasoningEvents(request, output, index);
      case 'message':
        return messageEvents(request, output, index);
      case 'call':
        return callEvents(request, output, index);
      default:
        return output satisfies never;
    }
  };
  return [
    // The name of a called tool is one token.
    event('response.output_item.added', { output_index: index, item: openedItem(output) }, output.kind === 'call' ? 1 : 0),
    ...between(),
    event('response.output_item.done', { output_index: index, item: itemObject(request, output) }),
  ];
}

/** The events of a streamed answer, one segment each. */
export function renderStream(request: ResponsesRequest, answer: Answer, context: WireContext): Segment[] {
  const begun = responseObject(request, answer, context, 'in_progress', []);
  const created = context.seed === null ? begun : { ...begun, usage: context.seed };
  const outputs = outputsOf(request, onlyChoice(answer), context);
  const ended = endedResponse(request, answer, context);
  const end = event(`response.${String(ended.status)}`, { response: ended });
  const events = [
    event('response.created', { response: created }),
    event('response.in_progress', { response: begun }),
    ...outputs.flatMap((output, index) => outputEvents(request, output, index)),
    { ...end, usage: !context.hideUsage },
  ];
  return events.map(({ body, pieces, usage }, number) => framed(body, number, { pieces, usage }));
}

/** What a stream says when it fails after so many events: the error, then the response that failed of it. */
export function failureEvents(request: ResponsesRequest, answer: Answer, context: WireContext, error: ApiError, before: number): Segment[] {
  const { message, type, code, param } = error;
  const failed = responseObject(request, answer, context, 'failed', []);
  return [
    framed({ type: 'error', error: { type, code, message, param } }, before, {}),
    framed({ type: 'response.failed', response: { ...failed, error: { code: code ?? type, message } } }, before + 1, {}),
  ];
}
