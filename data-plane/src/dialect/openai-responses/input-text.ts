/** Takes the text out of a request that has been read, for when its tokens are counted and not bounded. */
import type { Operation } from '@meridian/domain/dialect';
import type { InputText } from '../dialect.ts';
import { valueAt } from '../json-scanner.ts';
import { eachText } from './text-places.ts';

/** What begins the answer in the prompt. */
const REPLY_TOKENS = 3;

/**
 * Texts of messages, tool outputs and instructions. All else of the body (tools, calls, schemas, settings, opaque state) may be written in
 * another notation in the prompt, and keeps the bound by its bytes, as do media; each item keeps its overhead.
 */
export function inputText(_operation: Operation, body: Buffer, inputTokensBound: number): InputText {
  const texts: string[] = [];
  let bytes = 0;
  eachText(body, (span) => {
    let text: unknown;
    try {
      text = valueAt(body, span);
    } catch {
      // A string with errors that the upstream is left to find keeps its bound.
      return;
    }
    if (typeof text !== 'string') return;
    texts.push(text);
    bytes += span.end - span.start;
  });
  return { texts, otherTokensBound: inputTokensBound - bytes + REPLY_TOKENS };
}
