// Writes a generated answer as the blocks of a message, and as one JSON body.

import type { Answer, Choice, FinishReason } from '../answer.ts';
import type { JsonObject, JsonValue } from '../json-value.ts';
import { reasoningText } from '../reasoning.ts';
import { shortId } from '../short-id.ts';
import { sign } from '../signature.ts';
import { servedModel } from './models.ts';
import type { Document, MessagesRequest } from './request.ts';

/** What a rendering needs beside the request and its answer. */
export interface WireContext {
  id: string;
  usage: JsonObject;
  /** The `no_usage` knob. */
  hideUsage: boolean;
  /** The `seed_usage` knob: usage at the start of a stream, and none at its end. */
  onlyStartUsage: boolean;
  /** The `finish` knob: the stop reason to give instead of the true one. */
  finish: string | null;
  /** The `citations` knob. */
  citations: boolean;
  /** The `redacted` knob: a redacted block stands before the thinking. */
  redacted: boolean;
}

/** A content block with the output tokens it is made of. */
export type Block =
  | { kind: 'redacted'; data: string }
  | { kind: 'thinking'; tokens: number; shown: boolean; text: string; signature: string }
  | { kind: 'text'; pieces: string[]; citations: JsonObject[] }
  | { kind: 'tool'; id: string; name: string; pieces: string[] };

const STOP_REASONS: Record<FinishReason, string> = {
  stop: 'end_turn',
  stop_sequence: 'stop_sequence',
  length: 'max_tokens',
  tool_calls: 'tool_use',
  content_filter: 'refusal',
};

const CITED_CHARACTERS = 80;

function citationsOf(documents: Document[], wanted: boolean): JsonObject[] {
  if (documents.length > 0) {
    return documents.map(({ index, title, text }) => {
      const cited = text.slice(0, CITED_CHARACTERS);
      return {
        type: 'char_location',
        cited_text: cited,
        document_index: index,
        document_title: title,
        start_char_index: 0,
        end_char_index: cited.length,
        file_id: null,
      };
    });
  }
  if (!wanted) return [];
  const cited_text = 'The simulated source says so.';
  const encrypted_index = sign('anthropic citation', cited_text, 'citation');
  const url = 'https://example.com/source';
  return [{ type: 'web_search_result_location', cited_text, encrypted_index, title: 'A simulated source', url }];
}

/** The blocks of an answer, in their order. */
export function blocksOf(request: MessagesRequest, choice: Choice, context: WireContext): Block[] {
  const blocks: Block[] = [];
  const salt = `${context.id} ${choice.reasoningTokens}`;
  if (context.redacted) blocks.push({ kind: 'redacted', data: sign('anthropic redacted', '', salt) });
  if (choice.reasoningTokens > 0 && request.thinking !== 'off') {
    const shown = request.thinking === 'shown';
    const text = shown ? reasoningText(0, choice.reasoningTokens) : '';
    const signature = sign('anthropic thinking', text, salt);
    blocks.push({ kind: 'thinking', tokens: choice.reasoningTokens, shown, text, signature });
  }
  const words: string[] = [];
  for (const piece of choice.pieces) {
    if (piece.kind === 'text') words.push(piece.text);
    if (piece.kind === 'call') {
      const id = `toolu_01${shortId(context.id.slice('msg_01'.length))}${piece.call.toString(36).padStart(3, '0')}`;
      blocks.push({ kind: 'tool', id, name: piece.name, pieces: [] });
    }
    if (piece.kind === 'arguments') {
      const last = blocks.at(-1);
      if (last?.kind === 'tool') last.pieces.push(piece.text);
    }
  }
  if (words.length > 0) blocks.push({ kind: 'text', pieces: words, citations: citationsOf(request.documents, context.citations) });
  return blocks;
}

function inputOf(pieces: string[]): JsonValue {
  try {
    return JSON.parse(pieces.join(''));
  } catch {
    // A limit cut the arguments: what there is cannot be read.
    return {};
  }
}

function blockObject(block: Block): JsonObject {
  switch (block.kind) {
    case 'redacted':
      return { type: 'redacted_thinking', data: block.data };
    case 'thinking':
      return { type: 'thinking', thinking: block.text, signature: block.signature };
    case 'text': {
      const text = block.pieces.join('');
      return { type: 'text', text, ...(block.citations.length > 0 ? { citations: block.citations } : {}) };
    }
    case 'tool':
      return { type: 'tool_use', id: block.id, name: block.name, input: inputOf(block.pieces) };
    default:
      return block satisfies never;
  }
}

/** How a message ends, as its JSON body and `message_delta` tell it. */
export function stopOf(choice: Choice, context: WireContext): JsonObject {
  const stop_reason = context.finish ?? (choice.refusal ? 'refusal' : STOP_REASONS[choice.finish]);
  const stop_details =
    stop_reason === 'refusal'
      ? { type: 'refusal', category: 'cyber', explanation: "This request was blocked under Anthropic's Usage Policy." }
      : null;
  return { stop_reason, stop_sequence: stop_reason === 'stop_sequence' ? choice.stoppedBy : null, stop_details };
}

/** The one choice of an answer: this wire has no `n`. */
export function onlyChoice(answer: Answer): Choice {
  const [choice] = answer.choices;
  if (choice === undefined) throw new Error('an answer has a choice');
  return choice;
}

/** The body of an answer that is not streamed. */
export function renderJson(request: MessagesRequest, answer: Answer, context: WireContext): string {
  const choice = onlyChoice(answer);
  const body = {
    model: servedModel(request.model),
    id: context.id,
    type: 'message',
    role: 'assistant',
    content: blocksOf(request, choice, context).map(blockObject),
    ...stopOf(choice, context),
  };
  return JSON.stringify(context.hideUsage ? body : { ...body, usage: context.usage });
}
