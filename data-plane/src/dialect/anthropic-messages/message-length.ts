/** How long the messages of a request are: the characters of their text, for plans that limit them. */
import { JsonCursor, type Span, valueAt } from '../json-scanner.ts';
import { eachBlockText } from './block-texts.ts';

interface MessageLength {
  readonly index: number;
  /** UTF-16 units of the text of one message, with the results in it; media are not text. */
  readonly characters: number;
}

/** The longest message of a body that `readPassThrough` has read. */
export function longestMessage(body: Buffer): MessageLength {
  let longest: MessageLength = { index: 0, characters: 0 };
  const cursor = new JsonCursor(body);
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    if (cursor.key() !== 'messages') {
      cursor.skipValue();
      continue;
    }
    cursor.openArray();
    let index = 0;
    for (let firstMessage = true; cursor.nextElement(firstMessage); firstMessage = false) {
      const characters = charactersOf(cursor);
      if (characters > longest.characters) longest = { index, characters };
      index++;
    }
  }
  return longest;
}

function charactersOf(cursor: JsonCursor): number {
  let characters = 0;
  const count = (span: Span): void => {
    characters += lengthAt(cursor.body, span);
  };
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const isContent = cursor.key() === 'content';
    const kind = cursor.peek();
    if (isContent && kind === 'array') eachBlockText(cursor, count);
    else {
      const span = cursor.skipValue();
      if (isContent && kind === 'string') count(span);
    }
  }
  return characters;
}

/** Of a string with errors that the upstream is left to find, its bytes. */
function lengthAt(body: Buffer, span: Span): number {
  try {
    const text = valueAt(body, span);
    return typeof text === 'string' ? text.length : 0;
  } catch {
    return span.end - span.start;
  }
}
