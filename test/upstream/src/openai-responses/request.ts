// Reads a Responses request, refusing in OpenAI's words what OpenAI would refuse.

import { invalid } from '../api-error.ts';
import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';
import { emptyMessage, type ModelRequest, type ResponseFormat, type Tool, type ToolChoice } from '../model-request.ts';
import { checkDecimal, present, readBoolean, readInteger, required, wrongType } from '../openai-chat/parameters.ts';
import { readModel } from '../openai-chat/request.ts';
import { checkStrictSchema } from '../openai-chat/strict-schema.ts';
import { effortTokens, thinks } from '../reasoning.ts';
import type { StoredResponses } from '../stored-responses.ts';
import { readItems } from './items.ts';

/** A valid Responses request. */
export interface ResponsesRequest extends ModelRequest {
  stream: boolean;
  obfuscates: boolean;
  /** The encrypted content of reasoning was asked for. */
  encrypts: boolean;
  /** A summary of the reasoning was asked for. */
  summarizes: boolean;
  logprobs: boolean;
  topLogprobs: number;
  serviceTier: string;
  store: boolean;
  /** The whole conversation as items, the stored one before the new. */
  items: JsonValue[];
  /** The parameters that the answer repeats. */
  echoed: JsonObject;
}

const PARAMETERS = new Set(
  'metadata top_logprobs temperature top_p user safety_identifier prompt_cache_key prompt_cache_retention prompt_cache_options previous_response_id model background max_tool_calls text tools tool_choice prompt service_tier truncation reasoning input include parallel_tool_calls store instructions moderation stream stream_options conversation context_management max_output_tokens'.split(
    ' ',
  ),
);
const LEAST_OUTPUT_TOKENS = 16;
const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'];
const INCLUDABLE = [
  'file_search_call.results',
  'web_search_call.results',
  'web_search_call.action.sources',
  'message.input_image.image_url',
  'computer_call_output.output.image_url',
  'code_interpreter_call.outputs',
  'reasoning.encrypted_content',
  'message.output_text.logprobs',
];
const HOSTED =
  'file_search web_search web_search_2025_08_26 web_search_preview web_search_preview_2025_03_11 computer_use_preview computer image_generation code_interpreter mcp local_shell shell apply_patch tool_search namespace'.split(
    ' ',
  );

function unknownParameter(name: string): Error {
  return invalid(`Unknown parameter: '${name}'.`, name, 'unknown_parameter');
}

function readTools(value: JsonValue | undefined): Tool[] {
  if (!present(value)) return [];
  if (!Array.isArray(value)) throw wrongType('tools', 'an array of objects', value);
  return value.flatMap((tool, index): Tool[] => {
    const at = `tools[${index}]`;
    if (!isObject(tool)) throw wrongType(at, 'an object', tool);
    if (!present(tool.type)) throw required(`${at}.type`);
    if (HOSTED.includes(String(tool.type))) return [];
    if (tool.type !== 'function' && tool.type !== 'custom') {
      throw invalid(
        `Invalid value: '${String(tool.type)}'. Supported values are: 'function', 'custom', ${HOSTED.map((name) => `'${name}'`).join(', ')}.`,
        `${at}.type`,
        'invalid_value',
      );
    }
    const { name, parameters } = tool;
    if (typeof name !== 'string') throw required(`${at}.name`);
    if (!/^[a-zA-Z0-9_-]+$/.test(name)) {
      throw invalid(
        `Invalid '${at}.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.`,
        `${at}.name`,
        'invalid_value',
      );
    }
    if (name.length > 64) {
      throw invalid(
        `Invalid '${at}.name': string too long. Expected a string with maximum length 64, but got a string with length ${name.length} instead.`,
        `${at}.name`,
        'string_above_max_length',
      );
    }
    if (isObject(parameters) && tool.type === 'function') {
      if (parameters.type !== 'object') {
        throw invalid(
          `Invalid schema for function '${name}': schema must be a JSON Schema of 'type: "object"', got 'type: "${String(parameters.type ?? 'None')}"'.`,
          `${at}.parameters`,
          'invalid_function_parameters',
        );
      }
      if (tool.strict === true) checkStrictSchema(parameters, `function '${name}'`, `${at}.parameters`, 'invalid_function_parameters');
    }
    return [
      {
        kind: tool.type,
        name,
        description: typeof tool.description === 'string' ? tool.description : '',
        parameters: isObject(parameters) ? parameters : { type: 'object', properties: {} },
        raw: tool,
      },
    ];
  });
}

function readToolChoice(value: JsonValue | undefined, tools: Tool[]): { choice: ToolChoice; tools: Tool[] } {
  if (!present(value)) return { choice: { mode: 'auto' }, tools };
  if (value === 'auto' || value === 'none' || value === 'required') {
    if (value === 'required' && tools.length === 0) {
      throw invalid(`Tool choice 'required' must be specified with 'tools' parameter.`, 'tool_choice');
    }
    return { choice: { mode: value }, tools };
  }
  if (!isObject(value)) {
    throw invalid(
      `Invalid value: '${String(value)}'. Supported values are: 'none', 'auto', and 'required'.`,
      'tool_choice',
      'invalid_value',
    );
  }
  if (value.type === 'allowed_tools') {
    const allowed = (Array.isArray(value.tools) ? value.tools : []).flatMap((tool) => (isObject(tool) ? [tool.name] : []));
    return { choice: { mode: value.mode === 'required' ? 'required' : 'auto' }, tools: tools.filter(({ name }) => allowed.includes(name)) };
  }
  if (value.type !== 'function' && value.type !== 'custom') return { choice: { mode: 'auto' }, tools };
  if (typeof value.name !== 'string') throw required('tool_choice.name');
  const { name } = value;
  if (!tools.some((tool) => tool.name === name)) {
    throw invalid(`Tool choice '${value.type}' not found in 'tools' parameter.`, 'tool_choice');
  }
  return { choice: { mode: 'named', name }, tools };
}

function readFormat(value: JsonValue | undefined, messages: ModelRequest['messages']): ResponseFormat {
  const text = isObject(value) ? value : {};
  const { format } = text;
  if (!present(format)) return { kind: 'text' };
  if (!isObject(format)) throw wrongType('text.format', 'an object', format);
  switch (format.type) {
    case 'text':
      return { kind: 'text' };
    case 'json_object':
      if (!messages.some((message) => message.texts.some((words) => /json/i.test(words)))) {
        throw invalid(
          `Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.`,
          'input',
        );
      }
      return { kind: 'json_object' };
    case 'json_schema':
      if (typeof format.name !== 'string') throw required('text.format.name');
      if (!/^[a-zA-Z0-9_-]{1,64}$/.test(format.name)) {
        throw invalid(
          `Invalid 'text.format.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.`,
          'text.format.name',
          'invalid_value',
        );
      }
      if (!isObject(format.schema)) throw required('text.format.schema');
      if (format.strict === true) {
        checkStrictSchema(format.schema, `response_format '${format.name}'`, 'text.format.schema', 'invalid_json_schema');
      }
      return { kind: 'json_schema', schema: format.schema };
    default:
      throw invalid(
        `Invalid value: '${String(format.type)}'. Supported values are: 'json_object', 'json_schema', and 'text'.`,
        'text.format.type',
        'invalid_value',
      );
  }
}

function readReasoning(value: JsonValue | undefined, model: string): { effort: string | null; summary: string | null } {
  if (!present(value)) return { effort: null, summary: null };
  if (!isObject(value)) throw wrongType('reasoning', 'an object', value);
  const { effort, summary } = value;
  if (present(effort)) {
    if (!thinks(model)) {
      throw invalid(
        `Unsupported parameter: 'reasoning.effort' is not supported with this model.`,
        'reasoning.effort',
        'unsupported_parameter',
      );
    }
    if (typeof effort !== 'string' || !EFFORTS.includes(effort)) {
      throw invalid(
        `Invalid value: '${String(effort)}'. Supported values are: ${EFFORTS.map((name) => `'${name}'`).join(', ')}.`,
        'reasoning.effort',
        'invalid_value',
      );
    }
  }
  return { effort: typeof effort === 'string' ? effort : null, summary: typeof summary === 'string' ? summary : null };
}

function readInclude(value: JsonValue | undefined): string[] {
  if (!present(value)) return [];
  if (!Array.isArray(value)) throw wrongType('include', 'an array of strings', value);
  return value.map((one, index) => {
    if (typeof one === 'string' && INCLUDABLE.includes(one)) return one;
    const supported = INCLUDABLE.map((name) => `'${name}'`).join(', ');
    throw invalid(`Invalid value: '${String(one)}'. Supported values are: ${supported}.`, `include[${index}]`, 'invalid_value');
  });
}

function readInput(body: JsonObject, stored: StoredResponses): JsonValue[] {
  const { input, previous_response_id: previous } = body;
  let before: JsonValue[] = [];
  if (present(previous)) {
    const found = typeof previous === 'string' ? stored.get(previous) : undefined;
    if (found === undefined) {
      throw invalid(`Previous response with id '${String(previous)}' not found.`, 'previous_response_id', 'previous_response_not_found');
    }
    before = found.items;
  }
  if (!present(input)) throw required('input');
  if (typeof input === 'string') return [...before, { type: 'message', role: 'user', content: input }];
  if (!Array.isArray(input)) throw wrongType('input', 'one of a string or array of objects', input);
  return [...before, ...input];
}

/** Turns a parsed body into a Responses request, or throws the ApiError OpenAI would answer. */
export function readResponsesRequest(body: JsonObject, key: string, stored: StoredResponses): ResponsesRequest {
  const model = readModel(body);
  const unknown = Object.keys(body).find((name) => !PARAMETERS.has(name));
  if (unknown !== undefined) throw unknownParameter(unknown);
  const items = readInput(body, stored);
  const messages = readItems(items, key, stored);
  const { instructions } = body;
  if (present(instructions)) {
    if (typeof instructions !== 'string') throw wrongType('instructions', 'a string', instructions);
    messages.unshift({ ...emptyMessage('developer'), texts: [instructions] });
  }
  checkDecimal(body, 'temperature', 0, 2);
  checkDecimal(body, 'top_p', 0, 1);
  const stream = readBoolean(body, 'stream', false);
  const options = present(body.stream_options) ? body.stream_options : {};
  if (!isObject(options)) throw wrongType('stream_options', 'an object', options);
  const option = Object.keys(options).find((name) => name !== 'include_obfuscation');
  if (option !== undefined) throw unknownParameter(`stream_options.${option}`);
  if (present(body.stream_options) && !stream) {
    throw invalid(`The 'stream_options' parameter is only allowed when 'stream' is enabled.`, 'stream_options');
  }
  const declared = readTools(body.tools);
  const { choice, tools } = readToolChoice(body.tool_choice, declared);
  const include = readInclude(body.include);
  const reasoning = readReasoning(body.reasoning, model);
  const topLogprobs = readInteger(body, 'top_logprobs', 0) ?? 0;
  const store = readBoolean(body, 'store', true);
  const tier = body.service_tier;
  const text = isObject(body.text) ? body.text : {};
  const maxTokens = readInteger(body, 'max_output_tokens', LEAST_OUTPUT_TOKENS);
  const parallelToolCalls = readBoolean(body, 'parallel_tool_calls', true);
  return {
    model,
    messages,
    stream,
    obfuscates: readBoolean(options, 'include_obfuscation', true),
    maxTokens,
    stop: [],
    n: 1,
    tools,
    toolChoice: choice,
    parallelToolCalls,
    format: readFormat(body.text, messages),
    reasoningTokens: effortTokens(reasoning.effort),
    cachedMessages: null,
    encrypts: include.includes('reasoning.encrypted_content'),
    summarizes: reasoning.summary !== null,
    logprobs: include.includes('message.output_text.logprobs'),
    topLogprobs,
    serviceTier: typeof tier === 'string' && tier !== 'auto' ? tier : 'default',
    store,
    items,
    echoed: {
      instructions: instructions ?? null,
      max_output_tokens: maxTokens,
      max_tool_calls: body.max_tool_calls ?? null,
      parallel_tool_calls: parallelToolCalls,
      presence_penalty: 0,
      previous_response_id: body.previous_response_id ?? null,
      prompt_cache_key: body.prompt_cache_key ?? null,
      prompt_cache_retention: body.prompt_cache_retention ?? null,
      reasoning: { effort: reasoning.effort, summary: reasoning.summary },
      safety_identifier: body.safety_identifier ?? null,
      store,
      temperature: body.temperature ?? 1,
      text: { format: text.format ?? { type: 'text' }, verbosity: text.verbosity ?? 'medium' },
      tool_choice: body.tool_choice ?? 'auto',
      tools: body.tools ?? [],
      top_logprobs: topLogprobs,
      top_p: body.top_p ?? 1,
      truncation: body.truncation ?? 'disabled',
      user: body.user ?? null,
      metadata: body.metadata ?? {},
    },
  };
}
