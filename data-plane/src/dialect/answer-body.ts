/** The border of an answer's bytes, the same in all dialects: what cannot be read is the provider's fault. */
import { GatewayError } from '@meridian/domain/error';
import { isObject, type JsonObject } from './json.ts';
import { JsonCursor, JsonKeyError, JsonSyntaxError, knownKey, noteOnce, type Span, valueAt } from './json-scanner.ts';

export function unreadable(cause: unknown): GatewayError {
  return new GatewayError('upstream_error', { source: 'upstream', message: "The provider's answer could not be read.", cause });
}

/** Runs what reads an answer. Throws GatewayError `upstream_error` for what is no JSON, or is nested beyond what can be walked. */
export function readAnswerBody<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw isUnreadable(error) ? unreadable(error) : error;
  }
}

function isUnreadable(error: unknown): boolean {
  return error instanceof JsonSyntaxError || error instanceof JsonKeyError || error instanceof SyntaxError || error instanceof RangeError;
}

/** All of an answer, for those who read it whole: they need no spans. Throws as `readAnswerBody` has it, and for any value but an object. */
export function parseAnswer(body: Buffer, parse: (text: string) => unknown = JSON.parse): JsonObject {
  const fields = parse(body.toString('utf8'));
  if (!isObject(fields)) throw unreadable('an answer that is not an object');
  return fields;
}

/** The members of an answer's object that are looked at: where they stand, and their values. */
export interface AnswerMembers {
  readonly spans: ReadonlyMap<string, Span>;
  /** Parsed anew with each call; undefined for a member that is not there. */
  field(key: string): unknown;
}

/** Throws JsonSyntaxError for what is no JSON object, JsonKeyError for a key that stands twice. */
export function answerMembers(body: Buffer, keys: ReadonlySet<string>): AnswerMembers {
  const cursor = new JsonCursor(body);
  const spans = new Map<string, Span>();
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = knownKey(cursor, keys);
    const span = cursor.skipValue();
    if (key !== undefined) noteOnce(spans, key, span);
  }
  cursor.finish();
  return {
    spans,
    field: (key) => {
      const span = spans.get(key);
      return span === undefined ? undefined : valueAt(body, span);
    },
  };
}
