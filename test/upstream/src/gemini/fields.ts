// Names of fields in Gemini's requests: both spellings are read, and what the API does not have is refused.

import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';

/** Below these everything belongs to the caller. */
const OPAQUE = new Set([
  'args',
  'response',
  'parameters',
  'parametersJsonSchema',
  'responseJsonSchema',
  'responseSchema',
  'partMetadata',
  'labels',
]);

const PART =
  'text inlineData fileData functionCall functionResponse executableCode codeExecutionResult toolCall toolResponse thought thoughtSignature partMetadata videoMetadata mediaResolution mediaProcessing';
const CONTENT: Shape = {
  fields: 'role parts',
  inner: {
    parts: {
      fields: PART,
      inner: {
        functionCall: { fields: 'id name args' },
        functionResponse: { fields: 'id name response parts scheduling willContinue' },
        inlineData: { fields: 'mimeType data displayName' },
        fileData: { fields: 'mimeType fileUri displayName' },
      },
    },
  },
};

/** The fields of a message, and the shapes of those that are messages themselves. */
export interface Shape {
  fields: string;
  inner?: Record<string, Shape>;
}

/** A request to generate. */
export const GENERATE: Shape = {
  fields: 'model contents tools toolConfig safetySettings systemInstruction generationConfig cachedContent store serviceTier labels',
  inner: {
    contents: CONTENT,
    systemInstruction: CONTENT,
    generationConfig: {
      fields:
        'candidateCount stopSequences maxOutputTokens temperature topP topK seed responseMimeType responseSchema responseJsonSchema presencePenalty frequencyPenalty responseLogprobs logprobs enableEnhancedCivicAnswers responseModalities speechConfig thinkingConfig mediaResolution imageConfig responseFormat enableAffectiveDialog audioTranscriptionConfig translationConfig',
      inner: { thinkingConfig: { fields: 'includeThoughts thinkingBudget thinkingLevel' } },
    },
    tools: {
      fields:
        'functionDeclarations googleSearch googleSearchRetrieval codeExecution urlContext computerUse fileSearch mcpServers googleMaps',
      inner: { functionDeclarations: { fields: 'name description parameters parametersJsonSchema response responseJsonSchema behavior' } },
    },
    toolConfig: {
      fields: 'functionCallingConfig retrievalConfig includeServerSideToolInvocations',
      inner: { functionCallingConfig: { fields: 'mode allowedFunctionNames' } },
    },
  },
};

function camel(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The same request with every field of the API's own spelt in camel case. */
export function withCamelNames(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(withCamelNames);
  if (!isObject(value)) return value;
  const named: JsonObject = {};
  for (const [field, inner] of Object.entries(value)) {
    const name = camel(field);
    if (inner !== undefined) named[name] = OPAQUE.has(name) ? inner : withCamelNames(inner);
  }
  return named;
}

/** The fields that the shape does not have, each with the path of the message it stands in. */
export function strangers(value: JsonValue | undefined, shape: Shape, at: string): Array<{ name: string; at: string }> {
  if (Array.isArray(value)) return value.flatMap((item, index) => strangers(item, shape, `${at}[${index}]`));
  if (!isObject(value)) return [];
  const known = new Set(shape.fields.split(' '));
  const found: Array<{ name: string; at: string }> = [];
  for (const [name, inner] of Object.entries(value)) {
    if (!known.has(name)) found.push({ name, at });
    const below = shape.inner?.[name];
    if (below !== undefined) found.push(...strangers(inner, below, at === '' ? snake(name) : `${at}.${snake(name)}`));
  }
  return found;
}
