/** A request for generated content, to and from the canonical language. */
import type { Loss } from '../../canonical/loss.ts';
import type { Request, ResponseFormat } from '../../canonical/request.ts';
import type { Encoded, EncodeRequestTerms, RequestFacts, RequestPlace } from '../dialect.ts';
import { parseExact } from '../exact-json.ts';
import { invalid, isObject, type JsonObject, NO_REST, number, rest, text } from '../json.ts';
import { loseUnknownFields } from '../unknown-fields.ts';
import { writeConversation } from './contents.ts';
import { fromOpenApi, Growth, toOpenApi } from './json-schema.ts';
import { readContents, readSystem } from './message.ts';
import { type ModelWays, waysOf } from './models.ts';
import { readPassThrough } from './pass-through-request.ts';
import { camelKeys, enumWord, fieldsOf, integer, listOf } from './proto-json.ts';
import { readThinking, writeThinking } from './reasoning.ts';
import { DIALECT, MAX_CHOICES, MAX_STOP_SEQUENCES } from './schema.ts';
import { readToolConfig, readTools, writeToolConfig, writeTools } from './tools.ts';

const READ = ['model', 'contents', 'systemInstruction', 'tools', 'toolConfig', 'generationConfig', 'serviceTier', 'labels'];

const CONFIG_READ = [
  'maxOutputTokens',
  'candidateCount',
  'temperature',
  'topP',
  'topK',
  'seed',
  'frequencyPenalty',
  'presencePenalty',
  'stopSequences',
  'responseLogprobs',
  'logprobs',
  'responseMimeType',
  'responseSchema',
  'responseJsonSchema',
  'thinkingConfig',
  'responseModalities',
  'imageConfig',
];
const CONFIG_READ_OF_ONE_WORD = CONFIG_READ.filter(
  (name) => !name.startsWith('response') || name === 'responseLogprobs' || name === 'responseModalities',
);
/** Members of the configuration that only this dialect knows stand in `rest` under their whole path. */
const CONFIG = 'generationConfig.';

/** Throws GatewayError 400 with the parameter at fault. */
export function decodeRequest(body: Buffer, place: RequestPlace, read?: RequestFacts): Request {
  // The same checks, limits and messages as in the other lane.
  const facts = read ?? readPassThrough('chat', body, place).facts;
  const parsed = parseExact(body.toString('utf8'));
  if (!isObject(parsed)) throw invalid('The request body must be a JSON object.');
  const fields = camelKeys(parsed);
  const config = fieldsOf(fields.generationConfig);
  const { choice, tools, others } = readToolConfig(fields.toolConfig, readTools(fields.tools));
  const system = readSystem(fields.systemInstruction);
  const contents = readContents(fields.contents);
  const modalities = listOf(config.responseModalities).map((word) => String(word).toLowerCase());
  const image = fieldsOf(config.imageConfig);
  const ofConfig = Object.entries(rest(config, isOneWord(config) ? CONFIG_READ_OF_ONE_WORD : CONFIG_READ)).map(
    ([name, value]) => [CONFIG + name, value] as const,
  );
  return {
    dialect: DIALECT,
    model: facts.model,
    messages: system === undefined ? contents : [system, ...contents],
    tools,
    toolChoice: choice,
    parallelToolCalls: undefined,
    stream: facts.stream,
    wantsStreamUsage: facts.wantsStreamUsage,
    maxOutputTokens: facts.maxOutputTokens,
    sampling: {
      temperature: number(config.temperature),
      topP: number(config.topP),
      topK: number(config.topK),
      seed: integer(config.seed),
      frequencyPenalty: number(config.frequencyPenalty),
      presencePenalty: number(config.presencePenalty),
    },
    stop: readStop(config.stopSequences),
    choices: facts.choices,
    logprobs: config.responseLogprobs === true ? { top: integer(config.logprobs) } : undefined,
    format: readFormat(config),
    reasoning: readThinking(config.thinkingConfig),
    serviceTier: facts.serviceTier,
    user: undefined,
    ...(isObject(fields.labels) ? { metadata: fields.labels } : {}),
    // Text alone is what everybody answers with.
    ...(modalities.some((modality) => modality !== 'text') ? { outputModalities: modalities } : {}),
    ...(Object.keys(image).length === 0 ? {} : { imageOutput: readImageOutput(image) }),
    rest: {
      ...rest(fields, READ),
      ...(Object.keys(others).length === 0 ? {} : { toolConfig: others }),
      ...Object.fromEntries(ofConfig),
    },
  };
}

function readImageOutput({ aspectRatio, imageSize }: JsonObject): NonNullable<Request['imageOutput']> {
  return {
    ...(typeof aspectRatio === 'string' ? { aspectRatio } : {}),
    ...(typeof imageSize === 'string' ? { size: imageSize } : {}),
  };
}

function readStop(value: unknown): readonly string[] {
  const stop = listOf(value);
  if (stop.every((item) => typeof item === 'string')) return stop;
  throw invalid("The parameter 'generationConfig.stopSequences' must be an array of strings.", 'generationConfig.stopSequences');
}

/** An answer of one word out of a list, as it stands and not as JSON: nobody else can be asked for it. */
function isOneWord(config: JsonObject): boolean {
  return text(config.responseMimeType) === 'text/x.enum';
}

function readFormat(config: JsonObject): ResponseFormat | undefined {
  if (isOneWord(config)) return undefined;
  const { responseJsonSchema, responseSchema } = config;
  const schema = isObject(responseJsonSchema) ? responseJsonSchema : isObject(responseSchema) ? fromOpenApi(responseSchema) : undefined;
  const mime = text(config.responseMimeType);
  if (schema !== undefined) {
    const named = text(schema.title)
      ?.replace(/[^A-Za-z0-9_-]/g, '_')
      .slice(0, 64);
    return {
      type: 'json_schema',
      name: named === undefined || named === '' ? 'answer' : named,
      schema,
      // Answers are held to it: this protocol has no other way.
      strict: true,
      description: undefined,
    };
  }
  if (mime === 'application/json') return { type: 'json_object' };
  return mime === 'text/plain' ? { type: 'text' } : undefined;
}

/** The upstream's body. Throws GatewayError 400 where the request asks for what this provider cannot do. */
export function encodeRequest(request: Request, terms: EncodeRequestTerms): Encoded {
  const losses: Loss[] = [];
  const named = new Set<string>();
  const lost = (loss: Loss): void => {
    const key = `${loss.name}:${loss.at ?? ''}`;
    if (!named.has(key)) losses.push(loss);
    named.add(key);
  };
  const isOurs = request.dialect === DIALECT;
  const ways = waysOf(terms.model);
  if (!isOurs) loseUnknownFields(request, lost);
  if (request.parallelToolCalls === false && request.tools.length > 0) lost({ name: 'parallel_tool_calls' });
  if (request.user !== undefined) lost({ name: 'user' });
  if (request.promptCacheKey !== undefined) lost({ name: 'prompt_cache_key' });
  if (request.promptCacheRetention !== undefined) lost({ name: 'prompt_cache_retention' });
  if (request.verbosity !== undefined) lost({ name: 'verbosity' });
  if (request.logitBias !== undefined && Object.keys(request.logitBias).length > 0) lost({ name: 'logit_bias' });
  if (!isOurs && request.metadata !== undefined && Object.keys(request.metadata).length > 0) lost({ name: 'metadata' });
  const growth = new Growth();
  const tools = writeTools(request, ways, growth, lost);
  const { systemInstruction, contents } = writeConversation(request.messages, isOurs, ways, lost);
  const config = writeConfig(request, terms, ways, growth, lost);
  const ours = isOurs ? Object.fromEntries(Object.entries(request.rest).filter(([key]) => !key.startsWith(CONFIG))) : NO_REST;
  const fields: JsonObject = {
    ...ours,
    systemInstruction,
    contents,
    tools: tools.length === 0 ? undefined : tools,
    toolConfig: writeToolConfig(request),
    generationConfig: Object.values(config).every((value) => value === undefined) ? undefined : config,
    serviceTier: request.serviceTier === 'priority' || request.serviceTier === 'flex' ? request.serviceTier : undefined,
    labels: isOurs ? request.metadata : undefined,
  };
  return { body: [Buffer.from(JSON.stringify(fields))], losses };
}

function writeConfig(request: Request, terms: EncodeRequestTerms, ways: ModelWays, growth: Growth, lost: (loss: Loss) => void): JsonObject {
  const { sampling, logprobs, imageOutput, outputModalities } = request;
  if (request.stop.length > MAX_STOP_SEQUENCES) {
    throw invalid(`This model takes at most ${MAX_STOP_SEQUENCES} stop sequences.`, 'stop');
  }
  if (request.choices > MAX_CHOICES) throw invalid(`This model gives at most ${MAX_CHOICES} answers to one request.`, 'n');
  const ours =
    request.dialect === DIALECT
      ? Object.entries(request.rest)
          .filter(([key]) => key.startsWith(CONFIG))
          .map(([key, value]) => [key.slice(CONFIG.length), value] as const)
      : [];
  return {
    ...Object.fromEntries(ours),
    maxOutputTokens: request.maxOutputTokens ?? terms.maxOutputTokens,
    candidateCount: request.choices === 1 ? undefined : request.choices,
    temperature: sampling.temperature,
    topP: sampling.topP,
    topK: sampling.topK,
    seed: sampling.seed,
    frequencyPenalty: sampling.frequencyPenalty,
    presencePenalty: sampling.presencePenalty,
    stopSequences: request.stop.length === 0 ? undefined : request.stop,
    responseLogprobs: logprobs === undefined ? undefined : true,
    logprobs: logprobs?.top,
    ...(request.format === undefined ? {} : writeFormat(request.format, request, ways, growth, lost)),
    thinkingConfig: writeThinking(request.reasoning, ways, lost),
    responseModalities: outputModalities === undefined ? undefined : outputModalities.map((word) => enumWord(word)),
    imageConfig: imageOutput === undefined ? undefined : { aspectRatio: imageOutput.aspectRatio, imageSize: imageOutput.size },
  };
}

/** Throws GatewayError 400 for a format beside tools where the model has only one of them at a time. */
function writeFormat(format: ResponseFormat, request: Request, ways: ModelWays, growth: Growth, lost: (loss: Loss) => void): JsonObject {
  if (format.type === 'text') return {};
  if (request.tools.length > 0 && !ways.takesFormatWithTools) {
    throw invalid('This model takes no tools together with a JSON response format. Leave one of them out.', 'response_format');
  }
  const responseMimeType = 'application/json';
  if (format.type === 'json_object' || format.schema === undefined) return { responseMimeType };
  const { description } = format;
  const schema = description === undefined || format.schema.description !== undefined ? format.schema : { ...format.schema, description };
  if (ways.takesJsonSchema) return { responseMimeType, responseJsonSchema: schema };
  return { responseMimeType, responseSchema: toOpenApi(schema, (keyword) => lost({ name: 'schema_keyword', at: keyword }), growth) };
}
