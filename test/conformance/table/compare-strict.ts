/** To which schemas a client wants calls and answers held, against those to which the upstream is asked to hold them. */
import type { DialectName } from '@meridian/domain/dialect';
import type { Difference } from './compare-answers.ts';
import { isJson, type Json, objectAt, objectsAt, textAt } from './json.ts';

interface Strict {
  /** So many tools are strict. */
  readonly tools: number;
  readonly format: boolean;
  /** The strict schemas that this protocol refuses. */
  readonly refused: readonly string[];
}

/** Empty where all that was to be held is held, by schemas that the upstream takes. */
export function compareStrict(client: DialectName, asked: Json, upstream: DialectName, written: Json): Difference[] {
  const told = readStrict(client, asked);
  const got = readStrict(upstream, written);
  const found = client === upstream || told.refused.length > 0 ? [] : got.refused.map((what): Difference => ({ of: 'rules', what }));
  if (got.tools < told.tools) found.push({ of: 'strict tools', what: `${told.tools} became ${got.tools}` });
  if (told.format && !got.format) found.push({ of: 'strict format', what: 'the answer is held to no schema' });
  return found;
}

function readStrict(dialect: DialectName, body: Json): Strict {
  switch (dialect) {
    case 'openai-chat':
      return ofOpenAi(
        objectsAt(body, 'tools').map((tool) => objectAt(tool, 'function')),
        objectAt(objectAt(body, 'response_format'), 'json_schema'),
      );
    case 'openai-responses':
      return ofOpenAi(
        objectsAt(body, 'tools').filter(({ type }) => type === 'function'),
        objectAt(objectAt(body, 'text'), 'format'),
      );
    case 'anthropic-messages':
      return {
        tools: objectsAt(body, 'tools').filter(({ strict }) => strict === true).length,
        format: isJson(objectAt(body, 'output_config').format),
        refused: [],
      };
    case 'gemini': {
      const config = objectAt(body, 'generationConfig');
      const calling = objectAt(objectAt(body, 'toolConfig'), 'functionCallingConfig');
      const functions = objectsAt(body, 'tools').flatMap((tool) => objectsAt(tool, 'functionDeclarations'));
      return {
        tools: textAt(calling, 'mode') === 'VALIDATED' ? functions.length : 0,
        format: isJson(config.responseJsonSchema) || isJson(config.responseSchema),
        refused: [],
      };
    }
    default:
      return dialect satisfies never;
  }
}

function ofOpenAi(functions: readonly Json[], format: Json): Strict {
  const strict = functions.filter((one) => one.strict === true);
  const isHeld = format.strict === true;
  const schemas = [...strict.map(({ parameters }) => parameters), ...(isHeld ? [format.schema] : [])];
  return { tools: strict.length, format: isHeld, refused: schemas.flatMap(openObjectsIn) };
}

/** Objects that take members beside the described ones, or leave one of these away. */
function openObjectsIn(schema: unknown): string[] {
  if (Array.isArray(schema)) return schema.flatMap(openObjectsIn);
  if (!isJson(schema)) return [];
  const inside = Object.values(schema).flatMap(openObjectsIn);
  if (schema.type !== 'object') return inside;
  const { required } = schema;
  const names = Object.keys(objectAt(schema, 'properties'));
  const isClosed = schema.additionalProperties === false && names.every((name) => Array.isArray(required) && required.includes(name));
  return isClosed ? inside : [...inside, 'a strict schema that is not closed'];
}
