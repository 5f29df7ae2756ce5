/** The texts of a message's content that is written as parts. */
import type { JsonCursor, Span } from '../json-scanner.ts';

/** Calls `take` with the place of each part's text, and leaves the cursor behind the array. */
export function eachTextPart(cursor: JsonCursor, take: (span: Span) => void): void {
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    if (cursor.peek() !== 'object') {
      cursor.skipValue();
      continue;
    }
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) {
      const isText = cursor.key() === 'text' && cursor.peek() === 'string';
      const span = cursor.skipValue();
      if (isText) take(span);
    }
  }
}
