/** The texts of a message's content that is written as blocks, of the results and documents in it too. */
import type { JsonCursor, Span } from '../json-scanner.ts';

/** Calls `take` with the place of each text, and leaves the cursor behind the array. */
export function eachBlockText(cursor: JsonCursor, take: (span: Span) => void): void {
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    if (cursor.peek() === 'object') takeBlock(cursor, take);
    else cursor.skipValue();
  }
}

function takeBlock(cursor: JsonCursor, take: (span: Span) => void): void {
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = cursor.key();
    const kind = cursor.peek();
    if (key === 'content' && kind === 'array') eachBlockText(cursor, take);
    else {
      const span = cursor.skipValue();
      if (kind === 'string' && (key === 'text' || key === 'content')) take(span);
    }
  }
}
