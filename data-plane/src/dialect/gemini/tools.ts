/** Tools, the choice among them, and calls of them. */
import { asFunction, grammarOf, inputAsArguments } from '../../canonical/custom-tool.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { ReasoningCarrier, Rest, ToolCallPart } from '../../canonical/message.ts';
import type { Request } from '../../canonical/request.ts';
import type { FunctionTool, HostedTool, Tool, ToolChoice } from '../../canonical/tool.ts';
import { boundedToolName } from '../../canonical/tool-name.ts';
import { parseExact } from '../exact-json.ts';
import { refusedTool } from '../hosted-tool.ts';
import { invalid, isObject, type JsonObject, NO_REST, rest, text } from '../json.ts';
import { fromOpenApi, type Growth, toOpenApi } from './json-schema.ts';
import type { ModelWays } from './models.ts';
import { enumWord, fieldsOf, listOf } from './proto-json.ts';
import { DIALECT } from './schema.ts';

const FUNCTION_KEYS = ['name', 'description', 'parameters', 'parametersJsonSchema'];

/** Throws GatewayError 400. One object of `tools` may hold functions and tools of Google's. */
export function readTools(value: unknown): readonly Tool[] {
  return listOf(value).flatMap((item, index) => {
    const param = `tools[${index}]`;
    if (!isObject(item)) throw invalid(`The parameter '${param}' must be an object.`, param);
    const { functionDeclarations, ...hosted } = fieldsOf(item);
    const functions = listOf(functionDeclarations).map((declaration, place) =>
      readFunction(declaration, `${param}.functionDeclarations[${place}]`),
    );
    const others = Object.entries(hosted)
      .filter(([, settings]) => settings !== undefined && settings !== null)
      .map(([name, settings]): HostedTool => ({ kind: 'hosted', dialect: DIALECT, value: { type: name, [name]: settings } }));
    return [...functions, ...others];
  });
}

function readFunction(value: unknown, param: string): FunctionTool {
  const declaration = fieldsOf(value);
  const name = text(declaration.name);
  if (name === undefined || name === '') throw invalid(`The parameter '${param}.name' must be a string.`, `${param}.name`);
  const { parameters, parametersJsonSchema } = declaration;
  return {
    kind: 'function',
    name,
    description: text(declaration.description),
    parameters: isObject(parametersJsonSchema) ? parametersJsonSchema : isObject(parameters) ? fromOpenApi(parameters) : undefined,
    strict: undefined,
    rest: rest(declaration, FUNCTION_KEYS),
  };
}

/** The choice, and the tools among which it is. `others`: what of the settings only this dialect knows. */
export interface ReadChoice {
  readonly choice: ToolChoice | undefined;
  readonly tools: readonly Tool[];
  readonly others: Rest;
}

/** Throws GatewayError 400 on a mode that is not known. A choice among some tools is one among all of a shorter list. */
export function readToolConfig(value: unknown, tools: readonly Tool[]): ReadChoice {
  const { functionCallingConfig, ...others } = fieldsOf(value);
  const config = fieldsOf(functionCallingConfig);
  const allowed = listOf(config.allowedFunctionNames).filter((name) => typeof name === 'string');
  const named = tools.filter((tool) => tool.kind === 'hosted' || allowed.length === 0 || allowed.includes(tool.name));
  const [only] = allowed;
  switch (enumWord(config.mode) ?? 'MODE_UNSPECIFIED') {
    case 'MODE_UNSPECIFIED':
      return { choice: undefined, tools, others };
    case 'AUTO':
      return { choice: { type: 'auto' }, tools, others };
    case 'NONE':
      return { choice: { type: 'none' }, tools, others };
    case 'ANY':
      if (allowed.length === 1 && only !== undefined) return { choice: { type: 'tool', name: only, kind: 'function' }, tools, others };
      return { choice: { type: 'required' }, tools: named, others };
    // Calls that keep to their schemas, or an answer in words.
    case 'VALIDATED':
      return {
        choice: { type: 'auto' },
        tools: named.map((tool) => (tool.kind === 'function' ? { ...tool, strict: true } : tool)),
        others,
      };
    default:
      throw invalid(
        "The parameter 'toolConfig.functionCallingConfig.mode' must be AUTO, ANY, NONE or VALIDATED.",
        'toolConfig.functionCallingConfig.mode',
      );
  }
}

/** Throws GatewayError 400 on a tool that another provider runs. */
export function writeTools(
  { dialect, tools }: Request,
  ways: ModelWays,
  growth: Growth,
  lost: (loss: Loss) => void,
): readonly JsonObject[] {
  const functions: JsonObject[] = [];
  const hosted: JsonObject[] = [];
  for (const tool of tools) {
    if (tool.kind !== 'hosted') functions.push(writeFunction(tool, dialect === DIALECT, ways, growth, lost));
    else if (tool.dialect === DIALECT) {
      const { type: _, ...settings } = tool.value;
      hosted.push(settings);
    } else throw refusedTool(tool);
  }
  return functions.length === 0 ? hosted : [{ functionDeclarations: functions }, ...hosted];
}

function writeFunction(
  tool: Exclude<Tool, HostedTool>,
  isOurs: boolean,
  ways: ModelWays,
  growth: Growth,
  lost: (loss: Loss) => void,
): JsonObject {
  const { name, description } = tool;
  if (tool.kind === 'custom') {
    if (grammarOf(tool.format) !== undefined) lost({ name: 'tool_grammar', at: name });
    return writeFunction(asFunction(tool), isOurs, ways, growth, lost);
  }
  if (tool.strict === true && !isOurs) lost({ name: 'strict_tool', at: name });
  const schema = tool.parameters;
  const parameters =
    schema === undefined
      ? {}
      : writeParameters(schema, ways, growth, (keyword) => lost({ name: 'schema_keyword', at: `${name}:${keyword}` }));
  return { ...(isOurs ? tool.rest : NO_REST), name: isOurs ? name : boundedToolName(name), description: description ?? '', ...parameters };
}

/** None for an object without members: the older form refuses it, and it says nothing. */
function writeParameters(schema: JsonObject, ways: ModelWays, growth: Growth, lost: (keyword: string) => void): JsonObject {
  const isEmpty = !isObject(schema.properties) || Object.keys(schema.properties).length === 0;
  if (isEmpty && schema.$ref === undefined && schema.anyOf === undefined && schema.additionalProperties !== true) return {};
  return ways.takesJsonSchema ? { parametersJsonSchema: schema } : { parameters: toOpenApi(schema, lost, growth) };
}

/** Undefined where nothing is chosen. Throws GatewayError 400 on a choice that only another dialect has. */
export function writeToolConfig({ dialect, toolChoice, tools, rest: others }: Request): JsonObject | undefined {
  const ours = dialect === DIALECT ? fieldsOf(others.toolConfig) : NO_REST;
  // A choice among no functions is refused.
  const isChoice = toolChoice !== undefined && tools.some(({ kind }) => kind !== 'hosted');
  const config = isChoice ? writeChoice(toolChoice, dialect === DIALECT, tools) : undefined;
  if (config === undefined) return Object.keys(ours).length === 0 ? undefined : ours;
  return { ...ours, functionCallingConfig: config };
}

function isStrict(tool: Tool): boolean {
  return tool.kind === 'function' && tool.strict === true;
}

function writeChoice(choice: ToolChoice, isOurs: boolean, tools: readonly Tool[]): JsonObject {
  switch (choice.type) {
    case 'auto':
      return { mode: isOurs && tools.some(isStrict) ? 'VALIDATED' : 'AUTO' };
    case 'none':
      return { mode: 'NONE' };
    case 'required':
      return { mode: 'ANY' };
    case 'tool':
      return { mode: 'ANY', allowedFunctionNames: [isOurs ? choice.name : boundedToolName(choice.name)] };
    case 'foreign':
      throw invalid("The tool choice is one that this model's provider does not have.", 'tool_choice');
    default:
      return choice satisfies never;
  }
}

/** The `functionCall` of a part, with what stands beside it. */
export function readCall(call: JsonObject, id: string, carriers: readonly ReasoningCarrier[], others: Rest): ToolCallPart {
  const { args } = call;
  return {
    type: 'tool_call',
    id,
    name: text(call.name) ?? '',
    arguments: isObject(args) ? JSON.stringify(args) : '{}',
    kind: 'function',
    ...(carriers.length === 0 ? {} : { carriers }),
    rest: others,
  };
}

/** The arguments as an object; undefined for a text that is none. */
export function argumentsObject({ kind, arguments: written }: Pick<ToolCallPart, 'kind' | 'arguments'>): JsonObject | undefined {
  if (kind === 'custom') return argumentsObject({ kind: 'function', arguments: inputAsArguments(written) });
  if (written.trim() === '') return {};
  try {
    const value = parseExact(written);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
