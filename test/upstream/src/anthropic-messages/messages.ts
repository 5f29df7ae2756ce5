// Reads the turns of a Messages request: their blocks, the pairs of tool calls and results, and the signed thinking.

import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';
import { emptyMessage, type Message } from '../model-request.ts';
import { isSigned } from '../signature.ts';
import { refused } from './error.ts';
import type { Traits } from './models.ts';
import type { Document } from './request.ts';

/** The turns as the model sees them, each tool result a message of its own. */
export interface Conversation {
  messages: Message[];
  /** Leading messages up to the last cache mark. */
  cachedMessages: number;
  documents: Document[];
}

interface Turn {
  role: string;
  blocks: JsonObject[];
}

const BLOCK_TYPES = new Set(
  'bash_code_execution_tool_result code_execution_tool_result container_upload document image mcp_tool_result mcp_tool_use redacted_thinking search_result server_tool_use text text_editor_code_execution_tool_result thinking tool_result tool_use web_fetch_tool_result web_search_tool_result'.split(
    ' ',
  ),
);
const IMAGE_TYPES = ['image/jpeg', 'image/png', 'image/gif', 'image/webp'];
const THINKING_HELP =
  'We recommend you include thinking blocks from previous turns. To avoid this requirement, disable `thinking`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking';

function textOf(block: JsonObject, at: string): string {
  if (typeof block.text !== 'string') throw refused(`${at}.text.text: Field required`);
  if (block.text === '' && block.cache_control !== undefined && block.cache_control !== null) {
    throw refused(`${at}.text: cache_control cannot be set for empty text blocks`);
  }
  if (block.text === '') throw refused('messages: text content blocks must be non-empty');
  if (block.text.trim() === '') throw refused('messages: text content blocks must contain non-whitespace text');
  return block.text;
}

function checkSource(block: JsonObject, at: string): JsonObject {
  const { source } = block;
  if (!isObject(source)) throw refused(`${at}.${String(block.type)}.source: Field required`);
  if (source.type === 'base64') {
    if (typeof source.media_type !== 'string') throw refused(`${at}.${String(block.type)}.source.base64.media_type: Field required`);
    if (typeof source.data !== 'string') throw refused(`${at}.${String(block.type)}.source.base64.data: Field required`);
    if (block.type === 'image' && !IMAGE_TYPES.includes(source.media_type)) {
      const list = IMAGE_TYPES.map((type) => `'${type}'`)
        .join(', ')
        .replace(/, ([^,]*)$/, ' or $1');
      throw refused(`${at}.image.source.base64.media_type: Input should be ${list}`);
    }
    if (block.type === 'document' && source.media_type !== 'application/pdf') {
      throw refused(`${at}.document.source.base64.media_type: Input should be 'application/pdf'`);
    }
    if (source.data === '' || !/^[A-Za-z0-9+/]+={0,2}$/.test(source.data)) {
      throw refused(`${at}.${String(block.type)}.source.base64: The image was specified as base64, but it could not be decoded`);
    }
  } else if (source.type === 'url' && (typeof source.url !== 'string' || !/^https?:\/\//.test(source.url))) {
    throw refused(`${at}.${String(block.type)}.source.url.url: Only HTTPS URLs are supported.`);
  }
  return source;
}

/** A tool's result: its texts and images count as the tool's, not as the user's. */
function readResult(block: JsonObject, at: string): Message {
  const message = emptyMessage('tool');
  if (typeof block.tool_use_id !== 'string') throw refused(`${at}.tool_result.tool_use_id: Field required`);
  message.toolCallId = block.tool_use_id;
  const { content } = block;
  if (typeof content === 'string') message.texts.push(content);
  else if (Array.isArray(content)) {
    content.forEach((part, index) => {
      const here = `${at}.tool_result.content.${index}`;
      if (!isObject(part)) throw refused(`${here}: Input should be a valid dictionary or object to extract fields from`);
      if (part.type === 'text') message.texts.push(typeof part.text === 'string' ? part.text : '');
      else if (part.type === 'image') {
        checkSource(part, here);
        message.images.push('auto');
      } else if (part.type === 'document' || part.type === 'search_result') message.files += 1;
      else
        throw refused(
          `${here}: Input tag '${String(part.type)}' found using 'type' does not match any of the expected tags: 'document', 'image', 'search_result', 'text', 'tool_reference'`,
        );
    });
  }
  return message;
}

function checkThinking(block: JsonObject, at: string): void {
  if (block.type === 'redacted_thinking') {
    if (typeof block.data !== 'string') throw refused(`${at}.redacted_thinking.data: Field required`);
    if (!isSigned('anthropic redacted', '', block.data)) throw refused(`${at}: Invalid \`data\` in \`redacted_thinking\` block`);
    return;
  }
  if (typeof block.thinking !== 'string') throw refused(`${at}.thinking.thinking: Field required`);
  if (typeof block.signature !== 'string') throw refused(`${at}.thinking.signature: Field required`);
  if (!isSigned('anthropic thinking', block.thinking, block.signature)) {
    throw refused(`${at}: Invalid \`signature\` in \`thinking\` block`);
  }
}

function readTurn(value: JsonValue, index: number, last: boolean, traits: Traits): Turn {
  const at = `messages.${index}`;
  if (!isObject(value)) throw refused(`${at}: Input should be a valid dictionary or object to extract fields from`);
  const { role, content } = value;
  if (role === undefined) throw refused(`${at}.role: Field required`);
  if (role === 'system' && !traits.inlineSystem) {
    throw refused(
      'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" as an input message role.',
    );
  }
  if (role !== 'user' && role !== 'assistant' && role !== 'system') {
    throw refused(`messages: Unexpected role "${String(role)}". Allowed roles are "user" or "assistant"`);
  }
  const unknown = Object.keys(value).find((field) => field !== 'role' && field !== 'content');
  if (unknown !== undefined) throw refused(`${at}.${unknown}: Extra inputs are not permitted`);
  if (content === undefined) throw refused(`${at}.content: Field required`);
  if (typeof content === 'string') {
    if (content.trim() === '' && role === 'user') {
      throw refused(
        content === ''
          ? `${at}: all messages must have non-empty content except for the optional final assistant message`
          : 'messages: text content blocks must contain non-whitespace text',
      );
    }
    return { role, blocks: content === '' ? [] : [{ type: 'text', text: content }] };
  }
  if (!Array.isArray(content)) throw refused(`${at}.content: Input should be a valid list`);
  if (content.length === 0 && role === 'user' && !last) {
    throw refused(`${at}: all messages must have non-empty content except for the optional final assistant message`);
  }
  const blocks = content.map((block, place) => {
    if (!isObject(block)) throw refused(`${at}.content.${place}: Input should be a valid dictionary or object to extract fields from`);
    if (typeof block.type !== 'string') throw refused(`${at}.content.${place}.type: Field required`);
    if (!BLOCK_TYPES.has(block.type)) {
      const tags = [...BLOCK_TYPES].map((type) => `'${type}'`).join(', ');
      throw refused(
        `${at}.content.${place}: Input tag '${block.type}' found using 'type' does not match any of the expected tags: ${tags}`,
      );
    }
    return block;
  });
  return { role, blocks };
}

/** Neighbours of one role are one turn to the model, as they are to Anthropic. */
function mergedTurns(turns: Turn[]): Array<Turn & { index: number }> {
  const merged: Array<Turn & { index: number }> = [];
  turns.forEach((turn, index) => {
    const before = merged.at(-1);
    if (before?.role === turn.role) before.blocks = [...before.blocks, ...turn.blocks];
    else merged.push({ ...turn, index });
  });
  return merged;
}

function idsOf(turn: Turn | undefined, type: string, field: string): string[] {
  return (turn?.blocks ?? []).flatMap((block) => (block.type === type && typeof block[field] === 'string' ? [block[field]] : []));
}

/** Every call is answered at the start of the next turn, and every result answers a call of the turn before. */
function checkPairs(turns: Array<Turn & { index: number }>): void {
  turns.forEach((turn, place) => {
    const calls = turn.role === 'assistant' ? idsOf(turn, 'tool_use', 'id') : [];
    if (new Set(calls).size < calls.length) throw refused(`messages.${turn.index}.content: \`tool_use\` ids must be unique`);
    const next = turns[place + 1];
    const first = { role: 'user', blocks: next?.role === 'user' ? next.blocks.slice(0, calls.length) : [] };
    const answered = idsOf(first, 'tool_result', 'tool_use_id');
    const missing = calls.filter((id) => !answered.includes(id));
    if (missing.length > 0) {
      throw refused(
        `messages.${next?.index ?? turn.index}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${missing.join(', ')}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`,
      );
    }
    const made = idsOf(turns[place - 1], 'tool_use', 'id');
    turn.blocks.forEach((block, at) => {
      if (block.type !== 'tool_result' || (turn.role === 'user' && made.includes(String(block.tool_use_id)))) return;
      throw refused(
        `messages.${turn.index}.content.${at}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${String(block.tool_use_id)}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`,
      );
    });
  });
}

/** With thinking by a budget, the last turn of the assistant that called tools starts with its thinking; adaptive thinking does without. */
function checkThinkingFirst(turns: Array<Turn & { index: number }>): void {
  const turn = turns.findLast(({ role }) => role === 'assistant');
  const [first] = turn?.blocks ?? [];
  if (turn === undefined || first === undefined || turn !== turns.at(-2)) return;
  if (!turn.blocks.some(({ type }) => type === 'tool_use')) return;
  if (first.type === 'thinking' || first.type === 'redacted_thinking') return;
  throw refused(
    `messages.${turn.index}.content.0.type: Expected \`thinking\` or \`redacted_thinking\`, but found \`${String(first.type)}\`. When \`thinking\` is enabled, a final \`assistant\` message must start with a thinking block (preceeding the lastmost set of \`tool_use\` and \`tool_result\` blocks). ${THINKING_HELP}`,
  );
}

/** Reads the turns of a request, or throws the ApiError Anthropic would answer. */
export function readConversation(value: JsonValue | undefined, traits: Traits, thinking: 'off' | 'adaptive' | 'enabled'): Conversation {
  if (value === undefined) throw refused('messages: Field required');
  if (!Array.isArray(value)) throw refused('messages: Input should be a valid list');
  if (value.length === 0) throw refused('messages: at least one message is required');
  const turns = value.map((turn, index) => readTurn(turn, index, index === value.length - 1, traits));
  const merged = mergedTurns(turns.filter(({ role }) => role !== 'system'));
  if (merged[0]?.role !== 'user') throw refused('messages: first message must use the "user" role');
  if (merged.at(-1)?.role === 'assistant' && (thinking !== 'off' || !traits.prefill)) {
    throw refused('This model does not support assistant message prefill. The conversation must end with a user message.');
  }
  const conversation: Conversation = { messages: [], cachedMessages: 0, documents: [] };
  let documents = 0;
  turns.forEach((turn, index) => {
    const own = emptyMessage(turn.role);
    let spoke = turn.blocks.length === 0;
    let marked = false;
    turn.blocks.forEach((block, place) => {
      const at = `messages.${index}.content.${place}`;
      marked ||= isObject(block.cache_control);
      switch (block.type) {
        case 'text':
          own.texts.push(textOf(block, at));
          break;
        case 'image':
          checkSource(block, at);
          own.images.push('auto');
          break;
        case 'document':
        case 'search_result':
        case 'container_upload': {
          own.files += 1;
          if (block.type !== 'document') break;
          const source = checkSource(block, at);
          const cited = isObject(block.citations) && block.citations.enabled === true;
          if (cited && source.type === 'text' && typeof source.data === 'string') {
            const title = typeof block.title === 'string' ? block.title : null;
            conversation.documents.push({ index: documents, title, text: source.data });
          }
          documents += 1;
          break;
        }
        case 'tool_result':
          conversation.messages.push(readResult(block, at));
          return;
        case 'tool_use':
          if (typeof block.id !== 'string') throw refused(`${at}.tool_use.id: Field required`);
          if (!/^[a-zA-Z0-9_-]+$/.test(block.id)) throw refused(`${at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'`);
          if (typeof block.name !== 'string') throw refused(`${at}.tool_use.name: Field required`);
          if (!isObject(block.input)) throw refused(`${at}.tool_use.input: Input should be a valid dictionary`);
          own.calls.push({ id: block.id, name: block.name, arguments: JSON.stringify(block.input) });
          break;
        case 'thinking':
        case 'redacted_thinking':
          checkThinking(block, at);
          break;
        default:
          break;
      }
      spoke = true;
    });
    // A turn of nothing but results says nothing of its own.
    if (spoke) conversation.messages.push(own);
    if (marked) conversation.cachedMessages = conversation.messages.length;
  });
  checkPairs(merged);
  const last = turns.at(-1);
  const words = last?.blocks.at(-1)?.text;
  if (last?.role === 'assistant' && typeof words === 'string' && words !== words.trimEnd()) {
    throw refused('messages: final assistant content cannot end with trailing whitespace');
  }
  if (thinking === 'enabled') checkThinkingFirst(merged);
  return conversation;
}
