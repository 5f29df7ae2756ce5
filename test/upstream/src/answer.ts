// What the simulated model says: the pieces of each choice, and the exact usage of the call.

import { withoutMarkers } from './marker.ts';
import { lastUserText, type Message, type ModelRequest } from './model-request.ts';
import type { PromptCache } from './prompt-cache.ts';
import { schemaInstance } from './schema-instance.ts';
import {
  audioTokens,
  FILE_TOKENS,
  IMAGE_LOW_TOKENS,
  IMAGE_TOKENS,
  jsonTokens,
  MESSAGE_OVERHEAD_TOKENS,
  PROMPT_OVERHEAD_TOKENS,
  splitPieces,
  textTokens,
} from './tokens.ts';
import { chooseCalls, namedWords } from './tools.ts';

/** One output token: a chunk of its own when streamed. */
export type Piece =
  | { kind: 'text'; text: string }
  | { kind: 'call'; call: number; name: string; custom: boolean }
  | { kind: 'arguments'; call: number; text: string; custom: boolean };

/** Why an answer ends; a wire has its own words for each. */
export type FinishReason = 'stop' | 'stop_sequence' | 'length' | 'tool_calls' | 'content_filter';

/** One of the `n` answers. Reasoning tokens come before the pieces and are not among them. */
export interface Choice {
  index: number;
  pieces: Piece[];
  finish: FinishReason;
  reasoningTokens: number;
  /** The stop text that ended it; null where none did. */
  stoppedBy: string | null;
  /** The pieces are the words of a refusal. */
  refusal: boolean;
}

/** The counts of a call, before a provider gives them its form. */
export interface TokenCounts {
  prompt: number;
  promptAudio: number;
  cached: number;
  cacheWrite: number | null;
  completion: number;
  reasoning: number;
  /** The tier that the usage tells, where a knob says so. */
  servedTier?: string;
}

export interface Answer {
  choices: Choice[];
  counts: TokenCounts;
}

/** What the fault knobs may ask of an answer. */
export interface AnswerWishes {
  tokens?: number;
  reasoning?: number;
  /** Output tokens that are billed and not shown, above every limit. */
  extraOutput?: number;
  /** The service tier that is told, whatever was asked for. */
  servedTier?: string;
  empty?: boolean;
  hugeBytes?: number;
  cache?: 'read' | 'write';
  /** The model says no. */
  refusal?: boolean;
  /** A filter ends the answer after so many pieces. */
  contentFilter?: number;
}

const ECHO_WORDS = 40;
const FILLER = 'the quick brown fox jumps over a lazy dog while seven bright stars watch from far above'.split(' ');
const HUGE_PIECE_BYTES = 1024;
const REFUSAL = "I'm sorry, but I cannot help with that.";

/** Prompt tokens by the written rule, and how many of them are audio. */
export function promptTokens(request: ModelRequest): { total: number; audio: number } {
  let total = PROMPT_OVERHEAD_TOKENS;
  let audio = 0;
  for (const message of request.messages) {
    total += MESSAGE_OVERHEAD_TOKENS + FILE_TOKENS * message.files;
    for (const text of message.texts) total += textTokens(text);
    for (const detail of message.images) total += detail === 'low' ? IMAGE_LOW_TOKENS : IMAGE_TOKENS;
    for (const data of message.audio) audio += audioTokens(data);
    for (const call of message.calls) total += textTokens(call.name) + textTokens(call.arguments);
    if (message.name !== null) total += textTokens(message.name);
  }
  for (const tool of request.tools) total += jsonTokens(tool.raw);
  if (request.format.kind === 'json_schema') total += jsonTokens(request.format.schema);
  return { total: total + audio, audio };
}

function counted(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`;
}

function attachments(messages: Message[]): string {
  const total = (of: (message: Message) => number): number => messages.reduce((sum, message) => sum + of(message), 0);
  const seen: string[] = [];
  const images = total((message) => message.images.length);
  const sounds = total((message) => message.audio.length);
  const files = total((message) => message.files);
  if (images > 0) seen.push(counted(images, 'image'));
  if (sounds > 0) seen.push(counted(sounds, 'audio clip'));
  if (files > 0) seen.push(counted(files, 'file'));
  return seen.length === 0 ? '' : ` I received ${seen.join(' and ')}.`;
}

function shorten(text: string): string {
  const words = text.trim().split(/\s+/);
  return words.length <= ECHO_WORDS ? words.join(' ') : `${words.slice(0, ECHO_WORDS).join(' ')} …`;
}

function toolResults(messages: Message[]): string[] {
  const names = new Map<string, string>();
  for (const message of messages) for (const call of message.calls) names.set(call.id, call.name);
  const results: string[] = [];
  for (let i = messages.length - 1; i >= 0 && messages[i]?.role === 'tool'; i--) {
    const message = messages[i];
    if (message === undefined) continue;
    results.unshift(`${names.get(message.toolCallId ?? '') ?? 'The tool'} returned: ${shorten(message.texts.join(' '))}`);
  }
  return results;
}

function plainText(request: ModelRequest, userText: string): string {
  const results = toolResults(request.messages);
  if (results.length > 0) return `${results.join('. ')}.`;
  const said = shorten(userText);
  return `${said === '' ? 'You said nothing.' : `You said: ${said}`}${attachments(request.messages)}`;
}

function answerText(request: ModelRequest, userText: string, wishes: AnswerWishes): string {
  switch (request.format.kind) {
    case 'json_schema':
      return JSON.stringify(schemaInstance(request.format.schema, namedWords(userText)));
    case 'json_object':
      return JSON.stringify({ answer: plainText(request, userText) });
    case 'text':
      break;
  }
  if (wishes.tokens !== undefined) {
    return Array.from({ length: wishes.tokens }, (_, i) => FILLER[i % FILLER.length]).join(' ');
  }
  return plainText(request, userText);
}

function cutAtStop(text: string, stops: string[]): { text: string; stoppedBy: string | null } {
  let end = text.length;
  let stoppedBy: string | null = null;
  for (const stop of stops) {
    const at = text.indexOf(stop);
    if (at < 0 || at >= end) continue;
    end = at;
    stoppedBy = stop;
  }
  return { text: text.slice(0, end), stoppedBy };
}

function textPieces(texts: string[]): Piece[] {
  return texts.map((text): Piece => ({ kind: 'text', text }));
}

function hugePieces(bytes: number): Piece[] {
  const pieces: string[] = [];
  for (let left = bytes; left > 0; left -= HUGE_PIECE_BYTES) pieces.push('x'.repeat(Math.min(left, HUGE_PIECE_BYTES)));
  return textPieces(pieces);
}

type Whole = Pick<Choice, 'pieces' | 'finish' | 'stoppedBy' | 'refusal'>;

function wholeAnswer(request: ModelRequest, index: number, wishes: AnswerWishes): Whole {
  const plain: Whole = { pieces: [], finish: 'stop', stoppedBy: null, refusal: false };
  if (wishes.empty === true) return plain;
  if (wishes.hugeBytes !== undefined) return { ...plain, pieces: hugePieces(wishes.hugeBytes) };
  if (wishes.refusal === true) return { ...plain, pieces: textPieces(splitPieces(REFUSAL)), refusal: true };
  const userText = withoutMarkers(lastUserText(request.messages));
  const calls = chooseCalls(request, userText);
  if (calls.length > 0) {
    const pieces = calls.flatMap(({ tool, text }, call): Piece[] => {
      const custom = tool.kind === 'custom';
      const parts = splitPieces(text).map((part): Piece => ({ kind: 'arguments', call, text: part, custom }));
      return [{ kind: 'call', call, name: tool.name, custom }, ...parts];
    });
    return { ...plain, pieces, finish: 'tool_calls' };
  }
  const text = answerText(request, userText, wishes);
  const own = index === 0 || request.format.kind !== 'text' ? text : `(${index + 1}) ${text}`;
  const cut = cutAtStop(own, request.stop);
  const finish = cut.stoppedBy === null ? 'stop' : 'stop_sequence';
  return { ...plain, pieces: textPieces(splitPieces(cut.text)), finish, stoppedBy: cut.stoppedBy };
}

function choiceOf(request: ModelRequest, index: number, wishes: AnswerWishes, reasoningTokens: number, overspent: boolean): Choice {
  const whole = wholeAnswer(request, index, wishes);
  const room = (request.maxTokens ?? Number.POSITIVE_INFINITY) - reasoningTokens;
  if (wishes.contentFilter !== undefined && wishes.contentFilter <= room) {
    const pieces = whole.pieces.slice(0, wishes.contentFilter);
    return { ...whole, index, reasoningTokens, pieces, finish: 'content_filter', stoppedBy: null };
  }
  if (whole.pieces.length <= room && !overspent) return { ...whole, index, reasoningTokens };
  return { ...whole, index, reasoningTokens, pieces: whole.pieces.slice(0, room), finish: 'length', stoppedBy: null };
}

/** Generates the answer: the same request gives the same pieces and, without prompt caching, the same counts. */
export function generateAnswer(request: ModelRequest, wishes: AnswerWishes, cache: PromptCache): Answer {
  const prompt = promptTokens(request);
  const wanted = wishes.empty === true ? 0 : (wishes.reasoning ?? request.reasoningTokens);
  const reasoningTokens = Math.min(wanted, request.maxTokens ?? Number.POSITIVE_INFINITY);
  const choices = Array.from({ length: request.n }, (_, index) =>
    choiceOf(request, index, wishes, reasoningTokens, wanted > reasoningTokens),
  );
  const visible = choices.reduce((sum, choice) => sum + choice.pieces.length, 0);
  const reasoning = reasoningTokens * request.n;
  const marked = request.cachedMessages;
  const caching = marked !== null || wishes.cache !== undefined || request.model.includes('-cache');
  const prefix = marked === null ? request.messages : request.messages.slice(0, marked);
  const cached = caching ? cache.look(request.model, prefix) : { read: 0, write: 0 };
  return {
    choices,
    counts: {
      prompt: prompt.total,
      promptAudio: prompt.audio,
      cached: cached.read,
      cacheWrite: wishes.cache === 'write' || marked !== null ? cached.write : null,
      completion: visible + reasoning + (wishes.extraOutput ?? 0),
      reasoning,
      ...(wishes.servedTier === undefined ? {} : { servedTier: wishes.servedTier }),
    },
  };
}
