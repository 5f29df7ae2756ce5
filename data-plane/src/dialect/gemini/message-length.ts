/** How long the contents of a request are: the characters of their text, for plans that limit them. */
import { JsonCursor } from '../json-scanner.ts';
import { eachItem, eachMember, eachText, stringAt } from './walk.ts';

interface MessageLength {
  readonly index: number;
  readonly param: string;
  /** UTF-16 units of the text of one content; media are not text. */
  readonly characters: number;
}

/** The longest content of a body that `readPassThrough` has read as a chat request. */
export function longestMessage(body: Buffer): MessageLength {
  let longest: MessageLength = { index: 0, param: 'contents[0]', characters: 0 };
  const cursor = new JsonCursor(body);
  eachMember(cursor, (name) => {
    if (name !== 'contents') {
      cursor.skipValue();
      return;
    }
    eachItem(cursor, (index) => {
      let characters = 0;
      eachText(cursor, (span) => {
        // Of a string with errors that the upstream is left to find, its bytes.
        characters += stringAt(body, span)?.length ?? span.end - span.start;
      });
      if (characters > longest.characters) longest = { index, param: `contents[${index}]`, characters };
    });
  });
  return longest;
}
