// Plays recorded exchanges by name: the model `sim/<name>` answers with the recording's status, headers and bytes.

import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { ApiError } from './api-error.ts';
import { isObject, type JsonObject, type JsonValue } from './json-value.ts';
import { type Reply, type Segment, segment, streamReply, wholeReply } from './reply.ts';

type Extension = 'json' | 'sse' | 'chunks.txt' | 'jsonl';

interface Recording {
  file: string;
  extension: Extension;
  /** The file's folders and name without step and extension, such as `openai/chat/ev-chat-streaming`. */
  name: string;
  /** Its place in a sequence; 0 outside one. */
  step: number;
}

const FILE = /^(.*?)(?:\.(\d+))?\.(json|sse|chunks\.txt|jsonl)$/;
// These belong to the connection the recording was made on, not to this one.
const CONNECTION_HEADERS = new Set(['connection', 'content-encoding', 'content-length', 'date', 'keep-alive', 'transfer-encoding']);
const TYPES: Record<Extension, string> = {
  json: 'application/json',
  sse: 'text/event-stream; charset=utf-8',
  'chunks.txt': 'text/event-stream; charset=utf-8',
  jsonl: 'application/x-ndjson',
};

function listRecordings(folder: string): Recording[] {
  let files: string[];
  try {
    files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  } catch {
    return [];
  }
  const found: Recording[] = [];
  for (const file of files.sort()) {
    if (file.endsWith('.meta.json')) continue;
    const match = FILE.exec(relative('.', file).split(sep).join('/'));
    if (match === null) continue;
    const [, name = '', step, extension] = match;
    found.push({ file: join(folder, file), extension: extension as Extension, name, step: Number(step ?? 0) });
  }
  return found;
}

/** The `type` of a payload; read without parsing, because one recording holds payloads that are cut short. */
function eventType(payload: string): string {
  return /"type": ?"([^"]+)"/.exec(payload)?.[1] ?? 'message';
}

/** The bytes on the wire of a recording: `.chunks.txt` holds bare payloads, the framing depends on the API. */
export function recordedBytes(file: string): Buffer {
  const raw = readFileSync(file);
  if (!file.endsWith('.chunks.txt')) return raw;
  const api = file.split(/[/\\]/).at(-2) ?? '';
  const named = api === 'messages' || api === 'responses';
  const events = raw
    .toString('utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => (named ? `event: ${eventType(line)}\ndata: ${line}\n\n` : `data: ${line}\n\n`));
  if (api === 'chat') events.push('data: [DONE]\n\n');
  return Buffer.from(events.join(''));
}

/** Finds the usage in a payload of any dialect; a later one overrides an earlier one field by field. */
function usageIn(payload: JsonValue): JsonObject | null {
  if (Array.isArray(payload)) {
    for (const item of payload) {
      const inner = usageIn(item);
      if (inner !== null) return inner;
    }
    return null;
  }
  if (!isObject(payload)) return null;
  for (const holder of [payload, payload.message, payload.response, payload.interaction, payload.delta]) {
    if (!isObject(holder)) continue;
    const usage = holder.usage ?? holder.usageMetadata;
    if (isObject(usage)) return usage;
  }
  return null;
}

function parsed(text: string): JsonValue {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The id of the answer, wherever the dialect puts it. */
function idIn(payload: JsonValue): string | null {
  if (!isObject(payload)) return null;
  for (const holder of [payload, payload.message, payload.response, payload.interaction]) {
    if (isObject(holder) && typeof holder.id === 'string') return holder.id;
  }
  return null;
}

/** One segment per event; the last that changes the usage carries it. */
function eventSegments(bytes: Buffer): { segments: Segment[]; usage: JsonObject | null; id: string | null } {
  const segments: Segment[] = [];
  let usage: JsonObject | null = null;
  let id: string | null = null;
  let holder: Segment | null = null;
  // latin1 keeps one character a byte, so that offsets of the text are offsets of the bytes.
  const parts = bytes.toString('latin1').match(/[\s\S]*?(?:\r\n\r\n|\n\n|\r\r|$)/g) ?? [];
  for (const part of parts) {
    if (part === '') continue;
    const whole = Buffer.from(part, 'latin1');
    const data = [...whole.toString('utf8').matchAll(/^data: ?(.*?)\r?$/gm)].map((match) => match[1]).join('\n');
    const own: Segment = { bytes: whole, pieces: data === '' || data === '[DONE]' ? 0 : 1, events: data === '' ? 0 : 1, usage: false };
    const payload = parsed(data);
    id ??= idIn(payload);
    const found = usageIn(payload);
    if (found !== null) {
      usage = usage === null ? found : Object.assign({}, usage, found);
      holder = own;
    }
    segments.push(own);
  }
  if (holder !== null) holder.usage = true;
  return { segments, usage, id };
}

function metaOf(file: string): { status: number; headers: string[] } {
  let meta: JsonValue = null;
  try {
    meta = JSON.parse(readFileSync(`${file}.meta.json`, 'utf8'));
  } catch {
    // Recordings without a sidecar are plain successes.
  }
  const response = isObject(meta) && isObject(meta.response) ? meta.response : {};
  const headers: string[] = [];
  for (const [name, value] of Object.entries(isObject(response.headers) ? response.headers : {})) {
    // Some recordings hold a placeholder such as <REQUEST_ID> instead of a value.
    if (typeof value !== 'string' || CONNECTION_HEADERS.has(name.toLowerCase()) || /^<.*>$/.test(value)) continue;
    headers.push(name, value);
  }
  return { status: typeof response.status === 'number' ? response.status : 200, headers };
}

/** What a recording answers, and the account of it. */
export interface Replayed {
  reply: Reply;
  usage: JsonObject | null;
  id: string | null;
}

/** The recordings of one folder, and how far each sequence has been played. */
export class ReplayLibrary {
  readonly #folder: string | null;
  #recordings: Recording[] | null = null;
  readonly #played = new Map<string, number>();
  readonly #loaded = new Map<string, Replayed>();

  constructor(folder: string | null) {
    this.#folder = folder;
  }

  /** The recording names, for listings and tests. */
  names(): string[] {
    return [...new Set(this.#all().map((recording) => recording.name))];
  }

  /** Plays `name`: with a step (`name.2`) that one, without it the next of the sequence, starting over at its end. */
  play(name: string, stream: boolean): Replayed {
    const exact = this.#matching(name.replace(/\.\d+$/, ''), Number(/\.(\d+)$/.exec(name)?.[1] ?? 0) || null);
    const all = exact.length > 0 ? exact : this.#matching(name, null);
    if (all.length === 0) {
      const where = this.#folder === null ? 'no folder of recordings was given' : `there is none in ${this.#folder}`;
      throw new ApiError(404, `No recording is named '${name}': ${where}.`, { code: 'recording_not_found', param: 'model' });
    }
    const steps = [...new Set(all.map((recording) => recording.step))].sort((a, b) => a - b);
    const turn = this.#played.get(name) ?? 0;
    this.#played.set(name, turn + 1);
    const step = steps[turn % steps.length];
    const same = all.filter((recording) => recording.step === step);
    const fits = (recording: Recording): boolean => (recording.extension === 'sse' || recording.extension === 'chunks.txt') === stream;
    const chosen = same.find(fits) ?? same[0];
    if (chosen === undefined) throw new ApiError(404, `The recording '${name}' is empty.`, { code: 'recording_not_found' });
    return this.#load(chosen);
  }

  #all(): Recording[] {
    this.#recordings ??= this.#folder === null ? [] : listRecordings(this.#folder);
    return this.#recordings;
  }

  #matching(name: string, step: number | null): Recording[] {
    return this.#all().filter((recording) => {
      const named = recording.name === name || recording.name.endsWith(`/${name}`);
      return named && (step === null || recording.step === step);
    });
  }

  #load(recording: Recording): Replayed {
    const known = this.#loaded.get(recording.file);
    if (known !== undefined) return known;
    const bytes = recordedBytes(recording.file);
    const { status, headers } = metaOf(recording.file);
    const typed = headers.some((header, at) => at % 2 === 0 && header.toLowerCase() === 'content-type');
    const all = typed ? headers : ['content-type', TYPES[recording.extension], ...headers];
    let replayed: Replayed;
    if (recording.extension === 'sse' || recording.extension === 'chunks.txt') {
      const { segments, usage, id } = eventSegments(bytes);
      replayed = { reply: streamReply(status, all, segments.length > 0 ? segments : [segment('', { events: 0 })]), usage, id };
    } else {
      const body = parsed(bytes.toString('utf8'));
      const usage = usageIn(body);
      const id = idIn(body);
      const reply = wholeReply(status, all, '', { pieces: status < 400 ? 1 : 0, usage: usage !== null });
      const whole = { bytes, pieces: status < 400 ? 1 : 0, events: 1, usage: usage !== null };
      replayed = { reply: { ...reply, segments: [whole], length: bytes.length }, usage, id };
    }
    this.#loaded.set(recording.file, replayed);
    return replayed;
  }
}
