/** The border of an answer's bytes, the same in all dialects: what cannot be read is the provider's fault. */
import { GatewayError } from '@meridian/domain/error';
import { isObject, type JsonObject } from './json.ts';
import { JsonCursor, JsonKeyError, JsonSyntaxError, knownKey, MAX_NESTING_LEVELS, noteOnce, type Span, valueAt } from './json-scanner.ts';

export function unreadable(cause: unknown): GatewayError {
  return new GatewayError('upstream_error', { source: 'upstream', message: "The provider's answer could not be read.", cause });
}

/** Runs what reads an answer. Throws GatewayError `upstream_error` for what is no JSON, or is nested beyond the limit. */
export function readAnswerBody<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw isUnreadable(error) ? unreadable(error) : error;
  }
}

function isUnreadable(error: unknown): boolean {
  return error instanceof JsonSyntaxError || error instanceof JsonKeyError || error instanceof SyntaxError;
}

/** All of an answer, for those who read it whole: they need no spans. Throws as `readAnswerBody` has it, and for any value but an object. */
export function parseAnswer(body: Buffer, parse: (text: string) => unknown = JSON.parse): JsonObject {
  const text = body.toString('utf8');
  const fields = parse(text);
  if (!isObject(fields)) throw unreadable('an answer that is not an object');
  if (mayBeDeep(text)) refuseDeep(fields, MAX_NESTING_LEVELS);
  return fields;
}

/** The limit that the cursor has. Only a text with so many brackets can reach it, which next to none has. */
function refuseDeep(value: unknown, levels: number): void {
  if (typeof value !== 'object' || value === null) return;
  if (levels === 0) throw unreadable(`more than ${MAX_NESTING_LEVELS} levels of nesting`);
  for (const member of Array.isArray(value) ? value : Object.values(value)) refuseDeep(member, levels - 1);
}

function mayBeDeep(text: string): boolean {
  let brackets = 0;
  for (const bracket of ['{', '[']) {
    for (let at = text.indexOf(bracket); at !== -1; at = text.indexOf(bracket, at + 1)) {
      if (++brackets > MAX_NESTING_LEVELS) return true;
    }
  }
  return false;
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
