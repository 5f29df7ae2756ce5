// Writes a generated answer as Anthropic's stream of events.

import type { Answer } from '../answer.ts';
import type { JsonObject } from '../json-value.ts';
import { reasoningText } from '../reasoning.ts';
import { type Segment, segment } from '../reply.ts';
import { hash32 } from '../seeded.ts';
import { type Block, blocksOf, onlyChoice, stopOf, type WireContext } from './json.ts';
import { servedModel } from './models.ts';
import type { MessagesRequest } from './request.ts';
import { deltaUsage, startUsage } from './usage.ts';

/** Reasoning arrives in larger parts than words do. */
const THINKING_TOKENS_AN_EVENT = 16;
const MOST_PADDING = 15;

const PING = segment('event: ping\ndata: {"type": "ping"}\n\n');

/** Every event's JSON has blanks before its last brace, as in every recorded stream. */
function event(payload: JsonObject, mark: { pieces?: number; usage?: boolean } = {}): Segment {
  const text = JSON.stringify(payload);
  const padding = ' '.repeat(hash32(text) % (MOST_PADDING + 1));
  return segment(`event: ${String(payload.type)}\ndata: ${text.slice(0, -1)}${padding}}\n\n`, mark);
}

function deltas(block: Block, index: number): Segment[] {
  const delta = (body: JsonObject, pieces: number): Segment => event({ type: 'content_block_delta', index, delta: body }, { pieces });
  switch (block.kind) {
    case 'redacted':
      return [];
    case 'thinking': {
      const parts: Segment[] = [];
      for (let at = 0; block.shown && at < block.tokens; at += THINKING_TOKENS_AN_EVENT) {
        const end = Math.min(block.tokens, at + THINKING_TOKENS_AN_EVENT);
        parts.push(delta({ type: 'thinking_delta', thinking: reasoningText(at, end) }, end - at));
      }
      return [...parts, delta({ type: 'signature_delta', signature: block.signature }, 0)];
    }
    case 'text':
      return [
        ...block.citations.map((citation) => delta({ type: 'citations_delta', citation }, 0)),
        ...block.pieces.map((text) => delta({ type: 'text_delta', text }, 1)),
      ];
    case 'tool': {
      const json = (partial_json: string, pieces: number): Segment => delta({ type: 'input_json_delta', partial_json }, pieces);
      // A call without arguments is one empty delta and nothing more.
      if (block.pieces.join('') === '{}') return [json('', block.pieces.length)];
      return [json('', 0), ...block.pieces.map((part) => json(part, 1))];
    }
    default:
      return block satisfies never;
  }
}

function opened(block: Block): JsonObject {
  switch (block.kind) {
    case 'redacted':
      return { type: 'redacted_thinking', data: block.data };
    case 'thinking':
      return { type: 'thinking', thinking: '', signature: '' };
    case 'text':
      return { ...(block.citations.length > 0 ? { citations: [] } : {}), type: 'text', text: '' };
    case 'tool':
      return { type: 'tool_use', id: block.id, name: block.name, input: {} };
    default:
      return block satisfies never;
  }
}

/** The events of a streamed answer, one segment each. */
export function renderStream(request: MessagesRequest, answer: Answer, context: WireContext): Segment[] {
  const choice = onlyChoice(answer);
  const { usage, hideUsage, onlyStartUsage } = context;
  const head: JsonObject = {
    model: servedModel(request.model),
    id: context.id,
    type: 'message',
    role: 'assistant',
    content: [],
    stop_reason: null,
    stop_sequence: null,
    stop_details: null,
    ...(hideUsage ? {} : { usage: startUsage(usage) }),
  };
  const segments = [event({ type: 'message_start', message: head })];
  const blocks = blocksOf(request, choice, context);
  blocks.forEach((block, index) => {
    segments.push(event({ type: 'content_block_start', index, content_block: opened(block) }, { pieces: block.kind === 'tool' ? 1 : 0 }));
    if (index === 0) segments.push(PING);
    segments.push(...deltas(block, index), event({ type: 'content_block_stop', index }));
  });
  if (blocks.length === 0) segments.push(PING);
  const withUsage = !hideUsage && !onlyStartUsage;
  const end = { type: 'message_delta', delta: stopOf(choice, context) };
  segments.push(event(withUsage ? { ...end, usage: deltaUsage(request.model, usage) } : end, { usage: withUsage }));
  segments.push(event({ type: 'message_stop' }));
  return segments;
}
