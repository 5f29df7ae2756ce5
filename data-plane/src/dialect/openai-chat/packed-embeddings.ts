/**
 * An answer for a client that asked for base64, as the SDKs do unasked, from a provider of this dialect that may know numbers only. The
 * SDKs take whatever comes for base64: numbers would be read as vectors of another length.
 */
import { readAnswerBody } from '../answer-body.ts';
import type { Answer } from '../dialect.ts';
import { type Edit, JsonCursor, knownKey, scanObject, splice, valueAt } from '../json-scanner.ts';
import { readAnswer } from './response.ts';
import { readVector, writeVector } from './vector.ts';

const DATA: ReadonlySet<string> = new Set(['data']);
const EMBEDDING: ReadonlySet<string> = new Set(['embedding']);

/** Throws as `readAnswer` does. */
export function readPackedEmbeddings(body: Buffer): Answer {
  return readAnswer(
    'embeddings',
    readAnswerBody(() => packed(body)),
  );
}

function packed(body: Buffer): Buffer {
  const data = scanObject(body, DATA).get('data');
  if (data === undefined) return body;
  const cursor = new JsonCursor(body, data);
  if (cursor.peek() !== 'array') return body;
  cursor.openArray();
  const edits: Edit[] = [];
  for (let first = true; cursor.nextElement(first); first = false) {
    // All vectors of an answer are written alike.
    if (!first && edits.length === 0) return body;
    if (cursor.peek() === 'object') packItem(cursor, edits);
    else cursor.skipValue();
  }
  return edits.length === 0 ? body : Buffer.concat(splice(body, edits));
}

function packItem(cursor: JsonCursor, edits: Edit[]): void {
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const isNumbers = knownKey(cursor, EMBEDDING) !== undefined && cursor.peek() === 'array';
    const span = cursor.skipValue();
    if (isNumbers) edits.push({ ...span, text: JSON.stringify(writeVector(readVector(valueAt(cursor.body, span)), 'base64')) });
  }
}
