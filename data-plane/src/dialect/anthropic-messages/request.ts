/** A request, to and from the canonical language. */
import type { Loss } from '../../canonical/loss.ts';
import type { Message } from '../../canonical/message.ts';
import type { Request, ResponseFormat } from '../../canonical/request.ts';
import { boundedToolName } from '../../canonical/tool-name.ts';
import type { Encoded, EncodeRequestTerms, RequestFacts, RequestPlace } from '../dialect.ts';
import { parseExact } from '../exact-json.ts';
import { invalid, isObject, type JsonObject, NO_REST, number, rest, text } from '../json.ts';
import { loseUnknownFields } from '../unknown-fields.ts';
import { limitCacheBreakpoints } from './cache-breakpoints.ts';
import { strictSchema } from './json-schema.ts';
import { readContent } from './message.ts';
import { type ModelWays, modelWays } from './models.ts';
import { readPassThrough } from './pass-through-request.ts';
import { readReasoning, writeReasoning } from './reasoning.ts';
import { DIALECT } from './schema.ts';
import { JSON_ANSWER_TOOL, readToolChoice, readTools, writeToolChoice, writeTools } from './tools.ts';
import { calledNames, continuesUnproven, writeTurns } from './turns.ts';

/** For models of which nobody says how much they put out. */
const DEFAULT_MAX_TOKENS = 4_096;
const MAX_USER_ID_CHARACTERS = 512;

const READ = [
  'model',
  'messages',
  'system',
  'max_tokens',
  'stream',
  'tools',
  'tool_choice',
  'mcp_servers',
  'thinking',
  'temperature',
  'top_p',
  'top_k',
  'stop_sequences',
  'metadata',
  'service_tier',
];
const OUTPUT_CONFIG_READ = ['effort', 'format'];

/** Throws GatewayError 400 with the parameter at fault. */
export function decodeRequest(body: Buffer, _place?: RequestPlace, read?: RequestFacts): Request {
  // The same checks, limits and messages as in the other lane.
  const facts = read ?? readPassThrough('chat', body).facts;
  const fields = parseExact(body.toString('utf8'));
  if (!isObject(fields) || !Array.isArray(fields.messages)) throw invalid('The request body must be a JSON object.');
  const { choice, parallelToolCalls } = readToolChoice(fields.tool_choice);
  const reasoning = readReasoning(fields.thinking, fields.output_config);
  const metadata = isObject(fields.metadata) ? fields.metadata : NO_REST;
  const { user_id: userId, ...labels } = metadata;
  return {
    dialect: DIALECT,
    model: facts.model,
    messages: [...readSystem(fields.system), ...fields.messages.map((message, index) => readMessage(message, `messages[${index}]`))],
    tools: readTools(fields.tools, fields.mcp_servers),
    toolChoice: choice,
    parallelToolCalls,
    stream: facts.stream,
    wantsStreamUsage: facts.wantsStreamUsage,
    maxOutputTokens: facts.maxOutputTokens,
    sampling: {
      temperature: number(fields.temperature),
      topP: number(fields.top_p),
      topK: number(fields.top_k),
      seed: undefined,
      frequencyPenalty: undefined,
      presencePenalty: undefined,
    },
    stop: readStop(fields.stop_sequences),
    choices: 1,
    logprobs: undefined,
    format: readFormat(fields),
    reasoning,
    serviceTier: facts.serviceTier,
    user: text(userId),
    ...(Object.keys(labels).length === 0 ? {} : { metadata: labels }),
    rest: readRest(fields),
  };
}

function readRest(fields: JsonObject): JsonObject {
  const { output_config: outputConfig, output_format: _, ...others } = rest(fields, READ);
  const config = isObject(outputConfig) ? rest(outputConfig, OUTPUT_CONFIG_READ) : NO_REST;
  return Object.keys(config).length === 0 ? others : { ...others, output_config: config };
}

function readSystem(system: unknown): readonly Message[] {
  if (system === undefined || system === null) return [];
  const parts = readContent(system, 'system');
  return parts.length === 0 ? [] : [{ role: 'system', parts, name: undefined, rest: NO_REST }];
}

const ROLES = ['user', 'assistant', 'system'] as const;

function readMessage(message: unknown, param: string): Message {
  if (!isObject(message)) throw invalid(`The parameter '${param}' must be an object.`, param);
  const role = ROLES.find((name) => name === message.role);
  if (role === undefined) throw invalid(`The parameter '${param}.role' must be user or assistant.`, `${param}.role`);
  const parts = readContent(message.content, `${param}.content`);
  const isResults = role === 'user' && parts.length > 0 && parts.every((part) => part.type === 'tool_result');
  return { role: isResults ? 'tool' : role, parts, name: undefined, rest: rest(message, ['role', 'content']) };
}

function readStop(stop: unknown): readonly string[] {
  if (stop === undefined || stop === null) return [];
  if (Array.isArray(stop) && stop.every((item) => typeof item === 'string')) return stop;
  throw invalid("The parameter 'stop_sequences' must be an array of strings.", 'stop_sequences');
}

/** The older `output_format` says the same. */
function readFormat(fields: JsonObject): ResponseFormat | undefined {
  const config = isObject(fields.output_config) ? fields.output_config : NO_REST;
  const format = config.format ?? fields.output_format;
  if (!isObject(format)) return undefined;
  if (format.type !== 'json_schema')
    throw invalid("The parameter 'output_config.format.type' must be json_schema.", 'output_config.format.type');
  const schema = isObject(format.schema) ? format.schema : undefined;
  // Answers are held to it: this protocol has no other way.
  return { type: 'json_schema', name: 'answer', schema, strict: true, description: undefined };
}

/** The upstream's body. Throws GatewayError 400 for what this provider cannot be asked at all. */
export function encodeRequest(request: Request, terms: EncodeRequestTerms): Encoded {
  const losses: Loss[] = [];
  const lose = (loss: Loss): void => {
    losses.push(loss);
  };
  const isOurs = request.dialect === DIALECT;
  const ways = modelWays(terms.model);
  refuseImpossible(request);
  loseUnsaid(request, isOurs, lose);

  const conversation = writeTurns(request.messages, isOurs, ways, lose);
  const { tools: written, mcpServers } = writeTools(request.tools, isOurs, ways, lose);
  const format = writeFormat(request.format, ways, lose);
  const system = format.instruction === undefined ? conversation.system : [...conversation.system, textBlock(format.instruction)];
  const tools = [...written, ...(format.tool === undefined ? [] : [format.tool])];
  const choice = chooseTool(request, format.tool !== undefined, tools.length > 0);
  // Calls in a conversation need their tools, also where no more are to be made.
  const forgotten = tools.length === 0 ? [...calledNames(request.messages)].map(forgottenTool) : [];
  const maxTokens = request.maxOutputTokens ?? terms.maxOutputTokens ?? terms.modelMaxOutputTokens ?? DEFAULT_MAX_TOKENS;
  const { thinking, effort } = writeReasoning(request.reasoning, {
    isOurs,
    ways,
    maxTokens,
    forcesTool: choice?.type === 'any' || choice?.type === 'tool',
    continuesUnproven: continuesUnproven(conversation.messages),
    setsSampling: setsSampling(request, ways),
    lose,
  });
  const ownConfig = isOurs && isObject(request.rest.output_config) ? request.rest.output_config : NO_REST;
  const outputConfig = {
    ...ownConfig,
    ...(effort === undefined ? {} : { effort }),
    ...(format.config === undefined ? {} : { format: format.config }),
  };
  const user = request.user !== undefined && request.user.length <= MAX_USER_ID_CHARACTERS ? request.user : undefined;
  if (request.user !== user) lose({ name: 'user' });
  const metadata = { ...(isOurs ? request.metadata : undefined), ...(user === undefined ? {} : { user_id: user }) };
  const fields: JsonObject = {
    ...(isOurs ? request.rest : {}),
    model: terms.model,
    max_tokens: maxTokens,
    system: system.length === 0 ? undefined : system,
    messages: conversation.messages,
    tools: tools.length > 0 ? tools : forgotten.length > 0 ? forgotten : undefined,
    tool_choice: forgotten.length > 0 ? { type: 'none' } : choice,
    mcp_servers: mcpServers.length === 0 ? undefined : mcpServers,
    thinking,
    output_config: Object.keys(outputConfig).length === 0 ? undefined : outputConfig,
    ...writeSampling(request, ways, thinking !== undefined && thinking.type !== 'disabled', lose),
    stop_sequences: writeStop(request.stop, lose),
    stream: request.stream ? true : undefined,
    service_tier: request.serviceTier === 'priority' ? 'auto' : undefined,
    metadata: Object.keys(metadata).length === 0 ? undefined : metadata,
  };
  return { body: [Buffer.from(JSON.stringify(limitCacheBreakpoints(fields, lose)))], losses };
}

function textBlock(value: string): JsonObject {
  return { type: 'text', text: value };
}

function forgottenTool(name: string): JsonObject {
  return { name: boundedToolName(name), input_schema: { type: 'object' } };
}

function refuseImpossible({ choices, outputModalities = [] }: Request): void {
  if (choices > 1) throw invalid('This model gives one answer at a time.', 'n');
  const made = outputModalities.find((modality) => modality !== 'text');
  if (made !== undefined) throw invalid(`This model answers in text, not in ${made}.`, 'modalities');
}

/** What a request of this dialect has no field for. */
function loseUnsaid(request: Request, isOurs: boolean, lose: (loss: Loss) => void): void {
  const { sampling, logprobs, logitBias, verbosity, promptCacheKey, promptCacheRetention, metadata, imageOutput, serviceTier } = request;
  if (!isOurs) {
    loseUnknownFields(request, lose);
    if (metadata !== undefined) lose({ name: 'metadata' });
  }
  if (sampling.seed !== undefined) lose({ name: 'seed' });
  if ((sampling.frequencyPenalty ?? 0) !== 0) lose({ name: 'frequency_penalty' });
  if ((sampling.presencePenalty ?? 0) !== 0) lose({ name: 'presence_penalty' });
  if (logprobs !== undefined) lose({ name: 'logprobs' });
  if (logitBias !== undefined) lose({ name: 'logit_bias' });
  if (verbosity !== undefined) lose({ name: 'verbosity' });
  if (promptCacheKey !== undefined) lose({ name: 'prompt_cache_key' });
  if (promptCacheRetention !== undefined) lose({ name: 'prompt_cache_retention' });
  if (imageOutput !== undefined) lose({ name: 'image_output' });
  if (serviceTier === 'flex') lose({ name: 'service_tier' });
}

function setsSampling({ sampling: { temperature, topP, topK } }: Request, ways: ModelWays): boolean {
  return ways.sampling !== 'none' && ((temperature ?? 1) !== 1 || (topP ?? 1) !== 1 || topK !== undefined);
}

/** The upper end of the range that this protocol has. */
const MAX_TEMPERATURE = 1;

function writeSampling({ sampling }: Request, ways: ModelWays, isThinking: boolean, lose: (loss: Loss) => void): JsonObject {
  const { temperature, topP, topK } = sampling;
  const written: { temperature?: number; top_p?: number; top_k?: number } = {};
  if (temperature !== undefined) {
    // What every model does without being told is no loss.
    if (ways.sampling === 'none' || isThinking) {
      if (temperature !== 1) lose({ name: 'temperature' });
    } else {
      if (temperature > MAX_TEMPERATURE) lose({ name: 'temperature' });
      written.temperature = Math.min(temperature, MAX_TEMPERATURE);
    }
  }
  if (topP !== undefined) {
    const isTaken = ways.sampling === 'all' || (ways.sampling === 'one' && written.temperature === undefined);
    if (isTaken && (!isThinking || topP >= MIN_TOP_P_THINKING)) written.top_p = topP;
    else if (topP !== 1) lose({ name: 'top_p' });
  }
  if (topK !== undefined) {
    if (ways.sampling !== 'none' && !isThinking) written.top_k = topK;
    else lose({ name: 'top_k' });
  }
  return written;
}

const MIN_TOP_P_THINKING = 0.95;

/** Sequences of blanks are refused. */
function writeStop(stop: readonly string[], lose: (loss: Loss) => void): readonly string[] | undefined {
  const taken = stop.filter((sequence) => sequence.trim() !== '');
  if (taken.length < stop.length) lose({ name: 'stop' });
  return taken.length === 0 ? undefined : taken;
}

interface WrittenFormat {
  /** `output_config.format`. */
  readonly config?: JsonObject;
  /** For models without it: a tool that has to be called, whose input is the answer. */
  readonly tool?: JsonObject;
  /** For JSON of no certain shape: words. */
  readonly instruction?: string;
}

const JSON_INSTRUCTION = 'Answer with one JSON object and nothing else: no words before or after it, and no code fence.';

function writeFormat(format: ResponseFormat | undefined, ways: ModelWays, lose: (loss: Loss) => void): WrittenFormat {
  if (format === undefined || format.type === 'text') return {};
  if (format.type === 'json_object' || format.schema === undefined) {
    lose({ name: 'json_object' });
    return { instruction: JSON_INSTRUCTION };
  }
  if (!ways.hasStructuredOutput) {
    // Its input is asked to be of that form, and not held to it.
    if (format.strict === true) lose({ name: 'json_schema' });
    const description = format.description ?? 'Give the answer by calling this tool.';
    return { tool: { name: JSON_ANSWER_TOOL, description, input_schema: { ...format.schema, type: 'object' } } };
  }
  // A format has no description of its own here.
  const { description } = format;
  const described =
    description === undefined || format.schema.description !== undefined ? format.schema : { ...format.schema, description };
  const { schema, removed } = strictSchema(described);
  for (const at of removed) lose({ name: 'schema_keyword', at });
  return { config: { type: 'json_schema', schema } };
}

function chooseTool({ toolChoice, parallelToolCalls }: Request, hasAnswerTool: boolean, hasTools: boolean): JsonObject | undefined {
  if (!hasTools) return undefined;
  // The answer, or a call before it: whichever, and one alone.
  if (hasAnswerTool) {
    const asksForAnother = toolChoice?.type === 'tool';
    if (!asksForAnother) return writeToolChoice({ type: 'required' }, false);
  }
  return writeToolChoice(toolChoice, parallelToolCalls);
}
