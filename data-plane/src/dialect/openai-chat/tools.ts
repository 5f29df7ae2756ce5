/** Tools, the choice among them, and calls of them. */
import type { DialectName } from '@meridian/domain/dialect';
import { boundedCallId, packCallId, unpackCallId } from '../../canonical/call-id.ts';
import { argumentsAsInput, asFunction, inputAsArguments } from '../../canonical/custom-tool.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { ReasoningCarrier, Rest, ToolCallPart } from '../../canonical/message.ts';
import type { CustomTool, FunctionTool, Tool, ToolChoice } from '../../canonical/tool.ts';
import { boundedToolName, originalToolName } from '../../canonical/tool-name.ts';
import { refusedTool } from '../hosted-tool.ts';
import { invalid, isObject, type JsonObject, NO_REST, rest, text } from '../json.ts';
import { openAiStrictParameters } from '../openai-strict-schema.ts';
import { asksForNothing, INPUT_FROM_ELSEWHERE } from './schema.ts';

const DIALECT = 'openai-chat';
const MAX_CALL_ID_CHARACTERS = 40;

/** Throws GatewayError 400. The older `functions` are read as tools. */
export function readTools(tools: unknown, functions: unknown): readonly Tool[] {
  const read = list(tools, 'tools').map(readTool);
  return [...read, ...list(functions, 'functions').map((item) => readFunction(item, NO_REST, 'functions'))];
}

/** Parameters that let the provider search, or read what it has stored: nobody else can do that in its place. */
export function readHostedParameters(fields: JsonObject): readonly Tool[] {
  const found: Tool[] = [];
  for (const key of INPUT_FROM_ELSEWHERE) {
    if (asksForNothing(fields[key])) continue;
    found.push({ kind: 'hosted', dialect: DIALECT, value: { type: key, [key]: fields[key] } });
  }
  return found;
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
  if (item.type === 'custom' && isObject(item.custom)) return readCustom(item.custom, rest(item, ['type', 'custom']), param);
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
    rest: withInner(outer, 'function', rest(item, ['name', 'description', 'parameters', 'strict'])),
  };
}

function readCustom(custom: JsonObject, outer: Rest, param: string): Tool {
  return {
    kind: 'custom',
    name: toolName(custom.name, param),
    description: text(custom.description),
    format: custom.format,
    rest: withInner(outer, 'custom', rest(custom, ['name', 'description', 'format'])),
  };
}

/** What stands beside the known members of the inner object is kept under its name. */
function withInner(outer: Rest, name: 'function' | 'custom', inner: Rest): Rest {
  return inner === NO_REST ? outer : { ...outer, [name]: inner };
}

function toolName(name: unknown, param: string): string {
  if (typeof name !== 'string' || name === '') throw invalid(`The parameter '${param}.name' must be a string.`, `${param}.name`);
  return name;
}

/** For which upstream tools and calls are written. */
export interface CallTerms {
  /** The dialect in which the request was written. */
  readonly from: DialectName;
  readonly isOurs: boolean;
  readonly takesCustomTools: boolean;
  readonly takesStrictTools: boolean;
  readonly lose: (loss: Loss) => void;
}

/** An upstream's `tools`. Throws GatewayError 400 for one that another provider runs. */
export function writeTools(tools: readonly Tool[], terms: CallTerms): readonly JsonObject[] {
  const written: JsonObject[] = [];
  for (const [index, tool] of tools.entries()) {
    if (tool.kind === 'hosted') {
      if (tool.dialect !== DIALECT) throw refusedTool(tool);
      if (!isParameter(tool.value)) written.push(tool.value);
      continue;
    }
    written.push(tool.kind === 'function' ? writeFunction(tool, index, terms) : writeCustom(tool, index, terms));
  }
  return written;
}

function isParameter(value: Rest): boolean {
  return typeof value.type === 'string' && INPUT_FROM_ELSEWHERE.includes(value.type);
}

/** The parameters that were read as tools. */
export function writeHostedParameters(tools: readonly Tool[]): JsonObject {
  let fields: JsonObject = NO_REST;
  for (const tool of tools) {
    if (tool.kind === 'hosted' && isParameter(tool.value)) fields = { ...fields, ...rest(tool.value, ['type']) };
  }
  return fields;
}

function writeFunction(tool: FunctionTool, index: number, { isOurs, from, takesStrictTools, lose }: CallTerms): JsonObject {
  const { description, parameters } = tool;
  const { function: inner, ...outer } = isOurs ? tool.rest : NO_REST;
  const isHeld = tool.strict === true;
  const held = isHeld && takesStrictTools ? openAiStrictParameters(parameters, from) : undefined;
  if (isHeld && held === undefined) lose({ name: 'strict_tool', at: `tools[${index}]` });
  return {
    ...outer,
    type: 'function',
    function: {
      ...(isObject(inner) ? inner : {}),
      name: boundedToolName(tool.name),
      description,
      parameters: parameters === undefined && isOurs ? undefined : (held ?? parameters),
      strict: takesStrictTools && isHeld === (held !== undefined) ? tool.strict : undefined,
    },
  };
}

function writeCustom(tool: CustomTool, index: number, terms: CallTerms): JsonObject {
  if (!terms.takesCustomTools) {
    if (isObject(tool.format) && tool.format.type === 'grammar') terms.lose({ name: 'tool_grammar', at: `tools[${index}]` });
    return writeFunction(asFunction(tool), index, terms);
  }
  const { custom: inner, ...outer } = terms.isOurs ? tool.rest : NO_REST;
  return {
    ...outer,
    type: 'custom',
    custom: {
      ...(isObject(inner) ? inner : {}),
      name: boundedToolName(tool.name),
      description: tool.description,
      format: writeFormat(tool.format),
    },
  };
}

/** A grammar stands in an object of its own here; another dialect may have it flat. */
function writeFormat(format: unknown): unknown {
  if (!isObject(format) || format.type !== 'grammar' || isObject(format.grammar)) return format;
  return { type: 'grammar', grammar: rest(format, ['type']) };
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

/** Throws GatewayError 400 for a choice that only another dialect can tell. */
export function writeToolChoice(choice: ToolChoice, { takesCustomTools }: CallTerms): unknown {
  switch (choice.type) {
    case 'auto':
    case 'none':
    case 'required':
      return choice.type;
    case 'tool': {
      const kind = takesCustomTools ? choice.kind : 'function';
      return { type: kind, [kind]: { name: boundedToolName(choice.name) } };
    }
    case 'foreign':
      if (choice.dialect === DIALECT) return choice.value;
      throw invalid(
        `The tool choice '${(text(choice.value.type) ?? 'unknown').slice(0, 128)}' cannot be told to this model.`,
        'tool_choice',
      );
    default:
      return choice satisfies never;
  }
}

/** A call in a message. `fromClient`: its id may be ours. */
export function readToolCall(call: unknown, fromClient: boolean): ToolCallPart | undefined {
  if (!isObject(call)) return undefined;
  const { id, carriers, others } = readCallHead(call, fromClient);
  const head = { type: 'tool_call', id, ...(carriers.length === 0 ? {} : { carriers }), rest: others } as const;
  if (call.type === 'custom' && isObject(call.custom)) {
    return { ...head, name: text(call.custom.name) ?? '', arguments: text(call.custom.input) ?? '', kind: 'custom' };
  }
  if (!isObject(call.function)) return undefined;
  return { ...head, name: text(call.function.name) ?? '', arguments: readArguments(call.function.arguments), kind: 'function' };
}

const CALL_KEYS = ['id', 'type', 'index', 'function', 'custom'];

export interface CallHead {
  readonly id: string;
  readonly carriers: readonly ReasoningCarrier[];
  readonly others: Rest;
}

/**
 * What a call is known by, and what its issuer wants back with it: packed into an id of ours, or beside it. A signature that Google's own
 * form of this protocol has beside a call is the one that its native form has.
 */
export function readCallHead(call: JsonObject, fromClient: boolean): CallHead {
  const told = text(call.id) ?? '';
  const { id, carriers } = fromClient ? unpackCallId(told) : { id: told, carriers: [] };
  const extra = call.extra_content;
  if (!isObject(extra)) return { id, carriers, others: rest(call, CALL_KEYS) };
  const signature = signatureOf(extra);
  const beside: ReasoningCarrier[] = [{ dialect: DIALECT, value: extra }];
  // Packed carriers say whose they are; what stands beside them was put there by us.
  if (fromClient && signature !== undefined) beside.push({ dialect: 'gemini', value: signature });
  return { id, carriers: carriers.length > 0 ? carriers : beside, others: rest(call, [...CALL_KEYS, 'extra_content']) };
}

function signatureOf(extra: JsonObject): string | undefined {
  return isObject(extra.google) ? text(extra.google.thought_signature) : undefined;
}

/** A call without arguments is written in three ways, and some providers send an object; `{}` is the one that can be parsed. */
export function readArguments(value: unknown): string {
  if (typeof value === 'string') return value.trim() === '' ? '{}' : value;
  return isObject(value) ? JSON.stringify(value) : '{}';
}

/** The id by which an upstream knows a call, and its result. */
export function upstreamCallId(id: string): string {
  return boundedCallId(id, MAX_CALL_ID_CHARACTERS);
}

/** A call of an earlier turn, for an upstream. */
export function writeToolCall(call: ToolCallPart, { isOurs, takesCustomTools }: CallTerms): JsonObject {
  const own = call.carriers?.find(({ dialect }) => dialect === DIALECT);
  const head = {
    ...(isOurs ? call.rest : NO_REST),
    id: upstreamCallId(call.id),
    ...(own === undefined ? {} : { extra_content: own.value }),
  };
  const name = boundedToolName(call.name);
  if (call.kind === 'function') return { ...head, type: 'function', function: { name, arguments: call.arguments } };
  if (takesCustomTools) return { ...head, type: 'custom', custom: { name, input: call.arguments } };
  return { ...head, type: 'function', function: { name, arguments: inputAsArguments(call.arguments) } };
}

/** How a client of ours knows a call. */
export interface ClientCall {
  readonly head: JsonObject;
  readonly name: string;
  /** The client declared the tool as a custom one: it reads free text. */
  readonly kind: 'function' | 'custom';
  /** The upstream called a function that stands in for a custom tool: its input has to be taken out of the arguments. */
  readonly isRaised: boolean;
}

/** Of a call in an answer to a client with these tools. */
export function clientCall(call: Omit<ToolCallPart, 'type' | 'arguments'>, tools: readonly Tool[], isOurs: boolean): ClientCall {
  const { id, carriers = [], kind } = call;
  const name = originalToolName(call.name, tools);
  const isRaised = kind === 'function' && tools.some((tool) => tool.kind === 'custom' && tool.name === name);
  const extra = extraContent(carriers);
  const head = {
    ...(isOurs ? call.rest : NO_REST),
    // An id of this dialect's own may have any form.
    id: packCallId(isOurs ? '' : 'call_', { id, carriers: carriers.filter(({ dialect }) => dialect !== DIALECT) }),
    ...(extra === undefined ? {} : { extra_content: extra }),
  };
  return { head, name, kind: isRaised ? 'custom' : kind, isRaised };
}

/** Members beside a call: a provider's own, or Gemini's signature as Google's form of this protocol has it. */
function extraContent(carriers: readonly ReasoningCarrier[]): unknown {
  const own = carriers.find(({ dialect }) => dialect === DIALECT);
  if (own !== undefined) return own.value;
  const signature = carriers.find(({ dialect, value }) => dialect === 'gemini' && typeof value === 'string');
  return signature === undefined ? undefined : { google: { thought_signature: signature.value } };
}

/** A call of an answer, for a client of ours. */
export function writeClientCall(call: ToolCallPart, tools: readonly Tool[], isOurs: boolean): JsonObject {
  const { head, name, kind, isRaised } = clientCall(call, tools, isOurs);
  if (kind === 'function') return { ...head, type: 'function', function: { name, arguments: call.arguments } };
  return { ...head, type: 'custom', custom: { name, input: isRaised ? argumentsAsInput(call.arguments) : call.arguments } };
}
