/** Takes the text out of a request that has been read, for when its tokens are counted and not bounded. */
import type { Operation } from '@meridian/domain/dialect';
import type { InputText } from '../dialect.ts';
import { JsonCursor, type Span, valueAt } from '../json-scanner.ts';
import { eachTextPart } from './text-parts.ts';

/** What begins the answer in the prompt of a chat. */
const REPLY_TOKENS = 3;

interface Taken {
  readonly texts: string[];
  /** Bytes of the body that need no bound any more. */
  bytes: number;
}

/**
 * What stands in the prompt as it was written: `content` and text parts of messages, inputs of embeddings. All else of
 * the body (tools, calls, schemas, settings) may be written in another notation there, and keeps the bound by its bytes,
 * as do media; each message keeps its overhead.
 */
export function inputText(operation: Operation, body: Buffer, inputTokensBound: number): InputText {
  const taken: Taken = { texts: [], bytes: 0 };
  const cursor = new JsonCursor(body);
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = cursor.key();
    if (operation === 'embeddings') {
      if (key === 'input') takeInput(cursor, taken);
      else cursor.skipValue();
    } else if (key === 'messages') takeMessages(cursor, taken);
    else cursor.skipValue();
  }
  return { texts: taken.texts, otherTokensBound: inputTokensBound - taken.bytes + (operation === 'embeddings' ? 0 : REPLY_TOKENS) };
}

function takeMessages(cursor: JsonCursor, taken: Taken): void {
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) takeMessage(cursor, taken);
}

/** A message of nothing but a role and a text has no notation of its own in the prompt besides its overhead. */
function takeMessage(cursor: JsonCursor, taken: Taken): void {
  const start = cursor.position;
  let members = 0;
  let roleBytes = 0;
  let textBytes = 0;
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    members++;
    const key = cursor.key();
    const kind = cursor.peek();
    if (key === 'content' && kind === 'array') takeParts(cursor, taken);
    else {
      const span = cursor.skipValue();
      if (kind !== 'string') continue;
      if (key === 'content') textBytes += take(cursor.body, span, taken);
      else if (key === 'role') roleBytes = span.end - span.start;
    }
  }
  if (members === 2 && roleBytes > 0 && textBytes > 0) taken.bytes += cursor.position - start - roleBytes - textBytes;
}

/** What is written around a part's text keeps its bytes: parts may be joined, and a word that crosses a seam has a few tokens more. */
function takeParts(cursor: JsonCursor, taken: Taken): void {
  eachTextPart(cursor, (span) => take(cursor.body, span, taken));
}

/** Tokens in an array are one each, with at least a digit and a comma in the body, and keep their bytes. */
function takeInput(cursor: JsonCursor, taken: Taken): void {
  if (cursor.peek() === 'string') {
    take(cursor.body, cursor.skipValue(), taken);
    return;
  }
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    const isText = cursor.peek() === 'string';
    const span = cursor.skipValue();
    if (isText) take(cursor.body, span, taken);
  }
}

/** How many bytes were taken: none of a string that has errors the upstream is left to find. */
function take(body: Buffer, span: Span, taken: Taken): number {
  let text: unknown;
  try {
    text = valueAt(body, span);
  } catch {
    return 0;
  }
  if (typeof text !== 'string') return 0;
  const bytes = span.end - span.start;
  taken.texts.push(text);
  taken.bytes += bytes;
  return bytes;
}
