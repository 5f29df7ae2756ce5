/**
 * State of other dialects in a conversation that now goes on with a provider of this one: packed into ids of calls and reasoning details by
 * us, for the client to send back. In the pass-through lane it would reach a provider that refuses it.
 */
import { unpackCallId } from '../../canonical/call-id.ts';
import { CARRIER_MARK } from '../../canonical/carrier.ts';
import { isObject, type JsonObject } from '../json.ts';
import { type Edit, JsonCursor, type Span, valueAt } from '../json-scanner.ts';
import { withoutCarried } from './reasoning.ts';
import { upstreamCallId } from './tools.ts';

const CALL_ID_MARK = Buffer.from('mrd_');
const DETAIL_MARK = Buffer.from(`"${CARRIER_MARK}`);

/** Two searches over the bytes; nearly all requests have none. */
export function mayHoldCarriedState(body: Buffer): boolean {
  return body.includes(CALL_ID_MARK) || body.includes(DETAIL_MARK);
}

/** Edits of the messages that hold any; `messages` is where they stand in a body that has been read. */
export function carriedStateEdits(body: Buffer, messages: Span): Edit[] {
  const edits: Edit[] = [];
  const cursor = new JsonCursor(body, messages);
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    const span = cursor.skipValue();
    const message = valueAt(body, span);
    const cleaned = isObject(message) ? withoutState(message) : message;
    if (cleaned !== message) edits.push({ ...span, text: JSON.stringify(cleaned) });
  }
  return edits;
}

/** The same message where it holds none. */
function withoutState(message: JsonObject): JsonObject {
  let cleaned = message;
  const { tool_call_id: answered, tool_calls: calls, reasoning_details: details } = message;
  const id = plainId(answered);
  if (id !== answered) cleaned = { ...cleaned, tool_call_id: id };
  if (Array.isArray(calls)) {
    const plain = calls.map((call: unknown) => (isObject(call) && plainId(call.id) !== call.id ? { ...call, id: plainId(call.id) } : call));
    if (plain.some((call, index) => call !== calls[index])) cleaned = { ...cleaned, tool_calls: plain };
  }
  if (Array.isArray(details)) {
    const own = withoutCarried(details);
    if (own.length < details.length) cleaned = { ...cleaned, reasoning_details: own.length === 0 ? undefined : own };
  }
  return cleaned;
}

function plainId(id: unknown): unknown {
  if (typeof id !== 'string') return id;
  const unpacked = unpackCallId(id);
  return unpacked.id === id ? id : upstreamCallId(unpacked.id);
}
