/** What the tests of this dialect share: recorded answers where they are there, and streams as they are written. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Request } from '../../canonical/request.ts';
import { decodeRequest } from './request.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open');
/** Whether the recorded exchanges are on this machine. */
export const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded answers in ${FIXTURES}`);

/** One of them was shortened by its authors until it could not be parsed. */
const UNREADABLE = /vc-parallel-tool-call-wrapper/;

export interface Recorded {
  readonly name: string;
  readonly bytes: Buffer;
}

function recorded(endings: readonly string[]): string[] {
  if (!present) return [];
  return readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' }).filter(
    (name) =>
      name.includes('/responses/') &&
      !name.endsWith('.meta.json') &&
      !UNREADABLE.test(name) &&
      endings.some((ending) => name.endsWith(ending)),
  );
}

export function recordedStreams(): Recorded[] {
  return recorded(['.sse', '.chunks.txt']).map((name) => {
    const bytes = readFileSync(join(FIXTURES, name));
    if (name.endsWith('.sse')) return { name, bytes };
    const events = bytes
      .toString()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Json);
    // Some files hold the streams of several turns.
    const end = events.findIndex(({ type }) => type === 'response.completed');
    return { name, bytes: sse(...events.slice(0, end === -1 ? undefined : end + 1)) };
  });
}

export function recordedAnswers(): Recorded[] {
  return recorded(['.json']).map((name) => ({ name, bytes: readFileSync(join(FIXTURES, name)) }));
}

export type Json = Record<string, unknown>;

/** Events as a provider writes them. */
export function sse(...events: readonly Json[]): Buffer {
  return Buffer.from(events.map((event) => `event: ${String(event.type)}\ndata: ${JSON.stringify(event)}\n\n`).join(''));
}

/** The data of the events in a stream. */
export function eventsOf(stream: Buffer | readonly Buffer[]): Json[] {
  const text = (Buffer.isBuffer(stream) ? stream : Buffer.concat([...stream])).toString();
  return text
    .split('\n\n')
    .filter((block) => block !== '')
    .map((block) => {
      const [name, data] = block.split('\n');
      const event: Json = JSON.parse((data ?? '').slice('data: '.length));
      if (name !== `event: ${String(event.type)}`) throw new Error(`an event of another name than its type: ${name}`);
      return event;
    });
}

export function requestOf(fields: Json = {}): Request {
  return decodeRequest(Buffer.from(JSON.stringify({ model: 'm', input: 'Hi', ...fields })));
}
