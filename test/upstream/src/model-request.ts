// What the simulated model looks at in a request, whatever the wire it came over.

import type { JsonObject } from './json-value.ts';

/** A call the model made in an earlier turn. */
export interface PastCall {
  id: string;
  name: string;
  arguments: string;
}

/** One message, flattened to what the simulated model looks at. */
export interface Message {
  role: string;
  name: string | null;
  /** The text parts in order; a plain string content is one part. */
  texts: string[];
  /** The detail of each image part. */
  images: string[];
  /** The base64 data of each audio part. */
  audio: string[];
  files: number;
  calls: PastCall[];
  toolCallId: string | null;
}

/** A tool on offer: a function with a schema, or a custom tool with free text. */
export interface Tool {
  kind: 'function' | 'custom';
  name: string;
  description: string;
  parameters: JsonObject;
  raw: JsonObject;
}

export type ToolChoice = { mode: 'auto' } | { mode: 'none' } | { mode: 'required' } | { mode: 'named'; name: string };

export type ResponseFormat = { kind: 'text' } | { kind: 'json_object' } | { kind: 'json_schema'; schema: JsonObject };

/** A valid request as the model sees it. */
export interface ModelRequest {
  model: string;
  messages: Message[];
  maxTokens: number | null;
  stop: string[];
  /** Answers asked for. */
  n: number;
  tools: Tool[];
  toolChoice: ToolChoice;
  parallelToolCalls: boolean;
  format: ResponseFormat;
  /** Tokens the model spends on reasoning, inside the output, for each of the `n` answers. */
  reasoningTokens: number;
  /** Leading messages that the caller marked for caching; null where nothing is marked. */
  cachedMessages: number | null;
}

/** A message without anything in it. */
export function emptyMessage(role: string): Message {
  return { role, name: null, texts: [], images: [], audio: [], files: 0, calls: [], toolCallId: null };
}

/** The joined text of the last message a user wrote; empty when there is none. */
export function lastUserText(messages: Message[]): string {
  for (let i = messages.length - 1; i >= 0; i--) {
    const message = messages[i];
    if (message?.role === 'user') return message.texts.join('\n');
  }
  return '';
}
