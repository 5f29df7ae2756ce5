/** A chat request, to and from the canonical language. */
import type { Quirk } from '@meridian/domain/quirk';
import { withAnsweredCalls } from '../../canonical/answered-calls.ts';
import type { Loss } from '../../canonical/loss.ts';
import type { Request, ResponseFormat } from '../../canonical/request.ts';
import { boundedToolName } from '../../canonical/tool-name.ts';
import type { Encoded, EncodeRequestTerms, RequestFacts, RequestPlace } from '../dialect.ts';
import { invalid, isObject, type JsonObject, NO_REST, number, rest, setMember, text } from '../json.ts';
import { takesNoEffort, takesSampling } from '../openai-models.ts';
import { openAiStrictSchema } from '../openai-strict-schema.ts';
import { loseUnknownFields } from '../unknown-fields.ts';
import { type MessageTerms, readMessages, writeMessages } from './message.ts';
import { readPassThrough } from './pass-through-request.ts';
import { REASONING_KEYS, readEffort, writeEffort } from './reasoning-effort.ts';
import { INPUT_FROM_ELSEWHERE } from './schema.ts';
import { readHostedParameters, readToolChoice, readTools, writeHostedParameters, writeToolChoice, writeTools } from './tools.ts';

const DIALECT = 'openai-chat';
/** More stop sequences are refused. */
const MAX_STOP_SEQUENCES = 4;

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
  'logit_bias',
  'stop',
  'n',
  'logprobs',
  'top_logprobs',
  'response_format',
  'service_tier',
  'user',
  'prompt_cache_key',
  'prompt_cache_retention',
  'verbosity',
  'modalities',
  'image_config',
  'metadata',
  ...REASONING_KEYS,
  ...INPUT_FROM_ELSEWHERE,
];

/** Throws GatewayError 400 with the parameter at fault. */
export function decodeRequest(body: Buffer, _place?: RequestPlace, read?: RequestFacts): Request {
  // The same checks, limits and messages as in the other lane.
  const facts = read ?? readPassThrough('chat', body).facts;
  const fields: unknown = JSON.parse(body.toString('utf8'));
  if (!isObject(fields) || !Array.isArray(fields.messages)) throw invalid('The request body must be a JSON object.');
  const reasoning = readEffort(fields);
  // The newer name of a user's id; both may be there.
  const user = text(fields.user) ?? text(fields.safety_identifier);
  const promptCacheKey = text(fields.prompt_cache_key);
  const promptCacheRetention = text(fields.prompt_cache_retention);
  const verbosity = text(fields.verbosity);
  const imageOutput = readImageOutput(fields.image_config);
  return {
    dialect: DIALECT,
    model: facts.model,
    messages: readMessages(fields.messages),
    tools: [...readTools(fields.tools, fields.functions), ...readHostedParameters(fields)],
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
    reasoning,
    serviceTier: facts.serviceTier,
    user,
    ...(promptCacheKey === undefined ? {} : { promptCacheKey }),
    ...(promptCacheRetention === undefined ? {} : { promptCacheRetention }),
    ...(verbosity === undefined ? {} : { verbosity }),
    ...(isObject(fields.logit_bias) ? { logitBias: fields.logit_bias } : {}),
    ...(Array.isArray(fields.modalities) ? { outputModalities: fields.modalities.filter((item) => typeof item === 'string') } : {}),
    ...(imageOutput === undefined ? {} : { imageOutput }),
    ...(isObject(fields.metadata) ? { metadata: fields.metadata } : {}),
    rest: readRest(fields, user),
  };
}

/** What no word is found for; null is as good as absent. */
function readRest(fields: JsonObject, user: string | undefined): JsonObject {
  const others: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(rest(fields, READ))) if (value !== null) setMember(others, key, value);
  if (others.safety_identifier === user) delete others.safety_identifier;
  const streamOptions = isObject(fields.stream_options) ? rest(fields.stream_options, ['include_usage']) : NO_REST;
  if (streamOptions !== NO_REST) others.stream_options = streamOptions;
  return others;
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

/** OpenRouter's. */
function readImageOutput(config: unknown): Request['imageOutput'] {
  if (!isObject(config)) return undefined;
  const aspectRatio = text(config.aspect_ratio);
  const size = text(config.image_size);
  return { ...(aspectRatio === undefined ? {} : { aspectRatio }), ...(size === undefined ? {} : { size }) };
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

/** The upstream's body. Usage is always asked for in streams. Throws GatewayError 400 for what only another provider can do. */
export function encodeRequest(asked: Request, terms: EncodeRequestTerms): Encoded {
  return new RequestWriter(withAnsweredCalls(asked), terms).write();
}

class RequestWriter {
  readonly #request: Request;
  readonly #terms: EncodeRequestTerms;
  readonly #isOurs: boolean;
  readonly #losses: Loss[] = [];
  readonly #lose = (loss: Loss): void => {
    this.#losses.push(loss);
  };

  constructor(request: Request, terms: EncodeRequestTerms) {
    this.#request = request;
    this.#terms = terms;
    this.#isOurs = request.dialect === DIALECT;
  }

  write(): Encoded {
    const { tools } = this.#request;
    const terms = this.#messageTerms();
    if (!this.#isOurs) loseUnknownFields(this.#request, this.#lose);
    const messages = writeMessages(this.#request.messages, terms);
    const instruction = this.#formatInstruction();
    const limit = this.#request.maxOutputTokens ?? this.#terms.maxOutputTokens;
    const fields: JsonObject = {
      ...(this.#isOurs ? rest(this.#request.rest, ['stream_options']) : NO_REST),
      ...writeHostedParameters(tools),
      model: this.#terms.model,
      messages: instruction === undefined ? messages : [...messages, { role: 'system', content: instruction }],
      ...this.#tools(terms),
      stream: this.#request.stream ? true : undefined,
      stream_options: this.#streamOptions(),
      [this.#has('max_tokens') ? 'max_tokens' : 'max_completion_tokens']: limit,
      ...this.#sampling(),
      n: this.#request.choices === 1 ? undefined : this.#request.choices,
      response_format: this.#format(),
      ...writeEffort(this.#request.reasoning, {
        thinks: this.#terms.capabilities?.includes('reasoning') ?? false,
        takesNone: takesNoEffort(this.#terms.model),
        takesEffort: !this.#has('no_reasoning_effort'),
        takesObject: this.#has('reasoning_object'),
        isOurs: this.#isOurs,
        lose: this.#lose,
      }),
      ...this.#labels(),
      ...this.#output(),
    };
    return { body: [Buffer.from(JSON.stringify(fields))], losses: this.#losses };
  }

  #has(quirk: Quirk): boolean {
    return this.#terms.quirks?.includes(quirk) ?? false;
  }

  /** A value, or a loss in its place where there is one. */
  #unless<T>(isRefused: boolean, name: Loss['name'], value: T | undefined): T | undefined {
    if (!isRefused || value === undefined) return value;
    this.#lose({ name });
    return undefined;
  }

  #messageTerms(): MessageTerms {
    return {
      from: this.#request.dialect,
      isOurs: this.#isOurs,
      takesDeveloper: !this.#has('system_role'),
      takesReasoning: !this.#has('no_reasoning_input'),
      takesCacheControl: this.#has('cache_control'),
      takesFileUrls: this.#has('file_urls'),
      onlyText: this.#has('text_content'),
      takesCustomTools: !this.#has('no_custom_tools'),
      takesStrictTools: !this.#has('no_strict_tools'),
      lose: this.#lose,
    };
  }

  /** Where there are no tools, neither a choice among them nor how they are called may be said. */
  #tools(terms: MessageTerms): JsonObject {
    const { toolChoice, parallelToolCalls } = this.#request;
    const tools = writeTools(this.#request.tools, terms);
    if (tools.length === 0) return NO_REST;
    const choice = this.#unless(this.#has('no_tool_choice'), 'tool_choice', toolChoice);
    return {
      tools,
      tool_choice: choice === undefined ? undefined : writeToolChoice(choice, terms),
      parallel_tool_calls: this.#unless(this.#has('no_parallel_tool_calls'), 'parallel_tool_calls', parallelToolCalls),
    };
  }

  #streamOptions(): JsonObject | undefined {
    if (!this.#request.stream || this.#has('no_stream_options')) return undefined;
    const { stream_options: others } = this.#request.rest;
    return { ...(this.#isOurs && isObject(others) ? others : {}), include_usage: true };
  }

  #sampling(): JsonObject {
    const { sampling, logprobs, stop, logitBias, reasoning } = this.#request;
    const effort = reasoning?.mode === 'off' ? 'none' : reasoning?.effort;
    // A client of this dialect is told by the provider itself what its model refuses.
    const refusesAll = !this.#isOurs && !takesSampling(this.#terms.model, effort);
    const noPenalties = refusesAll || this.#has('no_penalties');
    const noLogprobs = refusesAll || this.#has('no_logprobs');
    const told = this.#unless(noLogprobs, 'logprobs', logprobs);
    return {
      // 1 is what they all have by themselves.
      temperature: this.#unless(refusesAll && sampling.temperature !== 1, 'temperature', sampling.temperature),
      top_p: this.#unless(refusesAll && sampling.topP !== 1, 'top_p', sampling.topP),
      top_k: this.#unless(!this.#isOurs && !this.#has('top_k'), 'top_k', sampling.topK),
      seed: this.#unless(this.#has('no_seed'), 'seed', sampling.seed),
      frequency_penalty: this.#unless(noPenalties, 'frequency_penalty', sampling.frequencyPenalty),
      presence_penalty: this.#unless(noPenalties, 'presence_penalty', sampling.presencePenalty),
      logit_bias: this.#unless(noLogprobs, 'logit_bias', logitBias),
      stop: this.#stop(stop, refusesAll || this.#has('no_stop')),
      logprobs: told === undefined ? undefined : true,
      top_logprobs: told?.top,
    };
  }

  #stop(stop: readonly string[], isRefused: boolean): readonly string[] | undefined {
    if (stop.length === 0) return undefined;
    const taken = isRefused ? [] : this.#isOurs ? stop : stop.slice(0, MAX_STOP_SEQUENCES);
    if (taken.length < stop.length) this.#lose({ name: 'stop' });
    return taken.length === 0 ? undefined : taken;
  }

  #format(): JsonObject | undefined {
    const { format } = this.#request;
    if (format === undefined) return undefined;
    if (format.type !== 'json_schema') return { type: format.type };
    if (format.schema === undefined && !this.#isOurs) return { type: 'json_object' };
    if (this.#has('no_json_schema')) {
      this.#lose({ name: 'json_schema' });
      return { type: 'json_object' };
    }
    const { name, schema, description } = format;
    const held = format.strict === true && schema !== undefined ? openAiStrictSchema(schema, this.#request.dialect) : schema;
    if (held === undefined && schema !== undefined) this.#lose({ name: 'json_schema' });
    const strict = held === undefined && schema !== undefined ? undefined : format.strict;
    return { type: 'json_schema', json_schema: { name: boundedToolName(name), schema: held ?? schema, strict, description } };
  }

  /** For an upstream that takes no schema. */
  #formatInstruction(): string | undefined {
    const { format } = this.#request;
    if (format?.type !== 'json_schema' || format.schema === undefined || !this.#has('no_json_schema')) return undefined;
    return `Answer with one JSON object that satisfies this JSON schema:\n${JSON.stringify(format.schema)}`;
  }

  #labels(): JsonObject {
    const { serviceTier, user, promptCacheKey, promptCacheRetention, metadata, verbosity } = this.#request;
    return {
      service_tier: serviceTier === 'priority' || serviceTier === 'flex' ? serviceTier : undefined,
      user: this.#unless(this.#has('no_user'), 'user', user),
      prompt_cache_key: this.#unless(this.#has('no_user'), 'prompt_cache_key', promptCacheKey),
      prompt_cache_retention: this.#unless(this.#has('no_user'), 'prompt_cache_retention', promptCacheRetention),
      // Labels are kept with stored answers only, which ours are not.
      metadata: this.#unless(!this.#isOurs, 'metadata', metadata),
      verbosity,
    };
  }

  #output(): JsonObject {
    const { outputModalities, imageOutput } = this.#request;
    const image = this.#unless(!this.#isOurs && !this.#has('image_config'), 'image_output', imageOutput);
    return {
      modalities: outputModalities,
      image_config: image === undefined ? undefined : { aspect_ratio: image.aspectRatio, image_size: image.size },
    };
  }
}
