/** A client's text message → what it asks for. The request in it stays as the bytes that came, but for what only the envelope needs. */
import { GatewayError } from '@meridian/domain/error';
import { JsonCursor, JsonKeyError, JsonSyntaxError, knownKey, noteOnce, type Span, valueAt } from '../../dialect/json-scanner.ts';
import { joined } from './conversation.ts';
import { refusal } from './refusal.ts';

/** `response.create` */
export interface CreateMessage {
  readonly kind: 'create';
  readonly streamId: string | undefined;
  /** False: the request is only made ready, for turns that follow it. */
  readonly generate: boolean;
  readonly previousResponseId: string | undefined;
  /** The items of `input`, joined by commas; undefined where there is no input at all. */
  readonly items: Buffer | undefined;
  /** Stands among the members too. */
  readonly model: string | undefined;
  /** The JSON of `tools`, which stands among the members too. */
  readonly tools: Buffer | undefined;
  /** The JSON of `include`. */
  readonly include: Buffer | undefined;
  /** All other members of the request, joined by commas. */
  readonly members: Buffer;
}

/** `response.steer`: more input for a turn that runs. */
export interface SteerMessage {
  readonly kind: 'steer';
  readonly previousResponseId: unknown;
  readonly input: unknown;
}

/** Nothing is to be done. */
export interface AcknowledgedMessage {
  readonly kind: 'acknowledged';
}

export type ClientMessage = CreateMessage | SteerMessage | AcknowledgedMessage;

/** A refusal of a message that names a lane goes to that lane. */
export class RefusedMessage extends Error {
  readonly why: GatewayError;
  readonly streamId: string | undefined;

  constructor(why: GatewayError, streamId: string | undefined) {
    super(why.message);
    this.name = 'RefusedMessage';
    this.why = why;
    this.streamId = streamId;
  }
}

const GOES_ON: ReadonlySet<string | undefined> = new Set([undefined, 'model', 'tools']);
const STREAM_ID = /^[A-Za-z0-9_.-]{1,256}$/;
const MAX_SHOWN_CHARACTERS = 64;
/** Read here; of these only the model and the tools go on as they stand. */
const ENVELOPE: ReadonlySet<string> = new Set([
  'type',
  'event_id',
  'response',
  'stream_id',
  'generate',
  'previous_response_id',
  'input',
  'include',
  'model',
  'tools',
  'stream',
  'background',
]);
const NO_ITEMS = Buffer.alloc(0);
const OPEN_BRACE = 0x7b;
/** Of `null`. */
const LETTER_N = 0x6e;

/** Throws RefusedMessage. The buffers of what is returned are parts of `text`. */
export function readMessage(text: Buffer): ClientMessage {
  let streamId: string | undefined;
  try {
    const found = new Map<string, Span>();
    const members: Buffer[] = [];
    readMembers(text, { start: 0, end: text.length }, found, members);
    const type = value(text, found, 'type');
    streamId = streamIdOf(value(text, found, 'stream_id'));
    // Sent by some clients when they have worked through an answer.
    if (type === 'response.processed') return { kind: 'acknowledged' };
    const nested = found.get('response');
    if (nested !== undefined && text[nested.start] !== LETTER_N) readNested(text, nested, found, members);
    if (type === 'response.steer') {
      return { kind: 'steer', previousResponseId: value(text, found, 'previous_response_id'), input: value(text, found, 'input') };
    }
    if (type !== 'response.create') throw unknownType(type);
    return createOf(text, found, members, streamId);
  } catch (thrown) {
    throw new RefusedMessage(refusalOf(thrown), streamId);
  }
}

function createOf(text: Buffer, found: ReadonlyMap<string, Span>, members: Buffer[], streamId: string | undefined): CreateMessage {
  const generate = value(text, found, 'generate') ?? true;
  if (typeof generate !== 'boolean') throw invalid("'generate' must be a boolean.", 'generate');
  const previousResponseId = value(text, found, 'previous_response_id') ?? undefined;
  if (previousResponseId !== undefined && typeof previousResponseId !== 'string') {
    throw invalid("'previous_response_id' must be a string.", 'previous_response_id');
  }
  if (value(text, found, 'background') === true) {
    throw invalid("'background' cannot be asked for over a WebSocket.", 'background');
  }
  const model = value(text, found, 'model');
  return {
    kind: 'create',
    streamId,
    generate,
    previousResponseId,
    items: itemsOfInput(text, found.get('input')),
    model: typeof model === 'string' ? model : undefined,
    tools: bytesOf(text, found, 'tools'),
    include: bytesOf(text, found, 'include'),
    members: joined(members),
  };
}

/** Notes where the envelope's members stand, and collects the bytes of all others, names included. */
function readMembers(text: Buffer, span: Span, found: Map<string, Span>, members: Buffer[]): void {
  const cursor = new JsonCursor(text, span);
  if (cursor.peek() !== 'object') throw invalid('A message must be a JSON object.');
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const nameStart = cursor.keyStart - 1;
    const key = knownKey(cursor, ENVELOPE);
    const at = cursor.skipValue();
    if (key !== undefined) noteOnce(found, key, at);
    if (GOES_ON.has(key)) members.push(text.subarray(nameStart, at.end));
  }
  cursor.finish();
}

/** The request may stand in an object of its own, beside the envelope. */
function readNested(text: Buffer, nested: Span, found: Map<string, Span>, members: Buffer[]): void {
  if (text[nested.start] !== OPEN_BRACE) throw invalid("'response' must be an object.", 'response');
  readMembers(text, nested, found, members);
}

function itemsOfInput(text: Buffer, span: Span | undefined): Buffer | undefined {
  if (span === undefined) return undefined;
  const cursor = new JsonCursor(text, span);
  switch (cursor.peek()) {
    case 'null':
      return undefined;
    case 'string':
      return Buffer.concat([
        Buffer.from('{"type":"message","role":"user","content":'),
        text.subarray(span.start, span.end),
        Buffer.from('}'),
      ]);
    case 'array': {
      cursor.openArray();
      return cursor.nextElement(true) ? text.subarray(cursor.position, span.end - 1) : NO_ITEMS;
    }
    default:
      throw invalid("'input' must be a string or an array of items.", 'input');
  }
}

function streamIdOf(given: unknown): string | undefined {
  if (given === undefined) return undefined;
  if (typeof given === 'string' && STREAM_ID.test(given)) return given;
  throw refusal(
    'invalid_stream_id',
    "The 'stream_id' field must be a non-empty string of at most 256 characters: letters, numbers, underscores, hyphens and periods.",
    'stream_id',
  );
}

function value(text: Buffer, found: ReadonlyMap<string, Span>, name: string): unknown {
  const span = found.get(name);
  return span === undefined ? undefined : valueAt(text, span);
}

function bytesOf(text: Buffer, found: ReadonlyMap<string, Span>, name: string): Buffer | undefined {
  const span = found.get(name);
  return span === undefined ? undefined : text.subarray(span.start, span.end);
}

function unknownType(type: unknown): GatewayError {
  if (typeof type !== 'string') return invalid("A message must have a 'type': response.create.", 'type');
  const hint = type === 'response.cancel' ? ' Close the connection to cancel what runs.' : '';
  const message = `Messages of type '${type.slice(0, MAX_SHOWN_CHARACTERS)}' are not supported. Send response.create.${hint}`;
  return refusal('unknown_event_type', message, 'type');
}

function invalid(message: string, param?: string): GatewayError {
  return new GatewayError('invalid_request_error', { message, ...(param === undefined ? {} : { param }) });
}

/** Anything that reading can throw. */
function refusalOf(thrown: unknown): GatewayError {
  if (thrown instanceof JsonSyntaxError) return refusal('invalid_json', `The message is not valid JSON: ${thrown.message}.`);
  if (thrown instanceof JsonKeyError) return invalid(thrown.message, thrown.key);
  // Inside strings that the scanner jumps over, the grammar is checked when they are read.
  if (thrown instanceof SyntaxError) return refusal('invalid_json', 'The message is not valid JSON.');
  return GatewayError.from(thrown);
}
