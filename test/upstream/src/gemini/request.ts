// Reads a Gemini request, refusing in Google's words what Google would refuse.

import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';
import { emptyMessage, type ModelRequest, type ResponseFormat, type Tool, type ToolChoice } from '../model-request.ts';
import { effortTokens } from '../reasoning.ts';
import { readContents } from './contents.ts';
import { refused, unknownFields } from './error.ts';
import { GENERATE, strangers, withCamelNames } from './fields.ts';
import { type Traits, traitsOf } from './models.ts';
import { asJsonSchema, foreignKeywords, listedTypes } from './schema.ts';

/** A valid request to generate. */
export interface GenerateRequest extends ModelRequest {
  /** Thoughts are shown as parts of their own. */
  showsThoughts: boolean;
  /** An image is drawn; `only` without a text beside it. */
  image: 'none' | 'with text' | 'only';
}

const MOST_CANDIDATES = 8;
const MOST_STOPS = 5;
const DEFAULT_BUDGET_TOKENS = 128;
const CONFIG = '* GenerateContentRequest.generation_config';

function objectOf(value: JsonValue | undefined): JsonObject {
  return isObject(value) ? value : {};
}

function readInteger(config: JsonObject, name: string): number | null {
  const value = config[name];
  if (value === undefined || value === null) return null;
  const field = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    throw refused(`Invalid value at 'generation_config.${field}' (TYPE_INT32), ${JSON.stringify(value)}`);
  }
  return value;
}

function checkSchema(schema: JsonObject, at: string): void {
  const foreign = foreignKeywords(schema, at);
  if (foreign.length > 0) throw unknownFields(foreign);
  const [listed] = listedTypes(schema, at);
  if (listed !== undefined) throw refused(`Proto field is not repeating, cannot start list at '${listed}'.`);
}

function readTools(value: JsonValue | undefined): Tool[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((tool, index) => {
    const declared = isObject(tool) && Array.isArray(tool.functionDeclarations) ? tool.functionDeclarations : [];
    return declared.map((one, place): Tool => {
      const at = `tools[${index}].function_declarations[${place}]`;
      if (!isObject(one) || typeof one.name !== 'string' || !/^[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}$/.test(one.name)) {
        throw refused(
          `* GenerateContentRequest.${at}.name: Invalid function name. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.\n`,
        );
      }
      const { parameters, parametersJsonSchema } = one;
      if (parameters !== undefined && parametersJsonSchema !== undefined) {
        throw refused(`* GenerateContentRequest.${at}: only one of parameters and parameters_json_schema may be set.\n`);
      }
      if (isObject(parameters)) {
        checkSchema(parameters, `${at}.parameters`);
        if (
          String(parameters.type).toUpperCase() === 'OBJECT' &&
          Object.keys(objectOf(parameters.properties)).length === 0 &&
          parameters.required !== undefined &&
          Array.isArray(parameters.required) &&
          parameters.required.length > 0
        ) {
          throw refused(`* GenerateContentRequest.${at}.parameters.required[0]: property is not defined\n`);
        }
      }
      const schema = isObject(parametersJsonSchema) ? parametersJsonSchema : isObject(parameters) ? asJsonSchema(parameters) : null;
      return {
        kind: 'function',
        name: one.name,
        description: typeof one.description === 'string' ? one.description : '',
        parameters: schema ?? { type: 'object', properties: {} },
        raw: one,
      };
    });
  });
}

function readToolChoice(value: JsonValue | undefined, tools: Tool[]): { choice: ToolChoice; tools: Tool[] } {
  const config = objectOf(objectOf(value).functionCallingConfig);
  const mode = config.mode ?? 'AUTO';
  const allowed = Array.isArray(config.allowedFunctionNames) ? config.allowedFunctionNames : [];
  const unknown = allowed.find((name) => !tools.some((tool) => tool.name === name));
  if (unknown !== undefined) {
    throw refused(
      `* GenerateContentRequest.tool_config.function_calling_config.allowed_function_names: allowed_function_names contains a function that is not declared: ${String(unknown)}\n`,
    );
  }
  if (allowed.length > 0 && mode !== 'ANY' && mode !== 'VALIDATED') {
    throw refused(
      'Function calling config is set without function_calling_mode ANY: allowed_function_names should only be set when the mode is ANY.',
    );
  }
  const offered = allowed.length > 0 ? tools.filter((tool) => allowed.includes(tool.name)) : tools;
  switch (mode) {
    case 'ANY': {
      if (tools.length === 0) throw refused('Function calling mode is ANY but no function declarations are provided.');
      const [only] = offered;
      return {
        choice:
          offered.length === 1 && only !== undefined && allowed.length === 1 ? { mode: 'named', name: only.name } : { mode: 'required' },
        tools: offered,
      };
    }
    case 'NONE':
      return { choice: { mode: 'none' }, tools };
    case 'AUTO':
    case 'VALIDATED':
    case 'MODE_UNSPECIFIED':
      return { choice: { mode: 'auto' }, tools: offered };
    default:
      throw refused(
        `Invalid value at 'tool_config.function_calling_config.mode' (type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode), ${JSON.stringify(mode)}`,
      );
  }
}

function readFormat(config: JsonObject, tools: Tool[], traits: Traits): ResponseFormat {
  const mime = config.responseMimeType ?? 'text/plain';
  const { responseSchema: own, responseJsonSchema: plain } = config;
  if (mime !== 'application/json') {
    if (mime !== 'text/plain' && mime !== 'text/x.enum') {
      throw refused(
        `${CONFIG}.response_mime_type: allowed mimetypes are \`text/plain\`, \`application/json\`, \`application/xml\`, \`application/yaml\` and \`text/x.enum\`.\n`,
      );
    }
    if (mime === 'text/plain' && (own !== undefined || plain !== undefined)) {
      throw refused(`${CONFIG}.response_schema: only allowed when response_mime_type is \`application/json\`.\n`);
    }
    return { kind: 'text' };
  }
  if (tools.length > 0 && !traits.third) throw refused("Function calling with a response mime type: 'application/json' is unsupported");
  if (own !== undefined && plain !== undefined) {
    throw refused(`${CONFIG}: only one of response_schema and response_json_schema may be set.\n`);
  }
  if (isObject(own)) {
    checkSchema(own, 'generation_config.response_schema');
    return { kind: 'json_schema', schema: asJsonSchema(own) };
  }
  return isObject(plain) ? { kind: 'json_schema', schema: plain } : { kind: 'json_object' };
}

function readThinking(config: JsonObject, traits: Traits): { tokens: number; shows: boolean } {
  const thinking = objectOf(config.thinkingConfig);
  const { thinkingBudget: budget, thinkingLevel: level, includeThoughts } = thinking;
  if (config.thinkingConfig !== undefined && !traits.thinks && budget !== 0) throw refused('Thinking is not enabled for this model');
  if (budget !== undefined && level !== undefined) throw refused('You can only set only one of thinking budget and thinking level.');
  if (level !== undefined) {
    if (!traits.third) throw refused('Thinking level is not supported for this model.');
    const effort = String(level).toLowerCase();
    if (!['minimal', 'low', 'medium', 'high', 'thinking_level_unspecified'].includes(effort)) {
      throw refused(
        `Invalid value at 'generation_config.thinking_config.thinking_level' (type.googleapis.com/google.ai.generativelanguage.v1beta.ThinkingConfig.ThinkingLevel), ${JSON.stringify(level)}`,
      );
    }
    return { tokens: effortTokens(effort), shows: includeThoughts === true };
  }
  if (budget === undefined || budget === -1) {
    return { tokens: includeThoughts === true || budget === -1 ? DEFAULT_BUDGET_TOKENS : 0, shows: includeThoughts === true };
  }
  if (typeof budget !== 'number' || !Number.isInteger(budget) || budget < -1) {
    throw refused(`The thinking budget ${String(budget)} is invalid. Please choose a value between 128 and 32768.`);
  }
  if (budget === 0 && traits.alwaysThinks) throw refused('Budget 0 is invalid. This model only works in thinking mode.');
  return { tokens: Math.min(budget, DEFAULT_BUDGET_TOKENS), shows: includeThoughts === true };
}

function readImage(config: JsonObject, model: string, traits: Traits): GenerateRequest['image'] {
  const asked = Array.isArray(config.responseModalities) ? config.responseModalities.map((one) => String(one).toUpperCase()) : ['TEXT'];
  if (!asked.includes('IMAGE')) return 'none';
  if (!traits.drawsImages) {
    throw refused(
      `The requested combination of response modalities (${asked.join(', ')}) is not supported by the model. models/${model} accepts the following combination of response modalities:\n* TEXT\n`,
    );
  }
  return asked.includes('TEXT') ? 'with text' : 'only';
}

function readStops(config: JsonObject): string[] {
  const stops = Array.isArray(config.stopSequences) ? config.stopSequences : [];
  if (stops.length > MOST_STOPS) throw refused(`${CONFIG}.stop_sequences: the number of stop sequences must be at most ${MOST_STOPS}\n`);
  return stops.filter((stop) => typeof stop === 'string' && stop !== '') as string[];
}

/** Turns a parsed body into a request to generate, or throws the ApiError Google would answer. */
export function readGenerateRequest(given: JsonObject, model: string): GenerateRequest {
  const body = objectOf(withCamelNames(given));
  const unknown = strangers(body, GENERATE, '');
  if (unknown.length > 0) throw unknownFields(unknown);
  const traits = traitsOf(model);
  const config = objectOf(body.generationConfig);
  const messages = readContents(body.contents, traits);
  const instruction = Array.isArray(objectOf(body.systemInstruction).parts) ? objectOf(body.systemInstruction).parts : [];
  const texts = (Array.isArray(instruction) ? instruction : []).flatMap((part) =>
    isObject(part) && typeof part.text === 'string' ? [part.text] : [],
  );
  if (texts.length > 0) messages.unshift({ ...emptyMessage('system'), texts });
  const declared = readTools(body.tools);
  const { choice, tools } = readToolChoice(body.toolConfig, declared);
  const candidates = readInteger(config, 'candidateCount') ?? 1;
  if (candidates < 1 || candidates > MOST_CANDIDATES)
    throw refused(`${CONFIG}.candidate_count: candidate_count must be in the range of [1, ${MOST_CANDIDATES + 1}).\n`);
  const limit = readInteger(config, 'maxOutputTokens');
  if (limit !== null && limit < 1) throw refused(`${CONFIG}.max_output_tokens: max_output_tokens must be positive.\n`);
  for (const [name, most] of [
    ['temperature', 2],
    ['topP', 1],
  ] as const) {
    const value = config[name];
    if (value !== undefined && (typeof value !== 'number' || value < 0 || value > most)) {
      throw refused(
        `${CONFIG}.${name === 'topP' ? 'top_p' : name}: ${name === 'topP' ? 'top_p' : name} must be in the range [0.0, ${most}.0].\n`,
      );
    }
  }
  const thinking = readThinking(config, traits);
  return {
    model,
    messages,
    maxTokens: limit,
    stop: readStops(config),
    n: candidates,
    tools,
    toolChoice: choice,
    parallelToolCalls: true,
    format: readFormat(config, declared, traits),
    reasoningTokens: thinking.tokens,
    showsThoughts: thinking.shows,
    cachedMessages: null,
    image: readImage(config, model, traits),
  };
}
