/** Configuration entries: one entity's full state at one version, or its tombstone. */
import { create } from '@bufbuild/protobuf';
import { aliasId } from '@meridian/domain/model';
import { CONFIG_KINDS, type ConfigBody, type ConfigEntry } from '@meridian/domain/snapshot';
import { ConfigEntrySchema, type ConfigEntry as WireEntry } from '../gen/meridian/v1/config_pb.js';
import { bodyFromWire, bodyToWire } from './entry-body.ts';
import { readSafeInteger, readText } from './field.ts';
import { WireFormatError } from './wire-format-error.ts';

/** What came over the wire: an entry, or one of a kind that this build does not know, to be kept and counted. */
export type DecodedEntry =
  | { readonly unknown: false; readonly entry: ConfigEntry }
  | { readonly unknown: true; readonly kind: string; readonly id: string; readonly version: number };

/** The id under which an entity is published: its own, or that of what it belongs to; an alias goes by its normalised name and scope. */
export function configEntityId(body: ConfigBody): string {
  switch (body.kind) {
    case 'tier_assignment':
      return body.value.accountId;
    case 'price_book':
      return body.value.modelId;
    case 'alias':
      return aliasId(body.value.name, body.value);
    default:
      return body.value.id;
  }
}

export function configEntryToWire(entry: ConfigEntry): WireEntry {
  return create(ConfigEntrySchema, {
    kind: entry.kind,
    id: entry.id,
    version: BigInt(entry.version),
    deleted: entry.body === undefined,
    body: entry.body === undefined ? { case: undefined } : bodyToWire(entry.body),
  });
}

/** Checks every field; throws WireFormatError naming the one at fault. Keeps no view into the message. */
export function configEntryFromWire(wire: WireEntry): DecodedEntry {
  const id = readText('id', wire.id);
  const version = readSafeInteger('version', wire.version, 1);
  const kind = CONFIG_KINDS.find((candidate) => candidate === wire.kind);
  if (kind === undefined) return { unknown: true, kind: readText('kind', wire.kind), id, version };
  if (wire.deleted) {
    if (wire.body.case !== undefined) throw new WireFormatError('body', 'is present in a tombstone');
    return { unknown: false, entry: { kind, id, version, body: undefined } };
  }
  const body = bodyFromWire(wire.body);
  if (body.kind !== kind) throw new WireFormatError('body', `is of kind ${body.kind}, not ${kind}`);
  // A tombstone names the entity by this id alone, so it must be the one that the body is known by.
  if (configEntityId(body) !== id) throw new WireFormatError('id', `is not the body's: ${JSON.stringify(configEntityId(body))}`);
  return { unknown: false, entry: { kind, id, version, body } };
}
