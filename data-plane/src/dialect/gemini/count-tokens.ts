/** How many tokens a request has: what is asked, and the answer. */
import { invalid } from '../json.ts';
import { JsonCursor, JsonKeyError, JsonSyntaxError, noteOnce, type Span } from '../json-scanner.ts';
import { memberName } from './walk.ts';

/**
 * The request that is to be counted, as `readPassThrough('chat', …)` reads it: that of `generateContentRequest`, else the body itself, which
 * has contents alone. Throws GatewayError 400.
 */
export function countedRequest(body: Buffer): Buffer {
  try {
    const cursor = new JsonCursor(body);
    const spans = new Map<string, Span>();
    cursor.openObject();
    for (let first = true; cursor.nextKey(first); first = false) {
      const name = memberName(cursor);
      const span = cursor.skipValue();
      if (name === 'generateContentRequest') noteOnce(spans, name, span);
    }
    cursor.finish();
    const span = spans.get('generateContentRequest');
    return span === undefined ? body : body.subarray(span.start, span.end);
  } catch (error) {
    if (error instanceof JsonSyntaxError) throw invalid(`The request body is not valid JSON: ${error.message}.`);
    if (error instanceof JsonKeyError) throw invalid(error.message, error.key);
    throw error;
  }
}

export function renderTokenCount(totalTokens: number): Buffer {
  return Buffer.from(JSON.stringify({ totalTokens }));
}
