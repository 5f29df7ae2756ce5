/** What a walk over the bytes of a request's input adds up, in all dialects, and the bounds that come of it. */
import { MESSAGE_OVERHEAD_TOKENS, TOOL_OVERHEAD_TOKENS, TOOLS_INSTRUCTION_TOKENS } from './input-bounds.ts';

export interface InputTally {
  /** Messages, as most dialects call them; contents, or items of the input. */
  messages: number;
  /** Bytes of the text of the message that is walked, and of the longest one. */
  messageBytes: number;
  longestMessageBytes: number;
  tools: number;
  /** Bytes of inline media that are not text. */
  mediaBytes: number;
  mediaTokens: number;
  /** The first parameter that holds a picture, and a sound. */
  vision: string | undefined;
  audio: string | undefined;
  /** There is a document, whose pages are drawn and counted, a film, or something that is only named. */
  readsBeyondBody: boolean;
  /** The first parameter whose cost the body does not bound. */
  unbounded: string | undefined;
}

export function emptyTally(): InputTally {
  return {
    messages: 0,
    messageBytes: 0,
    longestMessageBytes: 0,
    tools: 0,
    mediaBytes: 0,
    mediaTokens: 0,
    vision: undefined,
    audio: undefined,
    readsBeyondBody: false,
    unbounded: undefined,
  };
}

/** What is named and not given is in no count of bytes. */
export function noteReference(tally: InputTally, param: string): void {
  tally.readsBeyondBody = true;
  tally.unbounded ??= param;
}

/** The message that is walked has ended. */
export function endMessage(tally: InputTally): void {
  if (tally.messageBytes > tally.longestMessageBytes) tally.longestMessageBytes = tally.messageBytes;
}

/** An upper bound in tokens: a token has a byte at least, and media have their maxima instead. */
export function inputTokensBound(body: Buffer, { messages, tools, mediaBytes, mediaTokens }: InputTally): number {
  const described = tools === 0 ? 0 : TOOLS_INSTRUCTION_TOKENS + tools * TOOL_OVERHEAD_TOKENS;
  return body.length - mediaBytes + mediaTokens + messages * MESSAGE_OVERHEAD_TOKENS + described;
}
