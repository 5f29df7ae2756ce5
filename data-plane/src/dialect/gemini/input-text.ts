/** Takes the text out of a request that has been read, for when its tokens are counted and not bounded. */
import type { Operation } from '@meridian/domain/dialect';
import type { InputText } from '../dialect.ts';
import { JsonCursor, type Span } from '../json-scanner.ts';
import { eachItem, eachMember, eachText, stringAt } from './walk.ts';

/** What begins the answer in the prompt of a chat. */
const REPLY_TOKENS = 3;

/**
 * What stands in the prompt as it was written: the texts of contents and of the system instruction, and those to be embedded. All else of
 * the body (tools, calls, schemas, settings) may be written in another notation there, and keeps the bound by its bytes, as do media; each
 * content keeps its overhead.
 */
export function inputText(operation: Operation, body: Buffer, inputTokensBound: number): InputText {
  const texts: string[] = [];
  let bytes = 0;
  const cursor = new JsonCursor(body);
  const take = (span: Span): void => {
    const text = stringAt(body, span);
    if (text === undefined) return;
    texts.push(text);
    bytes += span.end - span.start;
  };
  const contentNames = operation === 'embeddings' ? EMBEDDED : PROMPTED;
  const visit = (name: string): void => {
    if (contentNames.has(name)) eachItemOrText(cursor, take);
    // A request that is only counted.
    else if (name === 'generateContentRequest') eachMember(cursor, visit);
    else if (operation === 'embeddings' && name === 'requests') {
      eachItem(cursor, () => {
        eachMember(cursor, (inner) => {
          if (inner === 'content') eachText(cursor, take);
          else cursor.skipValue();
        });
      });
    } else cursor.skipValue();
  };
  eachMember(cursor, visit);
  return { texts, otherTokensBound: inputTokensBound - bytes + (operation === 'embeddings' ? 0 : REPLY_TOKENS) };
}

const PROMPTED: ReadonlySet<string> = new Set(['contents', 'systemInstruction']);
const EMBEDDED: ReadonlySet<string> = new Set(['content']);

function eachItemOrText(cursor: JsonCursor, take: (span: Span) => void): void {
  if (cursor.peek() === 'string') take(cursor.skipValue());
  else eachItem(cursor, () => eachText(cursor, take));
}
