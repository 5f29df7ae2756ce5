/**
 * Proofs of thinking that are not this provider's: what we have put into an answer of another one, for the client to send back. In the
 * pass-through lane they would reach a provider that refuses them, so the blocks that hold them are taken out of the bytes.
 */
import { CARRIER_MARK, unpackCarrier } from '../../canonical/carrier.ts';
import { isObject, type JsonObject } from '../json.ts';
import { type Edit, JsonCursor, type Span, valueAt } from '../json-scanner.ts';

const MARK = Buffer.from(`"${CARRIER_MARK}`);

/** One search over the bytes; nearly all requests have none. */
export function mayHoldForeignProof(body: Buffer): boolean {
  return body.includes(MARK);
}

/** Of a body that has been read, with the places of its fields. */
export function foreignProofEdits(body: Buffer, fields: ReadonlyMap<string, Span>): Edit[] {
  const messages = fields.get('messages');
  if (messages === undefined) return [];
  const edits: Edit[] = [];
  const cursor = new JsonCursor(body, messages);
  let lastAssistant: Stripped | undefined;
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    const span = cursor.skipValue();
    const message = valueAt(body, span);
    if (!isObject(message) || message.role !== 'assistant' || !Array.isArray(message.content)) continue;
    lastAssistant = strip(message.content);
    if (!lastAssistant.hasChanged) continue;
    edits.push({ ...span, text: JSON.stringify({ ...message, content: lastAssistant.content }) });
  }
  const thinking = fields.get('thinking');
  // With a thinking budget the provider wants the turn that is continued to begin with thinking.
  if (lastAssistant?.hasChanged && thinking !== undefined && startsWithCall(lastAssistant.content)) {
    const value = valueAt(body, thinking);
    if (isObject(value) && value.type === 'enabled') edits.push({ ...thinking, text: '{"type":"disabled"}' });
  }
  return edits;
}

interface Stripped {
  readonly content: readonly unknown[];
  readonly hasChanged: boolean;
}

function strip(content: readonly unknown[]): Stripped {
  let hasChanged = false;
  const kept: unknown[] = [];
  for (const block of content) {
    if (!isObject(block)) kept.push(block);
    else if (isForeign(block)) hasChanged = true;
    else {
      const citations = Array.isArray(block.citations) ? block.citations.filter((citation) => !isForeignCitation(citation)) : undefined;
      const isCut = citations !== undefined && citations.length < (block.citations as readonly unknown[]).length;
      if (isCut) hasChanged = true;
      kept.push(isCut ? { ...block, citations: citations.length === 0 ? null : citations } : block);
    }
  }
  return { content: kept, hasChanged };
}

function isForeign({ type, signature, data }: JsonObject): boolean {
  return (type === 'thinking' && isOurs(signature)) || (type === 'redacted_thinking' && isOurs(data));
}

function isForeignCitation(citation: unknown): boolean {
  return isObject(citation) && isOurs(citation.encrypted_index);
}

function isOurs(proof: unknown): boolean {
  return typeof proof === 'string' && unpackCarrier(proof) !== undefined;
}

function startsWithCall([first]: readonly unknown[]): boolean {
  return isObject(first) && first.type === 'tool_use';
}
