// Reads a chat completion request, refusing in OpenAI's words what OpenAI would refuse.

import { type ApiError, invalid } from '../api-error.ts';
import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';
import { emptyMessage, type Message, type ModelRequest, type ResponseFormat, type Tool, type ToolChoice } from '../model-request.ts';
import { effortTokens, thinks } from '../reasoning.ts';
import { checkDecimal, present, readBoolean, readInteger, required, wrongType } from './parameters.ts';
import { checkStrictSchema } from './strict-schema.ts';

/** A valid chat request. */
export interface ChatRequest extends ModelRequest {
  stream: boolean;
  includeUsage: boolean;
  includeObfuscation: boolean;
  logprobs: boolean;
  topLogprobs: number;
  serviceTier: string;
}

const ROLES = ['system', 'assistant', 'user', 'function', 'tool', 'developer'];

function readParts(message: Message, content: JsonValue[], at: string): void {
  content.forEach((part, index) => {
    const here = `${at}.content[${index}]`;
    if (!isObject(part)) throw wrongType(here, 'an object', part);
    switch (part.type) {
      case 'text':
      case 'refusal': {
        const text = part[part.type];
        if (typeof text !== 'string') throw required(`${here}.${part.type}`);
        message.texts.push(text);
        break;
      }
      case 'image_url': {
        const image = part.image_url;
        if (!isObject(image)) throw wrongType(`${here}.image_url`, 'an object', image);
        if (typeof image.url !== 'string') throw required(`${here}.image_url.url`);
        if (!/^(https?:\/\/|data:image\/[\w.+-]+;base64,)/.test(image.url)) {
          throw invalid(
            `Invalid image URL: '${here}.image_url.url'. Expected a valid URL, but got a value with an invalid format.`,
            `${here}.image_url.url`,
            'invalid_value',
          );
        }
        message.images.push(typeof image.detail === 'string' ? image.detail : 'auto');
        break;
      }
      case 'input_audio': {
        const audio = part.input_audio;
        if (!isObject(audio) || typeof audio.data !== 'string') throw required(`${here}.input_audio.data`);
        message.audio.push(audio.data);
        break;
      }
      case 'file':
        if (!isObject(part.file)) throw required(`${here}.file`);
        message.files += 1;
        break;
      default:
        throw invalid(
          `Invalid value: '${String(part.type)}'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', and 'file'.`,
          `${here}.type`,
          'invalid_value',
        );
    }
  });
}

function readMessage(value: JsonValue, index: number): Message {
  const at = `messages[${index}]`;
  if (!isObject(value)) throw wrongType(at, 'an object', value);
  const { role, content } = value;
  if (!present(role)) throw required(`${at}.role`);
  if (typeof role !== 'string' || !ROLES.includes(role)) {
    throw invalid(
      `Invalid value: '${String(role)}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.`,
      `${at}.role`,
      'invalid_value',
    );
  }
  const message: Message = {
    ...emptyMessage(role),
    name: typeof value.name === 'string' ? value.name : null,
    toolCallId: typeof value.tool_call_id === 'string' ? value.tool_call_id : null,
  };
  if (typeof content === 'string') message.texts.push(content);
  else if (Array.isArray(content)) readParts(message, content, at);
  else if (present(content)) throw wrongType(`${at}.content`, 'one of a string or array of objects', content);
  else if (role !== 'assistant') {
    throw invalid(`Invalid value for 'content': expected a string, got null.`, `messages.[${index}].content`);
  }
  if (Array.isArray(value.tool_calls)) {
    for (const call of value.tool_calls) {
      if (!isObject(call) || typeof call.id !== 'string') throw required(`${at}.tool_calls[0].id`);
      const made = isObject(call.function) ? call.function : isObject(call.custom) ? call.custom : null;
      if (made === null || typeof made.name !== 'string') throw required(`${at}.tool_calls[0].function.name`);
      const given = made.arguments ?? made.input;
      message.calls.push({ id: call.id, name: made.name, arguments: typeof given === 'string' ? given : '' });
    }
  }
  if (role === 'tool' && message.toolCallId === null) throw required(`${at}.tool_call_id`);
  return message;
}

/** Every tool result answers a call just made, and every call made is answered before the next turn. */
function checkToolTurns(messages: Message[]): void {
  let waiting = new Set<string>();
  let caller = -1;
  const unanswered = (): ApiError =>
    invalid(
      `An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: ${[...waiting].join(', ')}`,
      `messages.[${caller + 1}].role`,
    );
  messages.forEach((message, index) => {
    if (message.role === 'tool') {
      if (caller < 0 || !messages[caller]?.calls.some((call) => call.id === message.toolCallId)) {
        throw invalid(
          `Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.`,
          `messages.[${index}].role`,
        );
      }
      waiting.delete(message.toolCallId ?? '');
      return;
    }
    if (waiting.size > 0) throw unanswered();
    caller = message.calls.length > 0 ? index : -1;
    waiting = new Set(message.calls.map((call) => call.id));
  });
  if (waiting.size > 0) throw unanswered();
}

function readTools(value: JsonValue | undefined): Tool[] {
  if (!present(value)) return [];
  if (!Array.isArray(value)) throw wrongType('tools', 'an array of objects', value);
  if (value.length === 0) {
    throw invalid(
      `Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.`,
      'tools',
      'empty_array',
    );
  }
  return value.map((tool, index): Tool => {
    if (!isObject(tool)) throw wrongType(`tools[${index}]`, 'an object', tool);
    const kind = tool.type === 'custom' ? 'custom' : 'function';
    if (!present(tool.type)) throw required(`tools[${index}].type`);
    if (tool.type !== 'function' && tool.type !== 'custom') {
      throw invalid(
        `Invalid value: '${String(tool.type)}'. Supported values are: 'function' and 'custom'.`,
        `tools[${index}].type`,
        'invalid_value',
      );
    }
    const declared = tool[kind];
    if (!isObject(declared)) throw required(`tools[${index}].${kind}`);
    if (typeof declared.name !== 'string') throw required(`tools[${index}].${kind}.name`);
    if (!/^[a-zA-Z0-9_-]{1,64}$/.test(declared.name)) {
      throw invalid(
        `Invalid 'tools[${index}].${kind}.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.`,
        `tools[${index}].${kind}.name`,
        'invalid_value',
      );
    }
    const { parameters } = declared;
    if (isObject(parameters) && present(parameters.type) && parameters.type !== 'object') {
      throw invalid(
        `Invalid schema for function '${declared.name}': schema must be a JSON Schema of 'type: "object"', got 'type: "${String(parameters.type)}"'.`,
        `tools[${index}].function.parameters`,
        'invalid_function_parameters',
      );
    }
    if (kind === 'function' && declared.strict === true) {
      checkStrictSchema(
        isObject(parameters) ? parameters : {},
        `function '${declared.name}'`,
        `tools[${index}].function.parameters`,
        'invalid_function_parameters',
      );
    }
    return {
      kind,
      name: declared.name,
      description: typeof declared.description === 'string' ? declared.description : '',
      parameters: isObject(parameters) ? parameters : { type: 'object', properties: {} },
      raw: tool,
    };
  });
}

function readToolChoice(value: JsonValue | undefined, tools: Tool[]): ToolChoice {
  if (!present(value)) return { mode: 'auto' };
  if (tools.length === 0) throw invalid(`'tool_choice' is only allowed when 'tools' are specified.`, 'tool_choice');
  if (value === 'auto' || value === 'none' || value === 'required') return { mode: value };
  const named = isObject(value) ? (value.function ?? value.custom) : undefined;
  if (!isObject(named) || typeof named.name !== 'string') {
    throw invalid(
      `Invalid value: '${String(value)}'. Supported values are: 'none', 'auto', and 'required'.`,
      'tool_choice',
      'invalid_value',
    );
  }
  const { name } = named;
  if (!tools.some((tool) => tool.name === name)) {
    throw invalid(`Invalid value for 'tool_choice': no function named '${name}' was specified in the 'tools' parameter.`, 'tool_choice');
  }
  return { mode: 'named', name };
}

function readFormat(value: JsonValue | undefined, messages: Message[]): ResponseFormat {
  if (!present(value)) return { kind: 'text' };
  if (!isObject(value)) throw wrongType('response_format', 'an object', value);
  switch (value.type) {
    case 'text':
      return { kind: 'text' };
    case 'json_object':
      if (!messages.some((message) => message.texts.some((text) => /json/i.test(text)))) {
        throw invalid(`'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.`, 'messages');
      }
      return { kind: 'json_object' };
    case 'json_schema': {
      const declared = value.json_schema;
      if (!isObject(declared)) throw required('response_format.json_schema');
      if (typeof declared.name !== 'string') throw required('response_format.json_schema.name');
      if (declared.strict === true && isObject(declared.schema)) {
        checkStrictSchema(declared.schema, `response_format '${declared.name}'`, 'response_format', null);
      }
      return { kind: 'json_schema', schema: isObject(declared.schema) ? declared.schema : { type: 'object' } };
    }
    default:
      throw invalid(
        `Invalid value: '${String(value.type)}'. Supported values are: 'json_object', 'json_schema', and 'text'.`,
        'response_format.type',
        'invalid_value',
      );
  }
}

function readStop(value: JsonValue | undefined): string[] {
  if (!present(value)) return [];
  const list = typeof value === 'string' ? [value] : value;
  if (!Array.isArray(list) || !list.every((item) => typeof item === 'string')) {
    throw wrongType('stop', 'one of a string or array of strings', value);
  }
  if (list.length > 4) {
    throw invalid(
      `Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length ${list.length} instead.`,
      'stop',
      'array_above_max_length',
    );
  }
  return list.filter((item) => item !== '');
}

/** The name of the model a body asks for; both providers check it before anything else. */
export function readModel(body: JsonObject): string {
  if (!present(body.model)) throw invalid('you must provide a model parameter', null);
  if (typeof body.model !== 'string') throw wrongType('model', 'a string', body.model);
  if (body.model === '') throw invalid('you must provide a model parameter', null);
  return body.model;
}

/** Turns a parsed body into a chat request, or throws the ApiError OpenAI would answer. */
export function readChatRequest(body: JsonObject): ChatRequest {
  const model = readModel(body);
  if (!present(body.messages)) throw required('messages');
  if (!Array.isArray(body.messages)) throw wrongType('messages', 'an array of objects', body.messages);
  if (body.messages.length === 0) {
    throw invalid(
      `Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.`,
      'messages',
      'empty_array',
    );
  }
  const messages = body.messages.map(readMessage);
  checkToolTurns(messages);
  checkDecimal(body, 'temperature', 0, 2);
  checkDecimal(body, 'top_p', 0, 1);
  checkDecimal(body, 'presence_penalty', -2, 2);
  checkDecimal(body, 'frequency_penalty', -2, 2);
  const stream = readBoolean(body, 'stream', false);
  const options = body.stream_options;
  if (present(options) && !isObject(options)) throw wrongType('stream_options', 'an object', options);
  if (present(options) && !stream) {
    throw invalid(`The 'stream_options' parameter is only allowed when 'stream' is enabled.`, 'stream_options');
  }
  const streamOptions: JsonObject = isObject(options) ? options : {};
  const tools = readTools(body.tools);
  const logprobs = readBoolean(body, 'logprobs', false);
  const maxTokens = readInteger(body, 'max_completion_tokens', 1) ?? readInteger(body, 'max_tokens', 1);
  const reasoning = isObject(body.reasoning) ? body.reasoning.effort : undefined;
  const effort = body.reasoning_effort ?? reasoning;
  if (present(effort) && typeof effort !== 'string') throw wrongType('reasoning_effort', 'a string', effort);
  if (present(body.reasoning_effort) && !thinks(model)) {
    throw invalid('Unrecognized request argument supplied: reasoning_effort', null);
  }
  const tier = body.service_tier;
  return {
    model,
    messages,
    stream,
    includeUsage: readBoolean(streamOptions, 'include_usage', false),
    includeObfuscation: readBoolean(streamOptions, 'include_obfuscation', true),
    maxTokens,
    stop: readStop(body.stop),
    n: readInteger(body, 'n', 1) ?? 1,
    logprobs,
    topLogprobs: logprobs ? (readInteger(body, 'top_logprobs', 0) ?? 0) : 0,
    tools,
    toolChoice: readToolChoice(body.tool_choice, tools),
    parallelToolCalls: readBoolean(body, 'parallel_tool_calls', true),
    format: readFormat(body.response_format, messages),
    reasoningTokens: effortTokens(present(effort) ? effort : null),
    cachedMessages: null,
    serviceTier: typeof tier === 'string' && tier !== 'auto' ? tier : 'default',
  };
}
