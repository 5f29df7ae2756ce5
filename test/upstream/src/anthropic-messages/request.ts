// Reads a Messages request, refusing in Anthropic's words what Anthropic would refuse.

import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';
import { emptyMessage, type ModelRequest, type ResponseFormat, type Tool, type ToolChoice } from '../model-request.ts';
import { effortTokens } from '../reasoning.ts';
import { refused } from './error.ts';
import { type Conversation, readConversation } from './messages.ts';
import { traitsOf } from './models.ts';

/** A document whose text may be cited. */
export interface Document {
  index: number;
  title: string | null;
  text: string;
}

/** A valid Messages request. */
export interface MessagesRequest extends ModelRequest {
  stream: boolean;
  /** Whether thinking has blocks of its own, and whether these have text. */
  thinking: 'off' | 'shown' | 'hidden';
  /** How long what is marked for caching is kept. */
  cacheTtl: '5m' | '1h';
  /** The documents with citations switched on. */
  documents: Document[];
}

const FIELDS = new Set(
  'model messages cache_control container context_management inference_geo max_tokens mcp_servers metadata output_config output_format service_tier speed stop_sequences stream system temperature thinking tool_choice tools top_k top_p user_profile_id'.split(
    ' ',
  ),
);
const TOOL_FIELDS = new Set(
  'type name description input_schema cache_control strict eager_input_streaming allowed_callers defer_loading input_examples'.split(' '),
);
const MOST_CACHE_MARKS = 4;
const LEAST_BUDGET_TOKENS = 1024;
const FORCED = 'Thinking may not be enabled when tool_choice forces tool use.';
const HELP = 'Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking';

function present(value: JsonValue | undefined): value is JsonValue {
  return value !== undefined && value !== null;
}

function readInteger(body: JsonObject, name: string, least: number): number | null {
  const value = body[name];
  if (!present(value)) return null;
  if (typeof value !== 'number' || !Number.isInteger(value)) throw refused(`${name}: Input should be a valid integer`);
  if (value < least) throw refused(`${name}: Input should be greater than or equal to ${least}`);
  return value;
}

function checkFraction(body: JsonObject, name: string): void {
  const value = body[name];
  if (!present(value)) return;
  if (typeof value !== 'number') throw refused(`${name}: Input should be a valid number`);
  if (value < 0 || value > 1) throw refused(`${name}: range: 0..1`);
}

function objectSchemas(schema: JsonValue | undefined): JsonObject[] {
  if (Array.isArray(schema)) return schema.flatMap(objectSchemas);
  if (!isObject(schema)) return [];
  const own = schema.type === 'object' ? [schema] : [];
  return [...own, ...Object.values(schema).flatMap(objectSchemas)];
}

function checkClosed(schema: JsonObject, at: string): void {
  if (objectSchemas(schema).every((part) => part.additionalProperties === false)) return;
  throw refused(`${at}: For 'object' type, 'additionalProperties' must be explicitly set to false`);
}

function readTools(value: JsonValue | undefined): Tool[] {
  if (!present(value)) return [];
  if (!Array.isArray(value)) throw refused('tools: Input should be a valid list');
  const names = new Set<string>();
  return value.flatMap((tool, index): Tool[] => {
    const at = `tools.${index}`;
    if (!isObject(tool)) throw refused(`${at}: Input should be a valid dictionary or object to extract fields from`);
    const { name, type, input_schema: schema } = tool;
    // Anthropic's own tools, which have dates in their names, run on its side; the simulated model never calls them.
    if (typeof type === 'string' && /_\d{8}$/.test(type)) return [];
    if (present(type) && type !== 'custom') {
      throw refused(
        `${at}: Input tag '${String(type)}' found using 'type' does not match any of the expected tags: 'bash_20250124', 'custom', 'text_editor_20250728', 'web_search_20250305'`,
      );
    }
    if (typeof name !== 'string') throw refused(`${at}.custom.name: Field required`);
    if (!/^[a-zA-Z0-9_-]{1,128}$/.test(name)) throw refused(`${at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'`);
    if (names.has(name)) throw refused('tools: Tool names must be unique.');
    names.add(name);
    const unknown = Object.keys(tool).find((field) => !TOOL_FIELDS.has(field));
    if (unknown !== undefined) throw refused(`${at}.custom.${unknown}: Extra inputs are not permitted`);
    if (!isObject(schema)) throw refused(`${at}.custom.input_schema: Field required`);
    if (schema.type === undefined) throw refused(`${at}.custom.input_schema.type: Field required`);
    if (schema.type !== 'object') throw refused(`${at}.custom.input_schema.type: Input should be 'object'`);
    if (tool.strict === true) checkClosed(schema, `${at}.custom`);
    const description = typeof tool.description === 'string' ? tool.description : '';
    return [{ kind: 'function', name, description, parameters: schema, raw: tool }];
  });
}

function readToolChoice(value: JsonValue | undefined, tools: Tool[], offered: boolean): { choice: ToolChoice; parallel: boolean } {
  if (!present(value)) return { choice: { mode: 'auto' }, parallel: true };
  if (!isObject(value)) throw refused('tool_choice: Input should be a valid dictionary or object to extract fields from');
  if (!offered && value.type !== 'none') throw refused('tool_choice: tool_choice may only be specified while providing tools');
  const parallel = value.disable_parallel_tool_use !== true;
  switch (value.type) {
    case 'auto':
    case 'none':
      return { choice: { mode: value.type }, parallel };
    case 'any':
      return { choice: { mode: 'required' }, parallel };
    case 'tool': {
      const { name } = value;
      if (typeof name !== 'string') throw refused('tool_choice.tool.name: Field required');
      if (!tools.some((tool) => tool.name === name)) throw refused(`Tool '${name}' not found in provided tools`);
      return { choice: { mode: 'named', name }, parallel };
    }
    default:
      throw refused(
        `tool_choice: Input tag '${String(value.type)}' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'`,
      );
  }
}

function readFormat(body: JsonObject): ResponseFormat {
  const config = isObject(body.output_config) ? body.output_config : {};
  const format = config.format ?? body.output_format;
  if (!present(format)) return { kind: 'text' };
  const at = config.format === undefined ? 'output_format' : 'output_config.format';
  if (!isObject(format) || format.type !== 'json_schema') throw refused(`${at}.type: Input should be 'json_schema'`);
  if (!isObject(format.schema)) throw refused(`${at}.schema: Field required`);
  checkClosed(format.schema, `${at}.schema`);
  return { kind: 'json_schema', schema: format.schema };
}

function readEffort(body: JsonObject, model: string): string | null {
  const effort = isObject(body.output_config) ? body.output_config.effort : undefined;
  if (!present(effort)) return null;
  const { efforts } = traitsOf(model);
  if (efforts.length === 0) throw refused('This model does not support the effort parameter.');
  if (typeof effort !== 'string' || !efforts.includes(effort)) {
    throw refused(`This model does not support effort level '${String(effort)}'. Supported levels: ${[...efforts].sort().join(', ')}.`);
  }
  return effort;
}

interface Thinking {
  thinking: MessagesRequest['thinking'];
  /** How it was asked for. */
  way: 'off' | 'adaptive' | 'enabled';
  tokens: number;
}

function readThinking(body: JsonObject, model: string, maxTokens: number, choice: ToolChoice): Thinking {
  const traits = traitsOf(model);
  const effort = readEffort(body, model);
  const { thinking } = body;
  if (!present(thinking)) return { thinking: 'off', way: 'off', tokens: 0 };
  if (!isObject(thinking)) throw refused('thinking: Input should be a valid dictionary or object to extract fields from');
  if (thinking.type === 'disabled') return { thinking: 'off', way: 'off', tokens: 0 };
  if (thinking.type !== 'enabled' && thinking.type !== 'adaptive') {
    throw refused(
      `thinking: Input tag '${String(thinking.type)}' found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'`,
    );
  }
  if (choice.mode === 'required' || choice.mode === 'named') throw refused(FORCED);
  if (present(body.temperature) && body.temperature !== 1) {
    throw refused(`\`temperature\` may only be set to 1 when thinking is enabled. ${HELP}`);
  }
  if (present(body.top_k)) throw refused(`\`top_k\` must be unset when thinking is enabled. ${HELP}`);
  const hidden = thinking.display === undefined ? traits.hidesThinking : thinking.display === 'omitted';
  const shown = hidden ? 'hidden' : 'shown';
  if (thinking.type === 'adaptive') {
    if (!traits.adaptive) throw refused('adaptive thinking is not supported on this model');
    return { thinking: shown, way: 'adaptive', tokens: effortTokens(effort ?? 'high') };
  }
  if (!traits.budget) {
    throw refused(
      '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.',
    );
  }
  const budget = thinking.budget_tokens;
  if (budget === undefined) throw refused('thinking.enabled.budget_tokens: Field required');
  if (typeof budget !== 'number' || !Number.isInteger(budget)) {
    throw refused('thinking.enabled.budget_tokens: Input should be a valid integer');
  }
  if (budget < LEAST_BUDGET_TOKENS) {
    throw refused(`thinking.enabled.budget_tokens: Input should be greater than or equal to ${LEAST_BUDGET_TOKENS}`);
  }
  if (budget >= maxTokens) {
    throw refused(`\`max_tokens\` must be greater than \`thinking.budget_tokens\`. ${HELP}#max-tokens-and-context-window-size`);
  }
  return { thinking: shown, way: 'enabled', tokens: effortTokens(effort ?? 'medium') };
}

function readStops(value: JsonValue | undefined): string[] {
  if (!present(value)) return [];
  if (!Array.isArray(value)) throw refused('stop_sequences: Input should be a valid list');
  return value.map((stop, index) => {
    if (typeof stop !== 'string') throw refused(`stop_sequences.${index}: Input should be a valid string`);
    if (stop.trim() === '') throw refused('stop_sequences: each stop sequence must contain non-whitespace');
    return stop;
  });
}

interface CacheMarks {
  count: number;
  ttl: '5m' | '1h';
}

/** Counts the cache marks of a request, wherever they stand. */
function cacheMarks(value: JsonValue | undefined, marks: CacheMarks = { count: 0, ttl: '5m' }): CacheMarks {
  if (Array.isArray(value)) for (const item of value) cacheMarks(item, marks);
  if (!isObject(value)) return marks;
  for (const [field, inner] of Object.entries(value)) {
    if (field !== 'cache_control') cacheMarks(inner, marks);
    else if (isObject(inner)) {
      marks.count += 1;
      if (inner.ttl === '1h') marks.ttl = '1h';
    }
  }
  return marks;
}

function readSystem(value: JsonValue | undefined, conversation: Conversation): void {
  if (!present(value)) return;
  const message = emptyMessage('system');
  const blocks = typeof value === 'string' ? [{ type: 'text', text: value }] : value;
  if (!Array.isArray(blocks)) throw refused('system: Input should be a valid list');
  let marked = false;
  blocks.forEach((block, index) => {
    if (!isObject(block) || block.type !== 'text' || typeof block.text !== 'string') {
      throw refused(`system.${index}.type: Input should be 'text'`);
    }
    if (block.text === '' && present(block.cache_control)) {
      throw refused(`system.${index}: cache_control cannot be set for empty text blocks`);
    }
    if (block.text === '' && typeof value !== 'string') throw refused('system: text content blocks must be non-empty');
    if (block.text !== '' && block.text.trim() === '') throw refused('system: text content blocks must contain non-whitespace text');
    marked ||= present(block.cache_control);
    if (block.text !== '') message.texts.push(block.text);
  });
  if (message.texts.length === 0) return;
  conversation.messages.unshift(message);
  if (conversation.cachedMessages > 0) conversation.cachedMessages += 1;
  else if (marked) conversation.cachedMessages = 1;
}

/** The name of the model a body asks for. */
export function readModel(body: JsonObject): string {
  if (!present(body.model)) throw refused('model: Field required');
  if (typeof body.model !== 'string') throw refused('model: Input should be a valid string');
  if (body.model === '') throw refused('model: String should have at least 1 character');
  return body.model;
}

/** Turns a parsed body into a Messages request, or throws the ApiError Anthropic would answer; `counting` needs no limit. */
export function readMessagesRequest(body: JsonObject, counting: boolean): MessagesRequest {
  const model = readModel(body);
  const traits = traitsOf(model);
  const unknown = Object.keys(body).find((field) => !FIELDS.has(field));
  if (unknown !== undefined) throw refused(`${unknown}: Extra inputs are not permitted`);
  const maxTokens = readInteger(body, 'max_tokens', 1);
  if (maxTokens === null && !counting) throw refused('max_tokens: Field required');
  checkFraction(body, 'temperature');
  checkFraction(body, 'top_p');
  readInteger(body, 'top_k', 0);
  if (present(body.temperature) && present(body.top_p) && !traits.bothSamplers) {
    throw refused('`temperature` and `top_p` cannot both be specified for this model. Please use only one.');
  }
  if (present(body.stream) && typeof body.stream !== 'boolean') throw refused('stream: Input should be a valid boolean');
  const tools = readTools(body.tools);
  const offered = Array.isArray(body.tools) && body.tools.length > 0;
  const { choice, parallel } = readToolChoice(body.tool_choice, tools, offered);
  const thinking = readThinking(body, model, maxTokens ?? Number.POSITIVE_INFINITY, choice);
  const conversation = readConversation(body.messages, traits, thinking.way);
  const marks = cacheMarks(body);
  if (marks.count > MOST_CACHE_MARKS) {
    throw refused(`A maximum of ${MOST_CACHE_MARKS} blocks with cache_control may be provided. Found ${marks.count}.`);
  }
  if (present(body.cache_control)) conversation.cachedMessages = conversation.messages.length;
  readSystem(body.system, conversation);
  return {
    model,
    messages: conversation.messages,
    stream: body.stream === true,
    maxTokens,
    stop: readStops(body.stop_sequences),
    n: 1,
    tools,
    toolChoice: choice,
    parallelToolCalls: parallel,
    format: readFormat(body),
    reasoningTokens: thinking.tokens,
    thinking: thinking.thinking,
    cachedMessages: marks.count > 0 ? conversation.cachedMessages : null,
    cacheTtl: marks.ttl,
    documents: conversation.documents,
  };
}
