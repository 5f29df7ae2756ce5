/** Tools, the choice among them, and calls of them. */
import { boundedCallId, unpackCallId } from '../../canonical/call-id.ts';
import { asFunction, grammarOf, inputAsArguments } from '../../canonical/custom-tool.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { CacheControl, Rest, ToolCallPart } from '../../canonical/message.ts';
import type { FunctionTool, HostedTool, Tool, ToolChoice } from '../../canonical/tool.ts';
import { boundedToolName } from '../../canonical/tool-name.ts';
import { parseExact } from '../exact-json.ts';
import { refusedTool } from '../hosted-tool.ts';
import { invalid, isObject, type JsonObject, rest, text } from '../json.ts';
import { strictSchema } from './json-schema.ts';
import type { ModelWays } from './models.ts';
import { DIALECT, isClientTool } from './schema.ts';

const MAX_CALL_ID_CHARACTERS = 64;
/** A server that the provider asks for tools stands apart from the tools in this protocol; its kind here, where it is one of them. */
const MCP_SERVER = 'mcp_server';

/** The tool by which a model without structured output gives its answer: a call of it is text to the client. */
export const JSON_ANSWER_TOOL = 'meridian_json_answer';

/** Throws GatewayError 400. */
export function readTools(tools: unknown, mcpServers: unknown): readonly Tool[] {
  const servers = list(mcpServers, 'mcp_servers').map(
    (server): HostedTool => ({ kind: 'hosted', dialect: DIALECT, value: { type: MCP_SERVER, server } }),
  );
  return [...list(tools, 'tools').map(readTool), ...servers];
}

function list(value: unknown, param: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(`The parameter '${param}' must be an array.`, param);
  return value;
}

const TOOL_KEYS = ['type', 'name', 'description', 'input_schema', 'strict'];

function readTool(item: unknown, index: number): Tool {
  const param = `tools[${index}]`;
  if (!isObject(item)) throw invalid(`The parameter '${param}' must be an object.`, param);
  if (!isClientTool(item.type)) return { kind: 'hosted', dialect: DIALECT, value: item };
  const { name, strict } = item;
  if (typeof name !== 'string' || name === '') throw invalid(`The parameter '${param}.name' must be a string.`, `${param}.name`);
  return {
    kind: 'function',
    name,
    description: text(item.description),
    parameters: isObject(item.input_schema) ? item.input_schema : undefined,
    strict: typeof strict === 'boolean' ? strict : undefined,
    rest: rest(item, TOOL_KEYS),
  };
}

export interface WrittenTools {
  readonly tools: readonly JsonObject[];
  readonly mcpServers: readonly unknown[];
}

/** Throws GatewayError 400 on a tool that another provider runs. */
export function writeTools(tools: readonly Tool[], isOurs: boolean, ways: ModelWays, lose: (loss: Loss) => void): WrittenTools {
  const written: JsonObject[] = [];
  const mcpServers: unknown[] = [];
  for (const [index, tool] of tools.entries()) {
    if (tool.kind === 'hosted') {
      if (tool.dialect !== DIALECT) throw refusedTool(tool);
      if (tool.value.type === MCP_SERVER) mcpServers.push(tool.value.server);
      else written.push(tool.value);
      continue;
    }
    const others = isOurs ? tool.rest : {};
    if (tool.kind === 'custom' && grammarOf(tool.format) !== undefined) lose({ name: 'tool_grammar', at: `tools[${index}]` });
    written.push({ ...others, ...functionTool(tool.kind === 'custom' ? asFunction(tool) : tool, index, ways, lose) });
  }
  return { tools: written, mcpServers };
}

function functionTool(tool: FunctionTool, index: number, ways: ModelWays, lose: (loss: Loss) => void): JsonObject {
  const schema = inputSchema(tool.parameters);
  const strict = tool.strict === true && ways.hasStructuredOutput ? strictSchema(schema) : undefined;
  const isStrict = strict?.removed.length === 0;
  if (tool.strict === true && !isStrict) lose({ name: 'strict_tool', at: `tools[${index}]` });
  return {
    name: boundedToolName(tool.name),
    description: tool.description,
    input_schema: isStrict ? strict.schema : schema,
    strict: isStrict ? true : undefined,
  };
}

/** A schema of this protocol is one of an object, and says so. */
function inputSchema(parameters: Rest | undefined): JsonObject {
  if (parameters === undefined || Object.keys(parameters).length === 0) return { type: 'object', properties: {} };
  return parameters.type === 'object' ? parameters : { ...parameters, type: 'object' };
}

export interface ReadToolChoice {
  readonly choice: ToolChoice | undefined;
  readonly parallelToolCalls: boolean | undefined;
}

/** Throws GatewayError 400. */
export function readToolChoice(value: unknown): ReadToolChoice {
  if (value === undefined || value === null) return { choice: undefined, parallelToolCalls: undefined };
  if (!isObject(value)) throw invalid("The parameter 'tool_choice' must be an object.", 'tool_choice');
  const disabled = value.disable_parallel_tool_use;
  return { choice: readChoice(value), parallelToolCalls: typeof disabled === 'boolean' ? !disabled : undefined };
}

function readChoice(value: JsonObject): ToolChoice {
  switch (value.type) {
    case 'auto':
    case 'none':
      return { type: value.type };
    case 'any':
      return { type: 'required' };
    case 'tool':
      if (typeof value.name === 'string') return { type: 'tool', name: value.name, kind: 'function' };
      throw invalid("The parameter 'tool_choice.name' must be a string.", 'tool_choice.name');
    default:
      throw invalid("The parameter 'tool_choice.type' must be auto, any, tool or none.", 'tool_choice.type');
  }
}

/** Throws GatewayError 400 on a choice that only another dialect can express. */
export function writeToolChoice(choice: ToolChoice | undefined, parallelToolCalls: boolean | undefined): JsonObject | undefined {
  if (choice?.type === 'none') return { type: 'none' };
  const alone = parallelToolCalls === false ? { disable_parallel_tool_use: true } : {};
  switch (choice?.type) {
    case undefined:
      // The rule stands on a choice; this one is what no choice means.
      return parallelToolCalls === false ? { type: 'auto', ...alone } : undefined;
    case 'auto':
      return { type: 'auto', ...alone };
    case 'required':
      return { type: 'any', ...alone };
    case 'tool':
      return { type: 'tool', name: boundedToolName(choice.name), ...alone };
    case 'foreign':
      if (choice.dialect === DIALECT) return choice.value;
      throw invalid('This kind of tool choice cannot be made with this model.', 'tool_choice');
    default:
      return choice satisfies never;
  }
}

const CALL_KEYS = ['type', 'id', 'name', 'input', 'cache_control'];
/** The model itself makes a call, unless a program of the provider's is said to. */
export const DIRECT_CALLER = { type: 'direct' };

/** `cacheControl` of the block. */
export function readToolCall(block: JsonObject, cached: { readonly cacheControl?: CacheControl }): ToolCallPart {
  const { id, carriers } = unpackCallId(text(block.id) ?? '');
  return {
    type: 'tool_call',
    id,
    name: text(block.name) ?? '',
    arguments: isObject(block.input) ? JSON.stringify(block.input) : '{}',
    kind: 'function',
    ...(carriers.length === 0 ? {} : { carriers }),
    ...cached,
    rest: callRest(block),
  };
}

/** What else a block of a call says. */
export function callRest(block: JsonObject): JsonObject {
  const others = rest(block, CALL_KEYS);
  if (!isObject(others.caller) || others.caller.type !== DIRECT_CALLER.type) return others;
  return rest(others, ['caller']);
}

/** A call of an earlier turn, for an upstream. */
export function writeToolCall(call: ToolCallPart, lose: (loss: Loss) => void): JsonObject {
  const argumentsText = call.kind === 'custom' ? inputAsArguments(call.arguments) : call.arguments;
  const input = objectIn(argumentsText);
  if (input === undefined) lose({ name: 'call_arguments', at: call.name });
  return {
    type: 'tool_use',
    id: upstreamCallId(call.id),
    name: boundedToolName(call.name),
    input: input ?? { arguments: argumentsText },
  };
}

export function upstreamCallId(id: string): string {
  return boundedCallId(id, MAX_CALL_ID_CHARACTERS);
}

/** The arguments as an object; what a model has written badly is kept as its text. */
export function readArguments(argumentsText: string): JsonObject {
  return objectIn(argumentsText) ?? { arguments: argumentsText };
}

/** Undefined for a call that was cut off by a limit, or written badly. */
function objectIn(argumentsText: string): JsonObject | undefined {
  if (argumentsText.trim() === '') return {};
  try {
    const value = parseExact(argumentsText);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
