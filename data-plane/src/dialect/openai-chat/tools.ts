/** Tools, the choice among them, and calls of them. */
import type { Rest, ToolCallPart } from '../../canonical/message.ts';
import type { Tool, ToolChoice } from '../../canonical/tool.ts';
import { invalid, isObject, type JsonObject, rest, text } from '../json.ts';

const DIALECT = 'openai-chat';

/** Throws GatewayError 400. The older `functions` are read as tools. */
export function readTools(tools: unknown, functions: unknown): readonly Tool[] {
  const read = list(tools, 'tools').map(readTool);
  return [...read, ...list(functions, 'functions').map((item) => readFunction(item, {}, 'functions'))];
}

function list(value: unknown, param: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(`The parameter '${param}' must be an array.`, param);
  return value;
}

function readTool(item: unknown, index: number): Tool {
  const param = `tools[${index}]`;
  if (!isObject(item)) throw invalid(`The parameter '${param}' must be an object.`, param);
  if (item.type === 'function') return readFunction(item.function, rest(item, ['type', 'function']), `${param}.function`);
  if (item.type === 'custom' && isObject(item.custom)) {
    const { custom } = item;
    return {
      kind: 'custom',
      name: toolName(custom.name, param),
      description: text(custom.description),
      format: custom.format,
      rest: rest(item, ['type', 'custom']),
    };
  }
  return { kind: 'hosted', dialect: DIALECT, value: item };
}

function readFunction(item: unknown, outer: Rest, param: string): Tool {
  if (!isObject(item)) throw invalid(`The parameter '${param}' must be an object.`, param);
  const { parameters, strict } = item;
  return {
    kind: 'function',
    name: toolName(item.name, param),
    description: text(item.description),
    parameters: isObject(parameters) ? parameters : undefined,
    strict: typeof strict === 'boolean' ? strict : undefined,
    rest: outer,
  };
}

function toolName(name: unknown, param: string): string {
  if (typeof name !== 'string' || name === '') throw invalid(`The parameter '${param}.name' must be a string.`, `${param}.name`);
  return name;
}

export function writeTool(tool: Tool): JsonObject {
  switch (tool.kind) {
    case 'function': {
      const { name, description, parameters, strict } = tool;
      return { ...tool.rest, type: 'function', function: { name, description, parameters, strict } };
    }
    case 'custom':
      return { ...tool.rest, type: 'custom', custom: { name: tool.name, description: tool.description, format: tool.format } };
    case 'hosted':
      return tool.value;
    default:
      return tool satisfies never;
  }
}

export function readToolChoice(choice: unknown): ToolChoice | undefined {
  if (choice === undefined || choice === null) return undefined;
  if (choice === 'auto' || choice === 'none' || choice === 'required') return { type: choice };
  if (choice === 'any') return { type: 'required' };
  if (!isObject(choice)) throw invalid("The parameter 'tool_choice' must be auto, none, required or a tool.", 'tool_choice');
  for (const kind of ['function', 'custom'] as const) {
    const named = choice[kind];
    if (choice.type === kind && isObject(named) && typeof named.name === 'string') return { type: 'tool', name: named.name, kind };
  }
  return { type: 'foreign', dialect: DIALECT, value: choice };
}

export function writeToolChoice(choice: ToolChoice): unknown {
  switch (choice.type) {
    case 'auto':
    case 'none':
    case 'required':
      return choice.type;
    case 'tool':
      return { type: choice.kind, [choice.kind]: { name: choice.name } };
    case 'foreign':
      return choice.value;
    default:
      return choice satisfies never;
  }
}

/** A call in a message. A call without arguments is written in three ways; `{}` is the one that can be parsed. */
export function readToolCall(call: unknown): ToolCallPart | undefined {
  if (!isObject(call)) return undefined;
  if (call.type === 'custom' && isObject(call.custom)) {
    return {
      type: 'tool_call',
      id: text(call.id) ?? '',
      name: text(call.custom.name) ?? '',
      arguments: text(call.custom.input) ?? '',
      kind: 'custom',
      rest: rest(call, CALL_KEYS),
    };
  }
  if (!isObject(call.function)) return undefined;
  return {
    type: 'tool_call',
    id: text(call.id) ?? '',
    name: text(call.function.name) ?? '',
    arguments: readArguments(call.function.arguments),
    kind: 'function',
    rest: rest(call, CALL_KEYS),
  };
}

const CALL_KEYS = ['id', 'type', 'index', 'function', 'custom'];

/** Some providers send the arguments as an object. */
export function readArguments(value: unknown): string {
  if (typeof value === 'string') return value.trim() === '' ? '{}' : value;
  return isObject(value) ? JSON.stringify(value) : '{}';
}

export function writeToolCall(call: ToolCallPart): JsonObject {
  const { id, name, kind } = call;
  if (kind === 'custom') return { ...call.rest, id, type: 'custom', custom: { name, input: call.arguments } };
  return { ...call.rest, id, type: 'function', function: { name, arguments: call.arguments } };
}
