/** Gemini's generateContent as an upstream reads the request, with the rules by which it refuses one. */
import { isJson, type Json, numberAt, objectAt, objectsAt, optionalTextAt, textAt } from './json.ts';
import {
  Conversation,
  cacheMarksIn,
  parametersText,
  type RequestReading,
  schemaText,
  type Thinking,
  type TurnReading,
} from './request-reading.ts';

/** Keywords that the older form of a schema does not have. */
const REFUSED_KEYWORDS = ['$schema', '$ref', '$defs', 'additionalProperties', 'const', 'propertyNames', 'patternProperties'];
const MAX_STOP_SEQUENCES = 5;

/** proto3 JSON reads both ways of writing a name. */
function camel(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camel);
  if (!isJson(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => {
      const name = key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
      // What a program wrote is its own: arguments, results, schemas.
      const isOwn = ['args', 'response', 'parameters', 'parametersJsonSchema', 'responseSchema', 'responseJsonSchema'].includes(name);
      return [name, isOwn ? member : camel(member)];
    }),
  );
}

export function readGeminiRequest(raw: Json, isStream: boolean): RequestReading {
  const whole = camel(raw);
  const body = isJson(whole) ? whole : {};
  const conversation = new Conversation();
  const problems: string[] = [];
  const instruction = body.systemInstruction;
  const system =
    typeof instruction === 'string'
      ? instruction
      : [...objectsAt(instruction, 'parts'), ...(isJson(objectAt(instruction, 'parts')) ? [objectAt(instruction, 'parts')] : [])]
          .map((part) => textAt(part, 'text'))
          .join('\n');
  let previous = '';
  let callsBefore = 0;
  const contents = typeof body.contents === 'string' ? [{ role: 'user', parts: [{ text: body.contents }] }] : objectsAt(body, 'contents');
  for (const content of contents) {
    const role = textAt(content, 'role') || 'user';
    if (!['user', 'model', 'function'].includes(role)) problems.push(`a content of ${role}`);
    const side = role === 'model' ? 'assistant' : 'user';
    if (side === previous) problems.push(`two contents of ${side}`);
    previous = side;
    const turn = conversation.turn(side);
    const parts = objectsAt(content, 'parts');
    if (parts.length === 0) problems.push('a content without parts');
    const responses = parts.filter((part) => isJson(part.functionResponse)).length;
    if (side === 'user' && callsBefore !== responses) problems.push(`${responses} function responses to ${callsBefore} calls`);
    callsBefore = side === 'assistant' ? parts.filter((part) => isJson(part.functionCall)).length : 0;
    for (const part of parts) takePart(conversation, turn, part, problems);
  }
  const config = objectAt(body, 'generationConfig');
  const tools = objectsAt(body, 'tools');
  const declarations = tools.flatMap((tool) => objectsAt(tool, 'functionDeclarations'));
  for (const declaration of declarations) {
    if (declaration.parameters !== undefined) problems.push(...keywordsIn(declaration.parameters));
    if (!/^[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}$/.test(textAt(declaration, 'name')))
      problems.push(`a function named ${textAt(declaration, 'name')}`);
  }
  if (config.responseSchema !== undefined) problems.push(...keywordsIn(config.responseSchema));
  const calling = objectAt(objectAt(body, 'toolConfig'), 'functionCallingConfig');
  const allowed = Array.isArray(calling.allowedFunctionNames) ? calling.allowedFunctionNames.map(String) : [];
  const stop = Array.isArray(config.stopSequences) ? config.stopSequences.map(String) : [];
  if (stop.length > MAX_STOP_SEQUENCES) problems.push('more than 5 stop sequences');
  const schema = config.responseJsonSchema ?? config.responseSchema;
  const turns = conversation.done();
  return {
    system,
    turns,
    tools: declarations.map((declaration) => ({
      name: textAt(declaration, 'name'),
      description: textAt(declaration, 'description'),
      parameters: parametersText(declaration.parametersJsonSchema ?? declaration.parameters),
    })),
    hosted: tools.flatMap((tool) => Object.keys(tool).filter((key) => key !== 'functionDeclarations')),
    toolChoice: toolChoiceOf(calling, allowed),
    parallel: undefined,
    maxTokens: numberAt(config, 'maxOutputTokens'),
    numbers: {
      temperature: numberAt(config, 'temperature'),
      topP: numberAt(config, 'topP'),
      topK: numberAt(config, 'topK'),
      seed: numberAt(config, 'seed'),
      frequencyPenalty: numberAt(config, 'frequencyPenalty'),
      presencePenalty: numberAt(config, 'presencePenalty'),
    },
    stop,
    choices: numberAt(config, 'candidateCount') ?? 1,
    logprobs: config.responseLogprobs === true ? (numberAt(config, 'logprobs') ?? 0) : undefined,
    format: schema !== undefined ? schemaText(schema) : config.responseMimeType === 'application/json' ? 'json_object' : undefined,
    thinking: thinkingOf(config),
    tier: optionalTextAt(body, 'serviceTier'),
    user: undefined,
    cacheMarks: cacheMarksIn(body),
    stream: isStream,
    problems: [...problems, ...conversation.problems],
  };
}

function takePart(conversation: Conversation, turn: TurnReading, part: Json, problems: string[]): void {
  const proof = optionalTextAt(part, 'thoughtSignature');
  if (proof !== undefined) turn.proofs.push(proof);
  if (typeof part.text === 'string') {
    if (part.thought === true) turn.reasoning += part.text;
    else turn.text += `${turn.text === '' || part.text === '' ? '' : '\n'}${part.text}`;
  } else if (isJson(part.functionCall)) {
    conversation.call(textAt(part.functionCall, 'id'), textAt(part.functionCall, 'name'), part.functionCall.args);
  } else if (isJson(part.functionResponse)) {
    const { functionResponse } = part;
    if (!isJson(functionResponse.response)) problems.push('a response that is no object');
    const response = objectAt(functionResponse, 'response');
    const isError = Object.keys(response).length === 1 && 'error' in response;
    const [only] = Object.keys(response).length === 1 ? Object.entries(response) : [];
    const inner = only !== undefined && ['output', 'result', 'return_value', 'error', 'content'].includes(only[0]) ? only[1] : response;
    const name = textAt(functionResponse, 'name');
    if (name === '') problems.push('a function response without a name');
    conversation.result(textAt(functionResponse, 'id'), typeof inner === 'string' ? inner : JSON.stringify(inner), isError, name);
    for (const nested of objectsAt(functionResponse, 'parts')) takePart(conversation, turn, nested, problems);
  } else if (isJson(part.inlineData)) {
    turn.media.push({ kind: kindOf(textAt(part.inlineData, 'mimeType')), source: textAt(part.inlineData, 'data') });
  } else if (isJson(part.fileData)) {
    turn.media.push({ kind: kindOf(textAt(part.fileData, 'mimeType')), source: textAt(part.fileData, 'fileUri') });
  } else if (proof === undefined) turn.foreign.push(Object.keys(part).join(','));
}

function kindOf(mediaType: string): 'image' | 'audio' | 'video' | 'file' {
  const kind = mediaType.split('/')[0];
  return kind === 'image' || kind === 'audio' || kind === 'video' ? kind : 'file';
}

function keywordsIn(schema: unknown): string[] {
  if (Array.isArray(schema)) return schema.flatMap(keywordsIn);
  if (!isJson(schema)) return [];
  return Object.entries(schema).flatMap(([key, member]) => {
    // Names of properties are the program's own.
    if (key === 'properties' && isJson(member)) return Object.values(member).flatMap(keywordsIn);
    if (key === 'enum' || key === 'required' || key === 'example' || key === 'default') return [];
    const own = REFUSED_KEYWORDS.includes(key) || (key === 'type' && Array.isArray(member)) ? [`the older schema has ${key}`] : [];
    return [...own, ...keywordsIn(member)];
  });
}

function toolChoiceOf(calling: Json, allowed: readonly string[]): string | undefined {
  switch (calling.mode) {
    case 'ANY':
      return allowed.length === 1 ? `tool ${allowed[0]}` : 'required';
    case 'AUTO':
      return 'auto';
    case 'NONE':
      return 'none';
    default:
      return undefined;
  }
}

function thinkingOf(config: Json): Thinking | undefined {
  const thinking = config.thinkingConfig;
  if (!isJson(thinking)) return undefined;
  const budget = numberAt(thinking, 'thinkingBudget');
  const effort = optionalTextAt(thinking, 'thinkingLevel')?.toLowerCase();
  if (budget === 0) return { is: 'off' };
  if (budget === undefined && effort === undefined) return undefined;
  return { is: 'on', effort, budget: budget === -1 ? undefined : budget };
}
