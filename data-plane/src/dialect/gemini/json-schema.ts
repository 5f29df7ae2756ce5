/** JSON Schema, and the part of OpenAPI's schema that Gemini began with. */
import { isObject, type JsonObject, setMember } from '../json.ts';

/** References are followed so deep; below that anything is allowed, since this form cannot say that a schema contains itself. */
const MAX_REFERENCE_LEVELS = 8;
/** Schemas of a request that grow beyond this while their references are written out are cut where they stand. */
const MAX_REFERENCES = 4_096;
const MAX_REFERENCED_CHARACTERS = 1024 * 1024;

const KEPT = [
  'title',
  'description',
  'default',
  'example',
  'required',
  'propertyOrdering',
  'pattern',
  'minimum',
  'maximum',
  'minItems',
  'maxItems',
  'minLength',
  'maxLength',
  'minProperties',
  'maxProperties',
] as const;

const FORMATS: Readonly<Record<string, readonly string[]>> = {
  STRING: ['enum', 'date-time'],
  INTEGER: ['int32', 'int64'],
  NUMBER: ['float', 'double'],
};

/** Keywords whose meaning is written in another way, or that mean nothing to a model. */
const SAID_OTHERWISE: ReadonlySet<string> = new Set([
  ...KEPT,
  'type',
  'format',
  'enum',
  'const',
  'items',
  'properties',
  'anyOf',
  'oneOf',
  'allOf',
  'nullable',
  '$ref',
  '$defs',
  'definitions',
  '$schema',
  '$id',
  '$comment',
]);

/** What the references in all schemas of one request have grown to: a short one can stand for a long text, and often. */
export class Growth {
  #references = 0;
  #characters = 0;

  /** Whether there is room for what a reference stands for. */
  takes(characters: number): boolean {
    this.#references++;
    this.#characters += characters;
    return this.#references <= MAX_REFERENCES && this.#characters <= MAX_REFERENCED_CHARACTERS;
  }
}

interface Walk {
  readonly definitions: JsonObject;
  readonly lost: (keyword: string) => void;
  readonly growth: Growth;
  /** Of the definitions that are referred to, as JSON. */
  readonly characters: Map<string, number>;
}

/** JSON Schema in the older form. `lost` is told each keyword that has no place in it. */
export function toOpenApi(schema: JsonObject, lost: (keyword: string) => void, growth = new Growth()): JsonObject {
  const definitions = { ...objectOf(schema.definitions), ...objectOf(schema.$defs) };
  return write(schema, { definitions, lost, growth, characters: new Map() }, 0);
}

function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

function write(given: unknown, walk: Walk, references: number): JsonObject {
  if (!isObject(given)) return {};
  if (typeof given.$ref === 'string') {
    const name = definitionName(given.$ref);
    const target = Object.hasOwn(walk.definitions, name) ? walk.definitions[name] : undefined;
    if (target === undefined || references >= MAX_REFERENCE_LEVELS || !walk.growth.takes(charactersOf(name, target, walk))) {
      walk.lost('$ref');
      return {};
    }
    const { $ref: _, ...beside } = given;
    return write({ ...objectOf(target), ...beside }, walk, references + 1);
  }
  const schema = merged(given);
  const inner = (value: unknown): JsonObject => write(value, walk, references);
  for (const keyword of Object.keys(schema)) if (!SAID_OTHERWISE.has(keyword)) walk.lost(keyword);
  const out: Record<string, unknown> = {};
  for (const keyword of KEPT) if (schema[keyword] !== undefined) out[keyword] = schema[keyword];
  const types = typesOf(schema);
  const named = types.filter((type) => type !== 'NULL');
  if (schema.nullable === true || types.includes('NULL')) out.nullable = true;
  const [type] = named;
  if (named.length === 1 && type !== undefined) out.type = type;
  if (named.length > 1) out.anyOf = named.map((one) => ({ type: one }));
  const options = choices(schema);
  if (options !== undefined) writeChoices(out, options.map(inner));
  if (typeof schema.format === 'string') {
    if (FORMATS[type ?? '']?.includes(schema.format) === true) out.format = schema.format;
    else walk.lost('format');
  }
  writeEnum(out, schema, walk);
  if (isObject(schema.properties)) {
    const entries = Object.entries(schema.properties).map(([name, value]) => [name, inner(value)] as const);
    if (entries.length > 0) out.properties = Object.fromEntries(entries);
    out.type ??= 'OBJECT';
  }
  if (schema.items !== undefined) out.items = inner(schema.items);
  else if (out.type === 'ARRAY') out.items = {};
  return out;
}

function definitionName(reference: string): string {
  const name = reference.replace(/^#\/(\$defs|definitions)\//, '');
  try {
    return decodeURIComponent(name).replaceAll('~1', '/').replaceAll('~0', '~');
  } catch {
    // A stray `%`.
    return name;
  }
}

function charactersOf(name: string, target: unknown, { characters }: Walk): number {
  const known = characters.get(name) ?? JSON.stringify(target).length;
  characters.set(name, known);
  return known;
}

/** `allOf` is one schema with the members of all. */
function merged(schema: JsonObject): JsonObject {
  if (!Array.isArray(schema.allOf)) return schema;
  const { allOf, ...beside } = schema;
  const parts = [...allOf, beside].filter(isObject);
  const properties = parts.map((part) => part.properties).filter(isObject);
  const required = parts.map((part) => part.required).filter((one) => Array.isArray(one));
  return {
    ...Object.fromEntries(parts.flatMap((part) => Object.entries(part))),
    ...(properties.length === 0 ? {} : { properties: Object.fromEntries(properties.flatMap((one) => Object.entries(one))) }),
    ...(required.length === 0 ? {} : { required: [...new Set(required.flat())] }),
  };
}

function typesOf({ type }: JsonObject): readonly string[] {
  const list = Array.isArray(type) ? type : [type];
  return list.filter((one) => typeof one === 'string').map((one) => one.toUpperCase());
}

function choices(schema: JsonObject): readonly unknown[] | undefined {
  const options = schema.anyOf ?? schema.oneOf;
  return Array.isArray(options) ? options : undefined;
}

/** A choice of something and null is that something, which may be null. */
function writeChoices(out: Record<string, unknown>, options: readonly JsonObject[]): void {
  const real = options.filter((option) => !(option.nullable === true && Object.keys(option).length === 1));
  if (real.length < options.length) out.nullable = true;
  const [only] = real;
  if (real.length === 1 && only !== undefined) Object.assign(out, { ...only, ...out });
  else if (real.length > 1) out.anyOf = real;
}

/** Only strings can be enumerated. */
function writeEnum(out: Record<string, unknown>, schema: JsonObject, walk: Walk): void {
  const values = schema.const === undefined ? schema.enum : [schema.const];
  if (!Array.isArray(values)) return;
  if (values.includes(null)) out.nullable = true;
  const real = values.filter((value) => value !== null);
  if (real.every((value) => typeof value === 'string')) {
    out.type ??= 'STRING';
    out.enum = real;
  } else walk.lost('enum');
}

const NUMBER_KEYWORDS = ['minItems', 'maxItems', 'minLength', 'maxLength', 'minProperties', 'maxProperties'];

/** The older form as JSON Schema: types in small letters, nullable as a type, counts as numbers. */
export function fromOpenApi(given: unknown): JsonObject {
  if (!isObject(given)) return {};
  const { type, nullable, format, ...others } = given;
  const out: Record<string, unknown> = {};
  if (typeof type === 'string' && type !== 'TYPE_UNSPECIFIED') {
    out.type = nullable === true ? [type.toLowerCase(), 'null'] : type.toLowerCase();
  }
  for (const [snake, value] of Object.entries(others)) {
    const keyword = snake.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (keyword === 'properties' && isObject(value)) {
      const entries = Object.entries(value).map(([name, inner]) => [name, fromOpenApi(inner)] as const);
      out.properties = Object.fromEntries(ordered(entries, others.propertyOrdering ?? others.property_ordering));
    } else if (keyword === 'items') out.items = fromOpenApi(value);
    else if (keyword === 'anyOf' && Array.isArray(value)) out.anyOf = value.map(fromOpenApi);
    else if (keyword === 'enum' && Array.isArray(value)) out.enum = nullable === true ? [...value, null] : value;
    else if (keyword === 'example') out.examples = [value];
    else if (NUMBER_KEYWORDS.includes(keyword)) out[keyword] = typeof value === 'string' ? Number(value) : value;
    else if (keyword !== 'propertyOrdering') setMember(out, keyword, value);
  }
  if (nullable === true && out.type === undefined) out.anyOf = [...(Array.isArray(out.anyOf) ? out.anyOf : []), { type: 'null' }];
  if (typeof format === 'string' && format !== 'enum') out.format = format;
  return out;
}

/** JSON Schema has no other order of properties than that in which they are written. */
function ordered<Value>(entries: readonly (readonly [string, Value])[], ordering: unknown): readonly (readonly [string, Value])[] {
  if (!Array.isArray(ordering)) return entries;
  // From the last on, so that a name which stands twice has its first place.
  const places = new Map(ordering.map((name, index) => [name, index] as const).reverse());
  const place = (name: string): number => places.get(name) ?? ordering.length;
  return entries.toSorted(([a], [b]) => place(a) - place(b));
}
