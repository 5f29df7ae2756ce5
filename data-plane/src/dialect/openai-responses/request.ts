/** A request, to and from the canonical language. */
import type { DialectName } from '@meridian/domain/dialect';
import { withAnsweredCalls } from '../../canonical/answered-calls.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { Message } from '../../canonical/message.ts';
import { asksToThink, nearestEffort } from '../../canonical/reasoning-effort.ts';
import type { Reasoning, Request, ResponseFormat } from '../../canonical/request.ts';
import type { Encoded, EncodeRequestTerms, RequestFacts, RequestPlace } from '../dialect.ts';
import { invalid, isObject, type JsonObject, number, rest, text } from '../json.ts';
import { takesSampling } from '../openai-models.ts';
import { openAiStrictSchema } from '../openai-strict-schema.ts';
import { loseUnknownFields } from '../unknown-fields.ts';
import { readInput, writeInput } from './message.ts';
import { readPassThrough } from './pass-through-request.ts';
import { DEFAULT_EFFORT } from './schema.ts';
import { readToolChoice, readTools, writeTool, writeToolChoice } from './tools.ts';

const DIALECT = 'openai-responses';

const READ = [
  'model',
  'input',
  'instructions',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'stream',
  'stream_options',
  'max_output_tokens',
  'temperature',
  'top_p',
  'frequency_penalty',
  'presence_penalty',
  'top_logprobs',
  'text',
  'reasoning',
  'include',
  'service_tier',
  'user',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_retention',
  'metadata',
  'store',
  'background',
  'previous_response_id',
  'conversation',
];

const ENCRYPTED_REASONING = 'reasoning.encrypted_content';
const LOGPROBS = 'message.output_text.logprobs';

/** Throws GatewayError 400 with the parameter at fault. */
export function decodeRequest(body: Buffer, _place?: RequestPlace, read?: RequestFacts): Request {
  const facts = read ?? readPassThrough('chat', body).facts;
  const fields: unknown = JSON.parse(body.toString('utf8'));
  if (!isObject(fields)) throw invalid('The request body must be a JSON object.');
  if ((fields.prompt ?? null) !== null) throw invalid('A prompt that is stored with a provider cannot be used with this model.', 'prompt');
  const { choice, allowed } = readToolChoice(fields.tool_choice);
  const tools = readTools(fields.tools);
  const include = Array.isArray(fields.include) ? fields.include : [];
  const format = isObject(fields.text) ? fields.text : {};
  const verbosity = text(format.verbosity);
  const promptCacheKey = text(fields.prompt_cache_key);
  const promptCacheRetention = text(fields.prompt_cache_retention);
  return {
    dialect: DIALECT,
    model: facts.model,
    messages: readInput(fields.input, fields.instructions),
    tools: allowed === undefined ? tools : tools.filter((tool) => tool.kind === 'hosted' || allowed.has(tool.name)),
    toolChoice: choice,
    parallelToolCalls: typeof fields.parallel_tool_calls === 'boolean' ? fields.parallel_tool_calls : undefined,
    stream: facts.stream,
    wantsStreamUsage: facts.wantsStreamUsage,
    maxOutputTokens: facts.maxOutputTokens,
    sampling: {
      temperature: number(fields.temperature),
      topP: number(fields.top_p),
      topK: undefined,
      seed: undefined,
      frequencyPenalty: number(fields.frequency_penalty),
      presencePenalty: number(fields.presence_penalty),
    },
    stop: [],
    choices: 1,
    logprobs: readLogprobs(include, fields.top_logprobs),
    format: readFormat(format.format),
    reasoning: readReasoning(fields.reasoning, include.includes(ENCRYPTED_REASONING)),
    serviceTier: facts.serviceTier,
    user: text(fields.user) ?? text(fields.safety_identifier),
    ...(promptCacheKey === undefined ? {} : { promptCacheKey }),
    ...(promptCacheRetention === undefined ? {} : { promptCacheRetention }),
    ...(verbosity === undefined ? {} : { verbosity }),
    ...(isObject(fields.metadata) && Object.keys(fields.metadata).length > 0 ? { metadata: fields.metadata } : {}),
    rest: othersOf(fields, include),
  };
}

/** What nobody else has a word for. What is said and means nothing (null, the default) is no loss to anybody. */
function othersOf(fields: JsonObject, include: readonly unknown[]): JsonObject {
  const others = Object.entries(rest(fields, READ)).filter(
    ([key, value]) => value !== null && !(key === 'truncation' && value === 'disabled'),
  );
  const included = include.filter((name) => name !== ENCRYPTED_REASONING && name !== LOGPROBS);
  return { ...Object.fromEntries(others), ...(included.length === 0 ? {} : { include: included }) };
}

function readLogprobs(include: readonly unknown[], top: unknown): Request['logprobs'] {
  const count = number(top);
  return include.includes(LOGPROBS) || (count !== undefined && count > 0) ? { top: count } : undefined;
}

function readReasoning(reasoning: unknown, wantsCarriers: boolean): Reasoning {
  const fields = isObject(reasoning) ? reasoning : {};
  const effort = text(fields.effort);
  const show = text(fields.summary) ?? text(fields.generate_summary);
  return {
    effort: effort ?? DEFAULT_EFFORT,
    budgetTokens: undefined,
    ...(show === undefined ? {} : { show }),
    ...(effort === undefined ? { isDefault: true } : {}),
    wantsCarriers,
  };
}

function readFormat(format: unknown): ResponseFormat | undefined {
  if (!isObject(format)) return undefined;
  if (format.type === 'text' || format.type === 'json_object') return { type: format.type };
  if (format.type !== 'json_schema') {
    throw invalid("The parameter 'text.format.type' must be text, json_object or json_schema.", 'text.format.type');
  }
  return {
    type: 'json_schema',
    name: text(format.name) ?? 'answer',
    schema: isObject(format.schema) ? format.schema : undefined,
    strict: typeof format.strict === 'boolean' ? format.strict : undefined,
    description: text(format.description),
  };
}

/** As `text.format` has it. */
export function writeFormat(format: ResponseFormat): JsonObject {
  if (format.type !== 'json_schema') return { type: format.type };
  const { name, schema, strict, description } = format;
  return { type: 'json_schema', name, schema: schema ?? {}, strict, description };
}

/** The upstream's body. Nothing is stored there. Throws GatewayError 400 on what this protocol cannot ask for. */
export function encodeRequest(asked: Request, terms: EncodeRequestTerms): Encoded {
  const losses: Loss[] = [];
  const lose = (loss: Loss): void => void losses.push(loss);
  const request = withAnsweredCalls(asked);
  const isOurs = request.dialect === DIALECT;
  if (!isOurs) loseUnknownFields(request, lose);
  refuse(request);
  nameLosses(request, isOurs, lose);
  const { instructions, messages } = withoutInstructions(request.messages);
  const reasoning = writeReasoning(request, terms.capabilities, lose);
  const toolChoice = request.toolChoice === undefined ? undefined : writeToolChoice(request.toolChoice);
  if (request.toolChoice !== undefined && toolChoice === undefined) lose({ name: 'tool_choice' });
  const sampling = writeSampling(request, terms.model, isObject(reasoning) ? text(reasoning.effort) : undefined, lose);
  const fields: JsonObject = {
    ...(isOurs ? request.rest : {}),
    model: terms.model,
    instructions,
    input: writeInput(messages, { request, lose }),
    tools: request.tools.length === 0 ? undefined : request.tools.map((tool, at) => writeTool(tool, request.dialect, at, lose)),
    tool_choice: toolChoice,
    parallel_tool_calls: request.parallelToolCalls,
    stream: request.stream ? true : undefined,
    max_output_tokens: request.maxOutputTokens ?? terms.maxOutputTokens,
    ...sampling,
    top_logprobs: request.logprobs?.top,
    text: writeText(request, lose),
    reasoning,
    include: writeInclude(request, terms.capabilities),
    service_tier: request.serviceTier === 'priority' || request.serviceTier === 'flex' ? request.serviceTier : undefined,
    user: request.user,
    prompt_cache_key: request.promptCacheKey,
    prompt_cache_retention: request.promptCacheRetention,
    metadata: request.metadata,
    store: false,
  };
  return { body: [Buffer.from(JSON.stringify(fields))], losses };
}

function refuse(request: Request): void {
  if (request.choices > 1) throw invalid('This model gives one answer at a time.', 'n');
  if (request.stop.length > 0) throw invalid('This model takes no stop sequences.', 'stop');
  const other = request.outputModalities?.find((modality) => modality !== 'text');
  if (other !== undefined) throw invalid(`This model cannot put out ${other}.`, 'modalities');
}

function nameLosses({ sampling, logitBias, imageOutput, serviceTier }: Request, isOurs: boolean, lose: (loss: Loss) => void): void {
  if (sampling.topK !== undefined) lose({ name: 'top_k' });
  if (sampling.seed !== undefined) lose({ name: 'seed' });
  if (!isOurs && sampling.frequencyPenalty !== undefined && sampling.frequencyPenalty !== 0) lose({ name: 'frequency_penalty' });
  if (!isOurs && sampling.presencePenalty !== undefined && sampling.presencePenalty !== 0) lose({ name: 'presence_penalty' });
  if (logitBias !== undefined && Object.keys(logitBias).length > 0) lose({ name: 'logit_bias' });
  if (imageOutput !== undefined) lose({ name: 'image_output' });
  if (serviceTier === 'batch') lose({ name: 'service_tier' });
}

/** What stands before all else, where it is plain text and something comes after it: a request needs an input. */
function withoutInstructions(messages: readonly Message[]): {
  readonly instructions: string | undefined;
  readonly messages: readonly Message[];
} {
  const instructions = messages.length > 1 ? instructionsOf(messages) : undefined;
  return { instructions, messages: instructions === undefined ? messages : messages.slice(1) };
}

/** The text of a first message of the system's, if it is plain text. */
export function instructionsOf(messages: readonly Message[]): string | undefined {
  const [first] = messages;
  if (first?.role !== 'system' || first.name !== undefined || first.parts.length === 0) return undefined;
  const texts: string[] = [];
  for (const part of first.parts) {
    const isPlain = part.type === 'text' && part.cacheControl === undefined && part.citations.length === 0;
    if (!isPlain || Object.keys(part.rest).length > 0) return undefined;
    texts.push(part.text);
  }
  return texts.join('\n\n');
}

function writeSampling(request: Request, model: string, effort: string | undefined, lose: (loss: Loss) => void): JsonObject {
  const { temperature, topP, frequencyPenalty, presencePenalty } = request.sampling;
  const isTaken = takesSampling(model, effort);
  // What is asked for is what such a model does by itself.
  if (!isTaken && temperature !== undefined && temperature !== 1) lose({ name: 'temperature' });
  if (!isTaken && topP !== undefined && topP !== 1) lose({ name: 'top_p' });
  const isOurs = request.dialect === DIALECT;
  return {
    temperature: isTaken ? temperature : undefined,
    top_p: isTaken ? topP : undefined,
    frequency_penalty: isOurs ? frequencyPenalty : undefined,
    presence_penalty: isOurs ? presencePenalty : undefined,
  };
}

function writeText({ format, verbosity, dialect }: Request, lose: (loss: Loss) => void): JsonObject | undefined {
  if (format === undefined && verbosity === undefined) return undefined;
  return { format: format === undefined ? undefined : writeFormat(heldFormat(format, dialect, lose)), verbosity };
}

/** The format with a schema to which the answer can be held, or one that the model is only told of. */
function heldFormat(format: ResponseFormat, from: DialectName, lose: (loss: Loss) => void): ResponseFormat {
  if (format.type !== 'json_schema' || format.strict !== true || format.schema === undefined) return format;
  const schema = openAiStrictSchema(format.schema, from);
  if (schema !== undefined) return { ...format, schema };
  lose({ name: 'json_schema' });
  return { ...format, strict: undefined };
}

function writeReasoning(
  { reasoning, dialect }: Request,
  capabilities: readonly string[],
  lose: (loss: Loss) => void,
): JsonObject | undefined {
  if (reasoning === undefined) return undefined;
  // A model that does not think refuses the very parameter.
  if (dialect !== DIALECT && !capabilities.includes('reasoning')) {
    if (asksToThink(reasoning)) lose({ name: 'reasoning_effort' });
    return undefined;
  }
  const { budgetTokens, mode, show } = reasoning;
  let { effort } = reasoning;
  if (mode === 'off') effort = effort === 'none' ? effort : undefined;
  else if (effort === undefined && budgetTokens !== undefined) {
    lose({ name: 'reasoning_budget' });
    effort = nearestEffort(budgetTokens);
  } else if (effort === undefined && mode === 'adaptive') effort = 'high';
  if (effort === 'max') {
    lose({ name: 'reasoning_effort' });
    effort = 'xhigh';
  }
  const summary = show === 'none' ? undefined : show;
  return effort === undefined && summary === undefined ? undefined : { effort, summary };
}

/** The state of the thinking is always asked for of a model that thinks: the next turn needs it, and nothing is stored. */
function writeInclude(request: Request, capabilities: readonly string[]): readonly unknown[] | undefined {
  const include: unknown[] = request.dialect === DIALECT && Array.isArray(request.rest.include) ? [...request.rest.include] : [];
  if (capabilities.includes('reasoning')) include.push(ENCRYPTED_REASONING);
  if (request.logprobs !== undefined) include.push(LOGPROBS);
  return include.length === 0 ? undefined : include;
}
