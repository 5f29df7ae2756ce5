/** Recorded exchanges of the four dialects, where they are on this machine. They are not part of the project. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DialectName } from '@meridian/domain/dialect';
import { RECORDINGS_FOLDER } from '@meridian/local/recordings';
import { isJson, type Json, objectAt, optionalTextAt, parsed, textAt } from './json.ts';

export interface Recording {
  /** Its path in the folder, without what its ending says. */
  readonly name: string;
  readonly dialect: DialectName;
  readonly isStream: boolean;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** As it came over the wire. */
  readonly answer: Buffer;
  /** Absent where only the answer was recorded. */
  readonly request: RecordedRequest | undefined;
}

export interface RecordedRequest {
  readonly body: Json;
  /** From the path, where the dialect names it there. */
  readonly model: string | undefined;
  readonly isStream: boolean;
}

const DIALECTS: Readonly<Record<string, DialectName>> = {
  chat: 'openai-chat',
  responses: 'openai-responses',
  messages: 'anthropic-messages',
  generate: 'gemini',
};

/** Quoted from documentation: their names tell which API they are of. */
const DOCUMENTED: readonly (readonly [RegExp, DialectName])[] = [
  [/^openai\/documented\/responses-stream/, 'openai-responses'],
  [/^anthropic\/documented\/(err|stream-error)/, 'anthropic-messages'],
  [/^gemini\/documented\/err/, 'gemini'],
];

export const hasRecordings = existsSync(RECORDINGS_FOLDER);

/** All of them, by name; none where the folder is not there. */
export function recordings(): readonly Recording[] {
  if (!hasRecordings) return [];
  const found: Recording[] = [];
  for (const provider of folders(RECORDINGS_FOLDER)) {
    for (const api of folders(join(RECORDINGS_FOLDER, provider))) {
      for (const file of readdirSync(join(RECORDINGS_FOLDER, provider, api)).sort()) {
        const recording = read(`${provider}/${api}/${file}`, DIALECTS[api]);
        if (recording !== undefined) found.push(recording);
      }
    }
  }
  return found;
}

function folders(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}

function read(path: string, byFolder: DialectName | undefined): Recording | undefined {
  const ending = /\.(json|sse|chunks\.txt)$/.exec(path)?.[1];
  const dialect = byFolder ?? DOCUMENTED.find(([pattern]) => pattern.test(path))?.[1];
  if (ending === undefined || dialect === undefined || path.endsWith('.meta.json')) return undefined;
  const bytes = readFileSync(join(RECORDINGS_FOLDER, path));
  const metaPath = join(RECORDINGS_FOLDER, `${path}.meta.json`);
  const meta: unknown = existsSync(metaPath) ? JSON.parse(readFileSync(metaPath, 'utf8')) : {};
  const response = objectAt(meta, 'response');
  return {
    name: path.replace(/\.(json|sse|chunks\.txt)$/, ''),
    dialect,
    isStream: ending !== 'json',
    status: typeof response.status === 'number' ? response.status : 200,
    headers: Object.fromEntries(Object.entries(objectAt(response, 'headers')).map(([key, value]) => [key.toLowerCase(), String(value)])),
    answer: ending === 'chunks.txt' ? framed(bytes.toString('utf8'), dialect) : bytes,
    request: readRequest(objectAt(meta, 'request')),
  };
}

function readRequest(request: Json): RecordedRequest | undefined {
  if (!isJson(request.body)) return undefined;
  const url = textAt(request, 'url');
  const path = /\/models\/([^:?]+):(\w+)/.exec(url);
  return {
    body: request.body,
    model: path?.[1] ?? optionalTextAt(request.body, 'model'),
    isStream: path === null ? request.body.stream === true : path[2] === 'streamGenerateContent',
  };
}

/** One payload a line, as some recordings are kept, in the framing of the dialect's streams. */
function framed(text: string, dialect: DialectName): Buffer {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const named = dialect === 'anthropic-messages' || dialect === 'openai-responses';
  const events = lines.map((line) => `${named ? `event: ${textAt(parsed(line), 'type')}\n` : ''}data: ${line}\n\n`);
  return Buffer.from(events.join('') + (dialect === 'openai-chat' ? 'data: [DONE]\n\n' : ''));
}
