/** Goes over a request by its bytes: contents, their parts, and the members of those, in either spelling of their names. */
import { type JsonCursor, type Span, valueAt } from '../json-scanner.ts';
import { camelName } from './proto-json.ts';

/** The name of the member that the cursor has just read the key of, in camelCase. */
export function memberName(cursor: JsonCursor): string {
  const key = cursor.key();
  return key.includes('_') ? camelName(key) : key;
}

/** Each element of a list, or the one object that stands in its place; `visit` must go over it. Anything else is skipped. */
export function eachItem(cursor: JsonCursor, visit: (index: number) => void): void {
  const kind = cursor.peek();
  if (kind === 'object') {
    visit(0);
    return;
  }
  if (kind !== 'array') {
    cursor.skipValue();
    return;
  }
  cursor.openArray();
  let index = 0;
  for (let first = true; cursor.nextElement(first); first = false) visit(index++);
}

/** Each member of an object; `visit` must go over its value. Anything but an object is skipped. */
export function eachMember(cursor: JsonCursor, visit: (name: string) => void): void {
  if (cursor.peek() !== 'object') {
    cursor.skipValue();
    return;
  }
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) visit(memberName(cursor));
}

/** The places of the texts of one content, given as an object with `parts` or, for an instruction, as a text. */
export function eachText(cursor: JsonCursor, take: (span: Span) => void): void {
  if (cursor.peek() === 'string') {
    take(cursor.skipValue());
    return;
  }
  eachMember(cursor, (name) => {
    if (name !== 'parts') {
      cursor.skipValue();
      return;
    }
    eachItem(cursor, () => {
      eachMember(cursor, (member) => {
        const isText = member === 'text' && cursor.peek() === 'string';
        const span = cursor.skipValue();
        if (isText) take(span);
      });
    });
  });
}

/** The string that stands in a span; undefined for one with errors that the upstream is left to find, and for anything else. */
export function stringAt(body: Buffer, span: Span): string | undefined {
  try {
    const value = valueAt(body, span);
    return typeof value === 'string' ? value : undefined;
  } catch {
    return undefined;
  }
}
