/** An answer as an upstream of one dialect gives it. */
import type { DialectName } from '@meridian/domain/dialect';
import type { AnswerReading } from '../answer-reading.ts';
import type { Json } from '../json.ts';
import type { PerDialect } from './request-case.ts';

export interface AnswerCase {
  readonly number: number;
  readonly what: string;
  readonly upstream: DialectName;
  /** A JSON answer, or the events of a stream: objects that are framed as the dialect does, or texts that stand as they are. */
  readonly body?: Json;
  readonly events?: readonly (Json | string)[];
  /** The client asks for no usage in its stream, where it can be asked. */
  readonly withoutUsage?: boolean;
  /** Kinds of differences that this client has to live with, each by the name of what is lost; `refuse` for an error of ours. */
  readonly lost?: PerDialect<readonly string[] | 'refuse'>;
  /** Kinds of differences in what this client cannot have asked for. */
  readonly unasked?: PerDialect<readonly string[]>;
  /** What a client must read; each text is a complaint. */
  readonly check?: (got: AnswerReading, client: DialectName, bytes: string) => readonly string[];
  /** Clients that can have asked for it; absent: all. */
  readonly onlyFor?: readonly DialectName[];
  /** There is no turn after it. */
  readonly isFinal?: boolean;
  /** In the client's request, for answers that depend on it. */
  readonly asked?: PerDialect<Json>;
}

/** The bytes of a stream in the framing of its dialect. */
export function framedEvents(dialect: DialectName, events: readonly (Json | string)[]): Buffer {
  return Buffer.from(
    events
      .map((event) => {
        if (typeof event === 'string') return event;
        const data = JSON.stringify(event);
        // One family writes CRLF.
        if (dialect === 'gemini') return `data: ${data}\r\n\r\n`;
        const named = dialect === 'anthropic-messages' || dialect === 'openai-responses';
        return `${named ? `event: ${String(event.type)}\n` : ''}data: ${data}\n\n`;
      })
      .join(''),
  );
}
