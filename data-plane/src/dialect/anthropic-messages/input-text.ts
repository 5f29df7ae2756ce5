/** Takes the text out of a request that has been read, for when its tokens are counted and not bounded. */
import type { Operation } from '@meridian/domain/dialect';
import type { InputText } from '../dialect.ts';
import { JsonCursor, type Span, valueAt } from '../json-scanner.ts';
import { eachBlockText } from './block-texts.ts';

/** What begins the answer in the prompt. */
const REPLY_TOKENS = 3;

/**
 * What stands in the prompt as it was written: the system's text, contents and text blocks of messages, results of tools. All else of the
 * body (tools, calls, schemas, settings) may be written in another notation there, and keeps the bound by its bytes, as do media; each
 * message keeps its overhead.
 */
export function inputText(_operation: Operation, body: Buffer, inputTokensBound: number): InputText {
  const texts: string[] = [];
  let bytes = 0;
  const take = (span: Span): void => {
    const text = textAt(body, span);
    if (text === undefined) return;
    texts.push(text);
    bytes += span.end - span.start;
  };
  const cursor = new JsonCursor(body);
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = cursor.key();
    if (key === 'system') takeContent(cursor, take);
    else if (key === 'messages') takeMessages(cursor, take);
    else cursor.skipValue();
  }
  return { texts, otherTokensBound: inputTokensBound - bytes + REPLY_TOKENS };
}

function takeMessages(cursor: JsonCursor, take: (span: Span) => void): void {
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) {
      if (cursor.key() === 'content') takeContent(cursor, take);
      else cursor.skipValue();
    }
  }
}

/** A string, or blocks. */
function takeContent(cursor: JsonCursor, take: (span: Span) => void): void {
  const kind = cursor.peek();
  if (kind === 'array') eachBlockText(cursor, take);
  else {
    const span = cursor.skipValue();
    if (kind === 'string') take(span);
  }
}

/** Undefined for a string that has errors the upstream is left to find. */
function textAt(body: Buffer, span: Span): string | undefined {
  try {
    const value = valueAt(body, span);
    return typeof value === 'string' ? value : undefined;
  } catch {
    return undefined;
  }
}
