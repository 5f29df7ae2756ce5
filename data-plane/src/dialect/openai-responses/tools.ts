/** Tools, the choice among them, and calls of them. */
import type { DialectName } from '@meridian/domain/dialect';
import { packCallId, unpackCallId } from '../../canonical/call-id.ts';
import { argumentsAsInput, grammarOf, isCustomTool } from '../../canonical/custom-tool.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { ToolCallPart } from '../../canonical/message.ts';
import type { Request } from '../../canonical/request.ts';
import type { FunctionTool, Tool, ToolChoice } from '../../canonical/tool.ts';
import { boundedToolName, originalToolName } from '../../canonical/tool-name.ts';
import { refusedTool } from '../hosted-tool.ts';
import { invalid, isObject, type JsonObject, NO_REST, rest, text } from '../json.ts';
import { openAiStrictParameters } from '../openai-strict-schema.ts';

const DIALECT = 'openai-responses';
const CALL_PREFIX = 'call_';

const FUNCTION_KEYS = ['type', 'name', 'description', 'parameters', 'strict'];
const CUSTOM_KEYS = ['type', 'name', 'description', 'format'];

/** Throws GatewayError 400. */
export function readTools(tools: unknown): readonly Tool[] {
  if (tools === undefined || tools === null) return [];
  if (!Array.isArray(tools)) throw invalid("The parameter 'tools' must be an array.", 'tools');
  return tools.map(readTool);
}

function readTool(item: unknown, index: number): Tool {
  const param = `tools[${index}]`;
  if (!isObject(item)) throw invalid(`The parameter '${param}' must be an object.`, param);
  const { parameters, strict } = item;
  if (item.type === 'function') {
    return {
      kind: 'function',
      name: toolName(item.name, param),
      description: text(item.description),
      parameters: isObject(parameters) ? parameters : undefined,
      strict: typeof strict === 'boolean' ? strict : undefined,
      rest: rest(item, FUNCTION_KEYS),
    };
  }
  if (item.type === 'custom') {
    return {
      kind: 'custom',
      name: toolName(item.name, param),
      description: text(item.description),
      format: item.format,
      rest: rest(item, CUSTOM_KEYS),
    };
  }
  return { kind: 'hosted', dialect: DIALECT, value: item };
}

function toolName(name: unknown, param: string): string {
  if (typeof name !== 'string' || name === '') throw invalid(`The parameter '${param}.name' must be a string.`, `${param}.name`);
  return name;
}

/** For an upstream. `at`: its place among the tools. Throws GatewayError 400 for a tool that another provider runs. */
export function writeTool(tool: Tool, from: DialectName, at: number, lose: (loss: Loss) => void): JsonObject {
  const isOurs = from === DIALECT;
  switch (tool.kind) {
    case 'function':
      return { ...(isOurs ? tool.rest : NO_REST), ...writeFunction(tool, from, () => lose({ name: 'strict_tool', at: `tools[${at}]` })) };
    case 'custom': {
      const grammar = grammarOf(tool.format);
      const format = grammar === undefined ? tool.format : { type: 'grammar', ...grammar };
      return {
        ...(isOurs ? tool.rest : NO_REST),
        type: 'custom',
        name: boundedToolName(tool.name),
        description: tool.description,
        format: format ?? undefined,
      };
    }
    case 'hosted':
      if (tool.dialect === DIALECT) return tool.value;
      throw refusedTool(tool);
    default:
      return tool satisfies never;
  }
}

/** Here arguments are held to the schema where nothing is said; in all other dialects they are not. */
function writeFunction({ name, description, parameters, strict }: FunctionTool, from: DialectName, loseStrict: () => void): JsonObject {
  const held = strict === true ? openAiStrictParameters(parameters, from) : undefined;
  if (strict === true && held === undefined) loseStrict();
  const isSilent = strict === undefined && from === DIALECT;
  return {
    type: 'function',
    name: boundedToolName(name),
    description,
    parameters: held ?? parameters ?? { type: 'object', properties: {} },
    strict: isSilent ? undefined : held !== undefined,
  };
}

/** For a client, as an answer repeats it: all members that this protocol's own answers have. */
export function echoTool(tool: Tool): JsonObject {
  switch (tool.kind) {
    case 'function': {
      const { name, description, parameters, strict } = tool;
      return {
        ...tool.rest,
        type: 'function',
        name,
        description: description ?? null,
        parameters: parameters ?? null,
        strict: strict ?? true,
      };
    }
    case 'custom':
      return { ...tool.rest, type: 'custom', name: tool.name, description: tool.description, format: tool.format ?? { type: 'text' } };
    case 'hosted':
      return tool.value;
    default:
      return tool satisfies never;
  }
}

/** A choice, and the names of the tools that it leaves to be called, where it names them. */
export interface ReadChoice {
  readonly choice: ToolChoice | undefined;
  readonly allowed: ReadonlySet<string> | undefined;
}

/** Throws GatewayError 400 on what is no choice. */
export function readToolChoice(choice: unknown): ReadChoice {
  const whole = (read: ToolChoice | undefined): ReadChoice => ({ choice: read, allowed: undefined });
  if (choice === undefined || choice === null) return whole(undefined);
  if (choice === 'auto' || choice === 'none' || choice === 'required') return whole({ type: choice });
  if (!isObject(choice)) throw invalid("The parameter 'tool_choice' must be auto, none, required or a tool.", 'tool_choice');
  const { type, name } = choice;
  if ((type === 'function' || type === 'custom') && typeof name === 'string') return whole({ type: 'tool', name, kind: type });
  if (type === 'allowed_tools' && Array.isArray(choice.tools)) {
    const names = choice.tools.map((tool) => (isObject(tool) ? text(tool.name) : undefined)).filter((one) => one !== undefined);
    return { choice: { type: choice.mode === 'required' ? 'required' : 'auto' }, allowed: new Set(names) };
  }
  return whole({ type: 'foreign', dialect: DIALECT, value: choice });
}

/** Undefined for a choice that only another dialect knows. */
export function writeToolChoice(choice: ToolChoice): unknown {
  switch (choice.type) {
    case 'auto':
    case 'none':
    case 'required':
      return choice.type;
    case 'tool':
      return { type: choice.kind, name: boundedToolName(choice.name) };
    case 'foreign':
      return choice.dialect === DIALECT ? choice.value : undefined;
    default:
      return choice satisfies never;
  }
}

/** A call of an upstream's answer, or of a client's history: of both the id may hold more than an id. */
export function readCall(item: JsonObject): ToolCallPart {
  const { id, carriers } = unpackCallId(text(item.call_id) ?? text(item.id) ?? '');
  const isCustom = item.type === 'custom_tool_call';
  return {
    type: 'tool_call',
    id,
    name: text(item.name) ?? '',
    arguments: isCustom ? (text(item.input) ?? '') : readArguments(item.arguments),
    kind: isCustom ? 'custom' : 'function',
    ...(carriers.length === 0 ? {} : { carriers }),
    rest: rest(item, CALL_KEYS),
  };
}

const CALL_KEYS = ['id', 'type', 'status', 'call_id', 'name', 'arguments', 'input'];

/** A call without arguments is written in three ways; `{}` is the one that can be parsed. */
export function readArguments(value: unknown): string {
  if (typeof value === 'string') return value.trim() === '' ? '{}' : value;
  return isObject(value) ? JSON.stringify(value) : '{}';
}

/** A call as the client is to read it. */
export interface ClientCall {
  readonly callId: string;
  readonly name: string;
  readonly isCustom: boolean;
  /** The upstream knew the tool as a function, whose arguments hold the free text. */
  readonly isLowered: boolean;
}

/** The client's own name for the tool, and an id with all that is to come back with the call. */
export function clientCall(call: Pick<ToolCallPart, 'id' | 'name' | 'kind' | 'carriers'>, request: Request): ClientCall {
  const name = originalToolName(call.name, request.tools);
  const isLowered = call.kind === 'function' && isCustomTool(request, name);
  return {
    callId: packCallId(CALL_PREFIX, { id: call.id, carriers: call.carriers ?? [] }),
    name,
    isCustom: call.kind === 'custom' || isLowered,
    isLowered,
  };
}

/** A whole call as an item; `argumentsText` is what the upstream wrote. */
export function callItem(id: string, status: string, call: ClientCall, argumentsText: string): JsonObject {
  const { callId: call_id, name } = call;
  if (!call.isCustom) return { id, type: 'function_call', status, arguments: argumentsText, call_id, name };
  const input = call.isLowered ? argumentsAsInput(argumentsText) : argumentsText;
  return { id, type: 'custom_tool_call', status, call_id, input, name };
}
