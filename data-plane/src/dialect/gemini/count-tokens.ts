/** How many tokens a request has (`countTokens`): contents alone, or all of a request for generated content. */
import { isUtf8 } from 'node:buffer';
import type { Counting, PassThroughRequest, RequestPlace } from '../dialect.ts';
import { invalid } from '../json.ts';
import { JsonCursor, JsonKeyError, JsonSyntaxError, noteOnce, type Span } from '../json-scanner.ts';
import { readPassThrough } from './pass-through-request.ts';
import { memberName } from './walk.ts';

/** Throws GatewayError 400. The upstream is sent the same form, with its own name of the model. */
function read(body: Buffer, place: RequestPlace): PassThroughRequest {
  const span = wholeRequest(body);
  if (span === undefined) return readPassThrough('chat', body, place);
  const { facts, rewrite } = readPassThrough('chat', body.subarray(span.start, span.end), place);
  return { facts, rewrite: (edits) => [body.subarray(0, span.start), ...rewrite(edits), body.subarray(span.end)] };
}

/** Where the request stands that is to be counted as a whole; undefined where the body has contents alone. */
function wholeRequest(body: Buffer): Span | undefined {
  if (!isUtf8(body)) throw invalid('The request body is not valid UTF-8.');
  const spans = new Map<string, Span>();
  try {
    const cursor = new JsonCursor(body);
    cursor.openObject();
    for (let first = true; cursor.nextKey(first); first = false) {
      const name = memberName(cursor);
      const span = cursor.skipValue();
      if (name === 'generateContentRequest') noteOnce(spans, name, span);
    }
  } catch (error) {
    if (error instanceof JsonSyntaxError) throw invalid(`The request body is not valid JSON: ${error.message}.`);
    if (error instanceof JsonKeyError) throw invalid(error.message, error.key);
    throw error;
  }
  return spans.get('generateContentRequest');
}

function requestIn(body: Buffer): Buffer | undefined {
  const span = wholeRequest(body);
  return span === undefined ? undefined : body.subarray(span.start, span.end);
}

export const counting: Counting = { read, requestIn, answer: (totalTokens) => ({ totalTokens }) };
