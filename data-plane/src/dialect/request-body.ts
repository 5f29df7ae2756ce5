/** The border of a request's bytes, the same in all dialects: what cannot be read is told as the client's mistake. */
import { isUtf8 } from 'node:buffer';
import { invalid } from './json.ts';
import { JsonCursor, JsonKeyError, JsonSyntaxError } from './json-scanner.ts';

/** Runs what reads a body. Throws GatewayError 400 for an empty one, for what is no UTF-8 or JSON, and for keys that are refused. */
export function readRequestBody<T>(body: Buffer, read: () => T): T {
  if (body.length === 0) throw invalid('The request body is empty.');
  if (!isUtf8(body)) throw invalid('The request body is not valid UTF-8.');
  try {
    return read();
  } catch (error) {
    if (error instanceof JsonSyntaxError) throw invalid(`The request body is not valid JSON: ${error.message}.`);
    if (error instanceof JsonKeyError) throw invalid(error.message, error.key);
    // What the cursor jumps over in a long document shows when it is one of the values that are read.
    if (error instanceof SyntaxError) throw invalid('The request body is not valid JSON.', undefined, error);
    throw error;
  }
}

/** The cursor inside the body's object. Throws GatewayError 400 for any other value. */
export function openBody(body: Buffer): JsonCursor {
  const cursor = new JsonCursor(body);
  if (cursor.peek() !== 'object') {
    cursor.skipValue();
    cursor.finish();
    throw invalid('The request body must be a JSON object.');
  }
  cursor.openObject();
  return cursor;
}
