// Reads the input items of a Responses request: messages, calls and their outputs, and the reasoning that comes back.

import { ApiError, invalid } from '../api-error.ts';
import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';
import { emptyMessage, type Message } from '../model-request.ts';
import { present, required, wrongType } from '../openai-chat/parameters.ts';
import { isSigned } from '../signature.ts';
import type { StoredResponses } from '../stored-responses.ts';

const MOST_CALL_ID_CHARACTERS = 64;
const ROLES = ['user', 'assistant', 'system', 'developer'];
const ITEM_TYPES =
  'message function_call function_call_output custom_tool_call custom_tool_call_output reasoning item_reference file_search_call computer_call computer_call_output web_search_call image_generation_call code_interpreter_call local_shell_call local_shell_call_output shell_call shell_call_output apply_patch_call apply_patch_call_output mcp_list_tools mcp_approval_request mcp_approval_response mcp_call compaction'.split(
    ' ',
  );
const PART_TYPES = ['input_text', 'input_image', 'output_text', 'refusal', 'input_file', 'computer_screenshot', 'summary_text'];
/** Every encrypted content of OpenAI's begins so. */
const ENCRYPTED_PREFIX = 'gAAAAAB';
/** Letters of an id after its kind: the same for all items of one answer. */
export const ID_LETTERS = 40;

/** The purpose that reasoning is signed for with a key. */
export function purposeFor(key: string): string {
  return `openai reasoning ${key}`;
}

/** Makes the encrypted content of a reasoning item; only the key it was made for can read it. */
export function encrypted(signed: string): string {
  return ENCRYPTED_PREFIX + Buffer.from(signed, 'base64').toString('base64url');
}

function checkReasoning(item: JsonObject, at: string, key: string, stored: StoredResponses): void {
  const { id, encrypted_content: content } = item;
  if (!Array.isArray(item.summary)) throw required(`${at}.summary`);
  if (!present(content)) {
    if (typeof id === 'string' && stored.hasItem(id)) return;
    throw invalid(
      `Item with id '${String(id)}' not found. Items are not persisted when \`store\` is set to false. Try again with \`store\` set to true, or remove this item from your input.`,
      'input',
    );
  }
  if (typeof content !== 'string') throw wrongType(`${at}.encrypted_content`, 'a string', content);
  const proof = content.startsWith(ENCRYPTED_PREFIX) ? content.slice(ENCRYPTED_PREFIX.length) : '';
  const signed = Buffer.from(proof, 'base64url').toString('base64');
  if (encrypted(signed) === content && isSigned(purposeFor(key), '', signed)) return;
  const shown = content.length <= 8 ? content : `${content.slice(0, 4)}...${content.slice(-4)}`;
  throw invalid(`The encrypted content ${shown} could not be verified.`, null, 'invalid_encrypted_content');
}

function readParts(message: Message, content: JsonValue[], at: string, role: string): void {
  content.forEach((part, index) => {
    const here = `${at}[${index}]`;
    if (!isObject(part)) throw wrongType(here, 'an object', part);
    const type = typeof part.type === 'string' ? part.type : '';
    if (type === '') throw required(`${here}.type`);
    const own = role === 'assistant' ? type === 'output_text' || type === 'refusal' : type.startsWith('input_');
    if (!PART_TYPES.includes(type) || !own) {
      const supported = role === 'assistant' ? `'output_text' and 'refusal'` : PART_TYPES.map((name) => `'${name}'`).join(', ');
      throw invalid(`Invalid value: '${type}'. Supported values are: ${supported}.`, here, 'invalid_value');
    }
    switch (type) {
      case 'input_text':
      case 'output_text':
        if (typeof part.text !== 'string') throw required(`${here}.text`);
        message.texts.push(part.text);
        break;
      case 'refusal':
        if (typeof part.refusal !== 'string') throw required(`${here}.refusal`);
        message.texts.push(part.refusal);
        break;
      case 'input_image': {
        const url = part.image_url;
        if (!present(url) && !present(part.file_id)) throw required(`${here}.image_url`);
        if (present(url) && (typeof url !== 'string' || !/^(https?:\/\/|data:image\/[\w.+-]+;base64,)/.test(url))) {
          throw invalid(
            `Invalid '${here}.image_url'. Expected a valid URL, but got a value with an invalid format.`,
            `${here}.image_url`,
            'invalid_value',
          );
        }
        message.images.push(typeof part.detail === 'string' ? part.detail : 'auto');
        break;
      }
      default:
        message.files += 1;
    }
  });
}

function readContent(item: JsonObject, at: string): Message {
  const { role, content } = item;
  if (!present(role)) throw required(`${at}.role`);
  if (typeof role !== 'string' || !ROLES.includes(role)) {
    throw invalid(
      `Invalid value: '${String(role)}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.`,
      `${at}.role`,
      'invalid_value',
    );
  }
  const message = emptyMessage(role);
  if (typeof content === 'string') message.texts.push(content);
  else if (Array.isArray(content)) readParts(message, content, `${at}.content`, role);
  else throw content === undefined ? required(`${at}.content`) : wrongType(`${at}.content`, 'one of a string or array of objects', content);
  return message;
}

function readCallId(item: JsonObject, at: string): string {
  const id = item.call_id;
  if (typeof id !== 'string') throw required(`${at}.call_id`);
  if (id === '') {
    throw invalid(`Invalid '${at}.call_id': empty string. Expected a string with minimum length 1.`, `${at}.call_id`, 'empty_string');
  }
  if (id.length > MOST_CALL_ID_CHARACTERS) {
    throw invalid(
      `Invalid '${at}.call_id': string too long. Expected a string with maximum length ${MOST_CALL_ID_CHARACTERS}, but got a string with length ${id.length} instead.`,
      `${at}.call_id`,
      'string_above_max_length',
    );
  }
  return id;
}

function readOutput(item: JsonObject, at: string): Message {
  const message = emptyMessage('tool');
  message.toolCallId = readCallId(item, at);
  if (typeof item.output === 'string') message.texts.push(item.output);
  else if (Array.isArray(item.output)) readParts(message, item.output, `${at}.output`, 'tool');
  else throw required(`${at}.output`);
  return message;
}

/** A reasoning item and what it led to stay together. */
function checkReasoningPairs(items: JsonObject[], stored: StoredResponses): void {
  const reasoned = new Set<string>();
  items.forEach((item, index) => {
    const id = typeof item.id === 'string' ? item.id : '';
    if (item.type === 'reasoning') {
      reasoned.add(id.slice('rs_'.length));
      const next = items.slice(index + 1).find(({ type }) => type !== 'reasoning');
      const follows = next !== undefined && (next.role === 'assistant' || /_call$/.test(String(next.type)));
      if (!follows) throw invalid(`Item '${id}' of type 'reasoning' was provided without its required following item.`, 'input');
    }
    // The ids of this upstream tell whether the call was reasoned about: the letter after those that its answer's items share.
    const made = new RegExp(`^(?:fc|ctc)_(\\w{${ID_LETTERS}})r\\w*$`).exec(id)?.[1];
    if (made === undefined || reasoned.has(made) || stored.hasItem(id)) return;
    throw invalid(`Item '${id}' of type '${String(item.type)}' was provided without its required 'reasoning' item: 'rs_${made}'.`, 'input');
  });
}

function checkCalls(messages: Message[]): void {
  const made = new Set(messages.flatMap(({ calls }) => calls.map(({ id }) => id)));
  const answered = new Set(messages.flatMap(({ role, toolCallId }) => (role === 'tool' && toolCallId !== null ? [toolCallId] : [])));
  for (const id of made) {
    if (!answered.has(id)) throw invalid(`No tool output found for function call ${id}.`, 'input');
  }
  for (const id of answered) {
    if (!made.has(id)) throw invalid(`No tool call found for function call output with call_id ${id}.`, 'input');
  }
}

/** Reads the items of an input in order; neighbouring calls are made by one turn. Throws the ApiError OpenAI would answer. */
export function readItems(input: JsonValue[], key: string, stored: StoredResponses): Message[] {
  const messages: Message[] = [];
  const items = input.map((value, index): JsonObject => {
    const at = `input[${index}]`;
    if (!isObject(value)) throw wrongType(at, 'an object', value);
    const type = value.type ?? 'message';
    if (typeof type !== 'string' || !ITEM_TYPES.includes(type)) {
      const supported = ITEM_TYPES.map((name) => `'${name}'`).join(', ');
      throw invalid(`Invalid value: '${String(type)}'. Supported values are: ${supported}.`, `${at}.type`, 'invalid_value');
    }
    switch (type) {
      case 'message':
        messages.push(readContent(value, at));
        break;
      case 'function_call':
      case 'custom_tool_call': {
        const { name } = value;
        const given = type === 'function_call' ? value.arguments : value.input;
        const id = readCallId(value, at);
        if (typeof name !== 'string') throw required(`${at}.name`);
        if (typeof given !== 'string') throw required(`${at}.${type === 'function_call' ? 'arguments' : 'input'}`);
        const last = messages.at(-1);
        const turn = last?.role === 'assistant' ? last : emptyMessage('assistant');
        if (turn !== last) messages.push(turn);
        turn.calls.push({ id, name, arguments: given });
        break;
      }
      case 'function_call_output':
      case 'custom_tool_call_output':
        messages.push(readOutput(value, at));
        break;
      case 'reasoning':
        checkReasoning(value, at, key, stored);
        break;
      case 'item_reference':
        if (typeof value.id !== 'string' || !stored.hasItem(value.id)) {
          throw new ApiError(404, `Item with id '${String(value.id)}' not found.`, { param: 'input' });
        }
        break;
      default:
        break;
    }
    return value;
  });
  checkReasoningPairs(items, stored);
  checkCalls(messages);
  return messages;
}
