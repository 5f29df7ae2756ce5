/** The reader of each dialect's answers. */
import type { DialectName } from '@meridian/domain/dialect';
import type { AnswerReading } from './answer-reading.ts';
import { readChatAnswer, readChatStream } from './read-chat-answer.ts';
import { readGeminiAnswer, readGeminiStream } from './read-gemini-answer.ts';
import { readMessagesAnswer, readMessagesStream } from './read-messages-answer.ts';
import { readResponsesAnswer, readResponsesStream } from './read-responses-answer.ts';

/** `wantsUsage`: the client asked for usage in its stream, in the dialect where that can be asked. */
export function readAnswer(dialect: DialectName, bytes: Buffer, isStream: boolean, wantsUsage: boolean): AnswerReading {
  switch (dialect) {
    case 'openai-chat':
      return isStream ? readChatStream(bytes, wantsUsage) : readChatAnswer(bytes);
    case 'openai-responses':
      return isStream ? readResponsesStream(bytes) : readResponsesAnswer(bytes);
    case 'anthropic-messages':
      return isStream ? readMessagesStream(bytes) : readMessagesAnswer(bytes);
    case 'gemini':
      return isStream ? readGeminiStream(bytes) : readGeminiAnswer(bytes);
    default:
      return dialect satisfies never;
  }
}
