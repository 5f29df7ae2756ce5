/** Walks every message of every generated file, so that a message added tomorrow is covered without a new test. */
import { readdirSync } from 'node:fs';
import {
  create,
  type DescEnum,
  type DescField,
  type DescFile,
  type DescMessage,
  equals,
  fromBinary,
  type Message,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toGrpcService } from './grpc-service.ts';

const GENERATED = new URL('./gen/meridian/v1/', import.meta.url);

const files: DescFile[] = [];
for (const name of readdirSync(GENERATED).filter((file) => file.endsWith('_pb.js'))) {
  const generated: Record<string, unknown> = await import(new URL(name, GENERATED).href);
  for (const exported of Object.values(generated)) if (isFile(exported)) files.push(exported);
}
const messages = files.flatMap((file) => file.messages.flatMap(withNested));
const services = files.flatMap((file) => file.services);

describe('every message of the schema', () => {
  it('was found', () => {
    expect(messages.map((message) => message.name)).toContain('ConfigEntry');
    expect(services.flatMap((service) => service.methods.map((method) => method.name))).toEqual(
      expect.arrayContaining(['Sync', 'FetchSnapshot', 'Report']),
    );
  });

  it.each(messages.map((desc) => [desc.typeName, desc] as const))('arrives as it was sent: %s', (_, desc) => {
    fc.assert(
      fc.property(filled(desc, 3), (message) => {
        expect(equals(desc, fromBinary(desc, toBinary(desc, message)), message)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
});

describe('every method', () => {
  const methods = services.flatMap((service) =>
    service.methods.map((method) => [`${service.typeName}/${method.name}`, service, method] as const),
  );

  it.each(methods)('takes and gives its own messages through the bridge: %s', (path, service, method) => {
    const definition = toGrpcService(service)[method.localName];
    expect(definition?.path).toBe(`/${path}`);
    fc.assert(
      fc.property(filled(method.input, 3), filled(method.output, 3), (request, response) => {
        expect(equals(method.input, definition?.requestDeserialize(definition.requestSerialize(request)), request)).toBe(true);
        expect(equals(method.output, definition?.responseDeserialize(definition.responseSerialize(response)), response)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });
});

function isFile(value: unknown): value is DescFile {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'file';
}

function withNested(desc: DescMessage): DescMessage[] {
  return [desc, ...desc.nestedMessages.flatMap(withNested)];
}

/** A message with random fields; messages inside it down to `depth`. */
function filled(desc: DescMessage, depth: number): fc.Arbitrary<Message> {
  const oneofs = desc.oneofs.map((oneof) =>
    fc.option(fc.constantFrom(...oneof.fields), { nil: undefined }).chain((field) => setter(field, depth)),
  );
  const plain = desc.fields
    .filter((field) => field.oneof === undefined)
    .map((field) => fc.boolean().chain((set) => setter(set ? field : undefined, depth)));
  return fc.tuple(...oneofs, ...plain).map((setters) => {
    const message = create(desc);
    const reflected = reflect(desc, message);
    for (const set of setters) set(reflected);
    return message;
  });
}

type Setter = (message: ReflectMessage) => void;

function setter(field: DescField | undefined, depth: number): fc.Arbitrary<Setter> {
  if (field === undefined) return fc.constant(() => {});
  switch (field.fieldKind) {
    case 'scalar':
      return scalar(field.scalar).map((value) => (message) => message.set(field, value));
    case 'enum':
      return enumValue(field.enum).map((value) => (message) => message.set(field, value));
    case 'message':
      if (depth === 0) return fc.constant(() => {});
      return filled(field.message, depth - 1).map((value) => (message) => message.set(field, reflect(field.message, value)));
    case 'list': {
      const item = listItem(field, depth);
      if (item === undefined) return fc.constant(() => {});
      return fc.array(item, { maxLength: 3 }).map((values) => (message) => {
        for (const value of values) message.get(field).add(value);
      });
    }
    case 'map':
      throw new Error(`${field}: the contract has no maps`);
  }
}

function listItem(field: DescField & { fieldKind: 'list' }, depth: number): fc.Arbitrary<unknown> | undefined {
  if (field.listKind === 'scalar') return scalar(field.scalar);
  if (field.listKind === 'enum') return enumValue(field.enum);
  return depth === 0 ? undefined : filled(field.message, depth - 1).map((value) => reflect(field.message, value));
}

function enumValue(desc: DescEnum): fc.Arbitrary<number> {
  return fc.constantFrom(...desc.values.map((value) => value.number));
}

function scalar(type: ScalarType): fc.Arbitrary<unknown> {
  switch (type) {
    case ScalarType.STRING:
      return fc.string({ unit: 'grapheme', maxLength: 20 });
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.BYTES:
      return fc.uint8Array({ maxLength: 64 });
    case ScalarType.INT64:
      return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    case ScalarType.UINT64:
      return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    case ScalarType.UINT32:
      return fc.integer({ min: 0, max: 2 ** 32 - 1 });
    default:
      throw new Error(`no arbitrary for scalar type ${ScalarType[type]}: add it`);
  }
}
