/**
 * The opaque state of a model's reasoning. The protocol keeps it on the server for turns that follow; here it comes from the provider and
 * goes back to it, so it is asked for where the model reasons, remembered, and kept from a client that has not asked.
 */
import { JsonCursor, type Span, scanObject, splice, valueAt } from '../../dialect/json-scanner.ts';

/** In `include`. */
const STATE = 'reasoning.encrypted_content';
const MEMBER = Buffer.from('"encrypted_content"');
const EVENT_FIELDS: ReadonlySet<string> = new Set(['item', 'response']);
const RESPONSE_FIELDS: ReadonlySet<string> = new Set(['output']);
const ITEM_FIELDS: ReadonlySet<string> = new Set(['type', 'encrypted_content']);
const QUOTE = 0x22;

/** The JSON of `include` with the state in it; undefined where it is in it already, or is no list that could be added to. */
export function includingState(include: Buffer | undefined): Buffer | undefined {
  const names: unknown = include === undefined ? [] : (JSON.parse(include.toString('utf8')) ?? []);
  if (!Array.isArray(names) || names.includes(STATE)) return undefined;
  return Buffer.from(JSON.stringify([...names, STATE]));
}

/** An event as a client gets it that has not asked for the state. */
export function withoutState(event: Buffer): Buffer {
  if (!event.includes(MEMBER)) return event;
  try {
    const edits = itemsIn(event).flatMap((item) => {
      const fields = scanObject(event, ITEM_FIELDS, item);
      const type = fields.get('type');
      const state = fields.get('encrypted_content');
      if (type === undefined || state === undefined || event[state.start] !== QUOTE) return [];
      return valueAt(event, type) === 'reasoning' ? [{ ...state, text: 'null' }] : [];
    });
    return Buffer.concat(splice(event, edits));
  } catch {
    // What cannot be read is handed on as it came.
    return event;
  }
}

/** Where the items of an event stand: the one that it is about, or those of its response. */
function itemsIn(event: Buffer): Span[] {
  const fields = scanObject(event, EVENT_FIELDS);
  const item = fields.get('item');
  if (item !== undefined) return [item];
  const response = fields.get('response');
  const output = response === undefined ? undefined : scanObject(event, RESPONSE_FIELDS, response).get('output');
  if (output === undefined) return [];
  const cursor = new JsonCursor(event, output);
  const items: Span[] = [];
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) items.push(cursor.skipValue());
  return items;
}
