/** Where the texts of a request's input stand. */
import { JsonCursor, type Span } from '../json-scanner.ts';

/** The text before all items. */
export const INSTRUCTIONS = -1;

/**
 * Calls `take` with the place of each text that stands in the prompt as it was written: of messages, of the outputs of tools, and of the
 * instructions. `item` counts the items of the input.
 */
export function eachText(body: Buffer, take: (span: Span, item: number) => void): void {
  const cursor = new JsonCursor(body);
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = cursor.key();
    if (key === 'instructions') takeText(cursor, (span) => take(span, INSTRUCTIONS));
    else if (key !== 'input') cursor.skipValue();
    else if (cursor.peek() === 'array') eachItem(cursor, take);
    else takeText(cursor, (span) => take(span, 0));
  }
}

function eachItem(cursor: JsonCursor, take: (span: Span, item: number) => void): void {
  let item = 0;
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    const takeOne = (span: Span): void => take(span, item);
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) {
      const key = cursor.key();
      if (key !== 'content' && key !== 'output') cursor.skipValue();
      else if (cursor.peek() === 'array') eachPart(cursor, takeOne);
      else takeText(cursor, takeOne);
    }
    item++;
  }
}

function eachPart(cursor: JsonCursor, take: (span: Span) => void): void {
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    if (cursor.peek() !== 'object') {
      cursor.skipValue();
      continue;
    }
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) {
      if (cursor.key() === 'text') takeText(cursor, take);
      else cursor.skipValue();
    }
  }
}

function takeText(cursor: JsonCursor, take: (span: Span) => void): void {
  const isText = cursor.peek() === 'string';
  const span = cursor.skipValue();
  if (isText) take(span);
}
