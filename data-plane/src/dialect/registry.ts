/** Every dialect, by its name; of one whose streams can be framed in two ways, both. */
import type { DialectName } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import type { Dialect } from './dialect.ts';
import { openaiChat } from './openai-chat/index.ts';

/** Gemini's streams are events, or one JSON array. */
export type Spoken = DialectName | 'gemini-json-array';

const DIALECTS: Readonly<Partial<Record<Spoken, Dialect>>> = {
  'openai-chat': openaiChat,
};

export function dialectOf(spoken: Spoken): Dialect {
  const dialect = DIALECTS[spoken];
  if (dialect === undefined) throw new GatewayError('unsupported_endpoint', { message: `This node does not speak ${spoken}.` });
  return dialect;
}
