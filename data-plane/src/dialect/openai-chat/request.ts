/** A chat request, to and from the canonical language. */
import type { Loss } from '../../canonical/loss.ts';
import type { Request, ResponseFormat } from '../../canonical/request.ts';
import type { Encoded, EncodeRequestTerms } from '../dialect.ts';
import { invalid, isObject, type JsonObject, NO_REST, number, rest, text } from '../json.ts';
import { readMessage, writeMessages } from './message.ts';
import { readPassThrough } from './pass-through-request.ts';
import { readToolChoice, readTools, writeTool, writeToolChoice } from './tools.ts';

const DIALECT = 'openai-chat';

const READ = [
  'model',
  'messages',
  'tools',
  'functions',
  'tool_choice',
  'function_call',
  'parallel_tool_calls',
  'stream',
  'stream_options',
  'max_tokens',
  'max_completion_tokens',
  'temperature',
  'top_p',
  'top_k',
  'seed',
  'frequency_penalty',
  'presence_penalty',
  'stop',
  'n',
  'logprobs',
  'top_logprobs',
  'response_format',
  'reasoning_effort',
  'service_tier',
  'user',
];

/** Throws GatewayError 400 with the parameter at fault. */
export function decodeRequest(body: Buffer): Request {
  // The same checks, limits and messages as in the other lane.
  const { facts } = readPassThrough('chat', body);
  const fields: unknown = JSON.parse(body.toString('utf8'));
  if (!isObject(fields) || !Array.isArray(fields.messages)) throw invalid('The request body must be a JSON object.');
  const effort = text(fields.reasoning_effort);
  return {
    dialect: DIALECT,
    model: facts.model,
    messages: fields.messages.map((message, index) => readMessage(message, `messages[${index}]`)),
    tools: readTools(fields.tools, fields.functions),
    toolChoice: readToolChoice(fields.tool_choice) ?? readFunctionChoice(fields.function_call),
    parallelToolCalls: typeof fields.parallel_tool_calls === 'boolean' ? fields.parallel_tool_calls : undefined,
    stream: facts.stream,
    wantsStreamUsage: facts.wantsStreamUsage,
    maxOutputTokens: facts.maxOutputTokens,
    sampling: {
      temperature: number(fields.temperature),
      topP: number(fields.top_p),
      topK: number(fields.top_k),
      seed: number(fields.seed),
      frequencyPenalty: number(fields.frequency_penalty),
      presencePenalty: number(fields.presence_penalty),
    },
    stop: readStop(fields.stop),
    choices: facts.choices,
    logprobs: fields.logprobs === true ? { top: number(fields.top_logprobs) } : undefined,
    format: readFormat(fields.response_format),
    reasoning: effort === undefined ? undefined : { effort, budgetTokens: undefined },
    serviceTier: facts.serviceTier,
    user: text(fields.user),
    rest: rest(fields, READ),
  };
}

function readFunctionChoice(choice: unknown): Request['toolChoice'] {
  if (isObject(choice) && typeof choice.name === 'string') return { type: 'tool', name: choice.name, kind: 'function' };
  return readToolChoice(choice);
}

function readStop(stop: unknown): readonly string[] {
  if (stop === undefined || stop === null) return [];
  if (typeof stop === 'string') return [stop];
  if (Array.isArray(stop) && stop.every((item) => typeof item === 'string')) return stop;
  throw invalid("The parameter 'stop' must be a string or an array of strings.", 'stop');
}

function readFormat(format: unknown): ResponseFormat | undefined {
  if (!isObject(format)) return undefined;
  if (format.type === 'text' || format.type === 'json_object') return { type: format.type };
  if (format.type !== 'json_schema')
    throw invalid("The parameter 'response_format.type' must be text, json_object or json_schema.", 'response_format.type');
  const inner = isObject(format.json_schema) ? format.json_schema : {};
  return {
    type: 'json_schema',
    name: text(inner.name) ?? 'answer',
    schema: isObject(inner.schema) ? inner.schema : undefined,
    strict: typeof inner.strict === 'boolean' ? inner.strict : undefined,
    description: text(inner.description),
  };
}

function writeFormat(format: ResponseFormat): JsonObject {
  if (format.type !== 'json_schema') return { type: format.type };
  const { name, schema, strict, description } = format;
  return { type: 'json_schema', json_schema: { name, schema, strict, description } };
}

/** The upstream's body. Usage is always asked for in streams. Throws GatewayError 400 on a hosted tool of another dialect. */
export function encodeRequest(request: Request, terms: EncodeRequestTerms): Encoded {
  const losses: Loss[] = [];
  const isOurs = request.dialect === DIALECT;
  if (!isOurs) for (const field of Object.keys(request.rest)) losses.push({ name: 'unknown_field', at: field });
  for (const tool of request.tools) {
    if (tool.kind === 'hosted' && tool.dialect !== DIALECT) {
      throw invalid(
        `The tool '${text(tool.value.type) ?? 'unknown'}' is run by another provider and cannot be used with this model.`,
        'tools',
      );
    }
  }
  const messages = request.messages.flatMap((message, index) =>
    writeMessages(isOurs ? message : { ...message, rest: NO_REST }, isOurs, (what) => {
      losses.push({ name: 'unknown_part', at: `messages[${index}]:${what}` });
    }),
  );
  const { sampling, logprobs, toolChoice, reasoning } = request;
  if (!isOurs && sampling.topK !== undefined) losses.push({ name: 'top_k' });
  if (reasoning?.effort === undefined && reasoning?.budgetTokens !== undefined) {
    losses.push({ name: 'reasoning_budget' });
  }
  const streamOptions = isObject(request.rest.stream_options) ? request.rest.stream_options : {};
  const fields: JsonObject = {
    ...(isOurs ? request.rest : {}),
    model: terms.model,
    messages,
    tools: request.tools.length === 0 ? undefined : request.tools.map(writeTool),
    tool_choice: toolChoice === undefined ? undefined : writeToolChoice(toolChoice),
    parallel_tool_calls: request.parallelToolCalls,
    stream: request.stream ? true : undefined,
    stream_options: request.stream ? { ...streamOptions, include_usage: true } : undefined,
    max_completion_tokens: request.maxOutputTokens ?? terms.maxOutputTokens,
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: isOurs ? sampling.topK : undefined,
    seed: sampling.seed,
    frequency_penalty: sampling.frequencyPenalty,
    presence_penalty: sampling.presencePenalty,
    stop: request.stop.length === 0 ? undefined : request.stop,
    n: request.choices === 1 ? undefined : request.choices,
    logprobs: logprobs === undefined ? undefined : true,
    top_logprobs: logprobs?.top,
    response_format: request.format === undefined ? undefined : writeFormat(request.format),
    reasoning_effort: reasoning?.effort,
    service_tier: request.serviceTier === 'priority' || request.serviceTier === 'flex' ? request.serviceTier : undefined,
    user: request.user,
  };
  return { body: [Buffer.from(JSON.stringify(fields))], losses };
}
