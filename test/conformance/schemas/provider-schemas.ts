/**
 * The providers' own descriptions of their protocols, as validators. They are not part of the project; where their folder is missing there
 * are none.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DialectName } from '@meridian/domain/dialect';
import { PROJECT_ROOT } from '@meridian/local/process';
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { isJson, type Json, objectAt, objectsAt, textAt } from '../table/json.ts';
import { EXTENSIONS } from './exceptions.ts';

const FOLDER = join(PROJECT_ROOT, '../shared/specs');

export const hasSchemas = existsSync(FOLDER);

/** `event` is one of a stream. */
export type Kind = 'answer' | 'event' | 'request';

interface Source {
  readonly file: string;
  /** By kind of value; events that are told by their `type` have a component each, which end in the same word. */
  readonly names: Readonly<Partial<Record<Kind, string>>>;
}

const OPENAI = 'openai-openapi.yaml';
const OPEN_RESPONSES = 'openresponses-2026-04-24.openapi.json';

/** Open Responses describes what clients read; what an upstream takes is said by the one that most requests go to. */
const SOURCES: Readonly<Record<DialectName, Readonly<Record<'answers' | 'requests', Source>>>> = {
  'openai-chat': {
    answers: { file: OPENAI, names: { answer: 'CreateChatCompletionResponse', event: 'CreateChatCompletionStreamResponse' } },
    requests: { file: OPENAI, names: { request: 'CreateChatCompletionRequest' } },
  },
  'openai-responses': {
    answers: { file: OPEN_RESPONSES, names: { answer: 'ResponseResource' } },
    requests: { file: OPENAI, names: { request: 'CreateResponse' } },
  },
  'anthropic-messages': {
    answers: { file: 'anthropic-openapi.yaml', names: { answer: 'Message', event: 'MessageStreamEvent' } },
    requests: { file: 'anthropic-openapi.yaml', names: { request: 'CreateMessageParams' } },
  },
  gemini: {
    answers: { file: 'gemini-v1beta-openapi.json', names: { answer: 'GenerateContentResponse', event: 'GenerateContentResponse' } },
    requests: { file: 'gemini-v1beta-openapi.json', names: { request: 'GenerateContentRequest' } },
  },
};

const EVENT_NAME = /StreamingEvent$/;

/**
 * `closed`: a field that the provider does not describe is an error, unless it is one of ours by name. For what we write; what providers
 * write has fields that their descriptions have not caught up with.
 */
export class ProviderSchemas {
  readonly #names: Source['names'];
  readonly #ajv: Ajv2020;
  readonly #schemas: Json;
  readonly #events = new Map<string, string>();

  constructor(dialect: DialectName, of: 'answers' | 'requests', closed: boolean) {
    const { file, names } = SOURCES[dialect][of];
    this.#names = names;
    const text = readFileSync(join(FOLDER, file), 'utf8');
    // One of them is JSON under the name of YAML.
    const all = text.startsWith('{') ? jsonSchemas(text) : yamlSchemas(text);
    const used = usedSchemas(all, [...Object.values(names), ...all.names.filter((name) => EVENT_NAME.test(name))]);
    const composed = new Set<string>();
    for (const schema of Object.values(used)) collectComposed(schema, composed);
    this.#schemas = Object.fromEntries(
      Object.entries(used).map(([name, schema]) => [name, plainSchema(schema, { dialect, closed, name }, composed.has(name))]),
    );
    for (const [name, schema] of Object.entries(this.#schemas)) {
      const type = objectAt(objectAt(schema, 'properties'), 'type');
      const [value] = Array.isArray(type.enum) ? type.enum : [type.const];
      if (EVENT_NAME.test(name) && typeof value === 'string') this.#events.set(value, name);
    }
    this.#ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: false, logger: false });
    this.#ajv.addSchema({ $id: 'spec', components: { schemas: this.#schemas } });
  }

  /** What is wrong with a value, the first thing first; undefined where nothing is. */
  problem(kind: Kind, value: unknown): string | undefined {
    const name = this.#nameOf(kind, value);
    if (name === undefined) return `no schema for ${textAt(value, 'type')}`;
    const validate = this.#ajv.getSchema(`spec#/components/schemas/${name}`);
    if (validate === undefined) return `no schema ${name}`;
    return validate(value) === true ? undefined : told(validate, value);
  }

  #nameOf(kind: Kind, value: unknown): string | undefined {
    return this.#names[kind] ?? this.#events.get(textAt(value, 'type'));
  }
}

interface Terms {
  readonly dialect: DialectName;
  readonly closed: boolean;
  /** Of the component. */
  readonly name: string;
}

/** The components of a file, each read when it is asked for. */
interface SchemaFile {
  readonly names: readonly string[];
  schema(name: string): Json;
}

function jsonSchemas(text: string): SchemaFile {
  const schemas = objectAt(objectAt(JSON.parse(text), 'components'), 'schemas');
  return { names: Object.keys(schemas), schema: (name) => objectAt(schemas, name) };
}

/** Such a file is large, and of its components a few are used: it is cut at their names, which stand at one depth. */
function yamlSchemas(text: string): SchemaFile {
  const from = text.indexOf('\n  schemas:\n', text.indexOf('\ncomponents:\n'));
  const pieces = new Map<string, string>();
  const heads = [...text.slice(from).matchAll(/\n( {4}([A-Za-z0-9_.-]+):)(?= *[\n{])|\n {0,3}[a-z]/g)];
  for (const [index, head] of heads.entries()) {
    const name = head[2];
    if (name === undefined) continue;
    const end = heads[index + 1]?.index;
    pieces.set(name, text.slice(from + head.index + 1, end === undefined ? undefined : from + end));
  }
  return {
    names: [...pieces.keys()],
    schema: (name) => {
      const piece = pieces.get(name);
      return piece === undefined ? {} : objectAt(parse(piece), name);
    },
  };
}

/** Those that the ones asked for are made of. */
function usedSchemas(all: SchemaFile, asked: readonly string[]): Json {
  const used: Record<string, Json> = {};
  const take = (value: unknown): void => {
    if (Array.isArray(value)) for (const item of value) take(item);
    if (!isJson(value)) return;
    const name = refName(value);
    if (name !== undefined && used[name] === undefined) {
      const schema = all.schema(name);
      used[name] = schema;
      take(schema);
    }
    for (const member of Object.values(value)) take(member);
  };
  for (const name of asked) take({ $ref: `#/components/schemas/${name}` });
  return used;
}

/** Schemas that others are put together from: what they do not describe, the others may. */
function collectComposed(value: unknown, found: Set<string>): void {
  if (Array.isArray(value)) for (const item of value) collectComposed(item, found);
  if (!isJson(value)) return;
  for (const member of objectsAt(value, 'allOf')) {
    const name = refName(member);
    if (name !== undefined) found.add(name);
  }
  for (const member of Object.values(value)) collectComposed(member, found);
}

function refName(schema: Json): string | undefined {
  return typeof schema.$ref === 'string' ? schema.$ref.replace('#/components/schemas/', '') : undefined;
}

/** OpenAPI's schemas as JSON Schema: `nullable`, references within the file, unions that overlap. */
function plainSchema(value: unknown, terms: Terms, isPart: boolean): unknown {
  if (Array.isArray(value)) return value.map((item) => plainSchema(item, terms, isPart));
  if (!isJson(value)) return value;
  const plain: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    switch (key) {
      case 'discriminator':
      case 'nullable':
      case 'example':
      case 'examples':
      case 'default':
      case 'description':
      case 'format':
        break;
      case '$ref':
        plain.$ref = `spec${String(member)}`;
        break;
      // The providers' unions overlap, so that one value fits several.
      case 'oneOf':
      case 'anyOf': {
        const chosen = byDiscriminator(value);
        if (chosen === undefined) plain.anyOf = plainSchema(member, terms, isPart);
        else Object.assign(plain, chosen);
        break;
      }
      case 'allOf':
        plain.allOf = plainSchema(member, terms, true);
        break;
      case 'properties':
        plain.properties = Object.fromEntries(
          Object.entries(isJson(member) ? member : {}).map(([property, schema]) => [property, plainSchema(schema, terms, false)]),
        );
        break;
      case 'enum':
      case 'const':
      case 'required':
        plain[key] = member;
        break;
      default:
        plain[key] = plainSchema(member, terms, false);
    }
  }
  const isObject = isJson(value.properties) || (Array.isArray(value.allOf) && value.type === 'object');
  if (terms.closed && isObject && !isPart && value.additionalProperties === undefined) {
    const ours = EXTENSIONS[terms.dialect].filter(({ schemas }) => schemas.includes(terms.name));
    plain.properties = {
      ...(isJson(plain.properties) ? plain.properties : {}),
      ...Object.fromEntries(ours.map(({ field }) => [field, true])),
    };
    plain.unevaluatedProperties = false;
  }
  return value.nullable === true ? { anyOf: [plain, { type: 'null' }] } : plain;
}

/** A union whose member is told by a field: what is wrong is then said of that member alone. */
function byDiscriminator(union: Json): Json | undefined {
  const { discriminator } = union;
  const name = textAt(discriminator, 'propertyName');
  const mapping = Object.entries(objectAt(discriminator, 'mapping'));
  if (name === '' || mapping.length === 0) return undefined;
  return {
    required: [name],
    properties: { [name]: { enum: mapping.map(([value]) => value) } },
    allOf: mapping.map(([value, ref]) => ({
      anyOf: [{ not: { properties: { [name]: { const: value } } } }, { $ref: `spec${String(ref)}` }],
    })),
  };
}

/** The error that tells most: the deepest, since unions tell of all their members. */
function told(validate: ValidateFunction, value: unknown): string {
  const errors = validate.errors ?? [];
  const depth = ({ instancePath }: ErrorObject): number => instancePath.split('/').length;
  const deepest = [...errors].sort((a, b) => depth(b) - depth(a))[0];
  if (deepest === undefined) return 'not valid';
  const at = deepest.instancePath.split('/').slice(1);
  let part: unknown = value;
  for (const key of at) part = (part as Record<string, unknown> | undefined)?.[key];
  const extra = deepest.params.unevaluatedProperty ?? deepest.params.additionalProperty ?? deepest.params.allowedValues ?? '';
  return `${deepest.instancePath.replace(/\/\d+/g, '/n') || '/'} ${deepest.message} ${String(extra)} (${(JSON.stringify(part) ?? 'nothing').slice(0, 120)})`;
}
