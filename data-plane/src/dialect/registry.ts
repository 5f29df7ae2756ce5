/** Every dialect, by its name; of one whose streams can be framed in two ways, both. */
import type { DialectName } from '@meridian/domain/dialect';
import { anthropicMessages } from './anthropic-messages/index.ts';
import type { Dialect } from './dialect.ts';
import { gemini, geminiJsonArray } from './gemini/index.ts';
import { openaiChat } from './openai-chat/index.ts';
import { openaiResponses } from './openai-responses/index.ts';

/** Gemini's streams are events, or one JSON array. */
export type Spoken = DialectName | 'gemini-json-array';

const DIALECTS: Readonly<Record<Spoken, Dialect>> = {
  'anthropic-messages': anthropicMessages,
  gemini,
  'gemini-json-array': geminiJsonArray,
  'openai-chat': openaiChat,
  'openai-responses': openaiResponses,
};

export function dialectOf(spoken: Spoken): Dialect {
  return DIALECTS[spoken];
}

/** In which a client is told that its request could not be read so far as to tell which one it speaks. */
export const WHERE_UNTOLD: Spoken = 'openai-chat';
