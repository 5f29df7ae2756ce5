/** About how large the prompt of a request is: what a client is told who only counts. Nothing is admitted or charged by it. */
import type { Message, Part } from './message.ts';
import type { Request } from './request.ts';

export interface PromptSize {
  /** All that stands in the prompt as text. */
  readonly texts: readonly string[];
  /** Tokens of all else: what separates messages, pictures, sounds, documents. */
  readonly otherTokens: number;
}

/** What chat templates put around a message. */
const MESSAGE_TOKENS = 3;
/** What begins the answer. */
const REPLY_TOKENS = 3;
/** What separates the members of a tool. */
const TOOL_TOKENS = 8;
/** A picture of a million pixels, as most vendors count it, and one that is looked at in low detail. */
const IMAGE_TOKENS = 1_300;
const LOW_DETAIL_IMAGE_TOKENS = 85;
/** A page of a document, which has about so many bytes as it is sent. */
const PAGE_TOKENS = 1_600;
const PAGE_BYTES = 50_000;
/** Speech of usual quality. */
const AUDIO_BYTES_PER_TOKEN = 1_000;
/** A film of a minute: only its address may be there. */
const VIDEO_TOKENS = 16_000;

export function promptSize({ messages, tools, format }: Request): PromptSize {
  const prompt = new Prompt();
  for (const message of messages) prompt.message(message);
  for (const tool of tools) {
    prompt.otherTokens += TOOL_TOKENS;
    if (tool.kind === 'hosted') prompt.json(tool.value);
    else {
      prompt.text(tool.name);
      prompt.text(tool.description ?? '');
      prompt.json(tool.kind === 'function' ? tool.parameters : tool.format);
    }
  }
  if (format?.type === 'json_schema') prompt.json(format.schema);
  return prompt;
}

class Prompt implements PromptSize {
  readonly texts: string[] = [];
  otherTokens = REPLY_TOKENS;

  text(value: string): void {
    if (value !== '') this.texts.push(value);
  }

  json(value: unknown): void {
    if (value !== undefined && value !== null) this.text(JSON.stringify(value));
  }

  message({ parts, name }: Message): void {
    this.otherTokens += MESSAGE_TOKENS;
    this.text(name ?? '');
    for (const part of parts) this.#part(part);
  }

  #part(part: Part): void {
    switch (part.type) {
      case 'text':
      case 'refusal':
      case 'reasoning':
        this.text(part.text);
        break;
      case 'tool_call':
        this.text(part.name);
        this.text(part.arguments);
        break;
      case 'tool_result':
        if (part.parts.length === 0) this.json(part.json);
        for (const inner of part.parts) this.#part(inner);
        break;
      case 'image':
        this.otherTokens += part.detail === 'low' ? LOW_DETAIL_IMAGE_TOKENS : IMAGE_TOKENS;
        break;
      case 'audio':
        this.text(part.transcript ?? '');
        if (part.source.from === 'base64') this.otherTokens += Math.ceil(bytesIn(part.source.data) / AUDIO_BYTES_PER_TOKEN);
        break;
      case 'video':
        this.otherTokens += VIDEO_TOKENS;
        break;
      case 'file': {
        const { source } = part;
        if (source.from === 'base64' && source.mediaType.startsWith('text/'))
          this.text(Buffer.from(source.data, 'base64').toString('utf8'));
        else this.otherTokens += PAGE_TOKENS * (source.from === 'base64' ? Math.ceil(bytesIn(source.data) / PAGE_BYTES) : 1);
        break;
      }
      case 'foreign':
        this.json(part.value);
        break;
      default:
        part satisfies never;
    }
  }
}

function bytesIn(base64: string): number {
  return Math.floor((base64.length * 3) / 4);
}
