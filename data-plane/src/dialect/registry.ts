/** Every dialect, by its name; of one whose streams can be framed in two ways, both. */
import type { DialectName } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { anthropicMessages } from './anthropic-messages/index.ts';
import type { Dialect } from './dialect.ts';
import { gemini, geminiJsonArray } from './gemini/index.ts';
import { openaiChat } from './openai-chat/index.ts';
import { openaiResponses } from './openai-responses/index.ts';

/** Gemini's streams are events, or one JSON array. */
export type Spoken = DialectName | 'gemini-json-array';

const DIALECTS: Readonly<Partial<Record<Spoken, Dialect>>> = {
  'anthropic-messages': anthropicMessages,
  gemini,
  'gemini-json-array': geminiJsonArray,
  'openai-chat': openaiChat,
  'openai-responses': openaiResponses,
};

export function dialectOf(spoken: Spoken): Dialect {
  const dialect = DIALECTS[spoken];
  if (dialect === undefined) throw new GatewayError('unsupported_endpoint', { message: `This node does not speak ${spoken}.` });
  return dialect;
}
