/** How long the messages of a request are: the characters of their text, for plans that limit them. */
import { valueAt } from '../json-scanner.ts';
import { eachText, INSTRUCTIONS } from './text-places.ts';

interface MessageLength {
  readonly index: number;
  /** UTF-16 units of the text of one item; media are not text. */
  readonly characters: number;
  /** Where it stands. */
  readonly param: string;
}

/** The item with the longest text, or the instructions, of a body that `readPassThrough` has read. */
export function longestMessage(body: Buffer): MessageLength {
  const lengths = new Map<number, number>();
  eachText(body, (span, item) => {
    let characters = span.end - span.start;
    try {
      characters = String(valueAt(body, span)).length;
    } catch {
      // Of a string with errors that the upstream is left to find, its bytes.
    }
    lengths.set(item, (lengths.get(item) ?? 0) + characters);
  });
  let longest: MessageLength = { index: 0, characters: 0, param: 'input' };
  for (const [item, characters] of lengths) {
    if (characters <= longest.characters) continue;
    longest = { index: Math.max(0, item), characters, param: item === INSTRUCTIONS ? 'instructions' : `input[${item}]` };
  }
  return longest;
}
