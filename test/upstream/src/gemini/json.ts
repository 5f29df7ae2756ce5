// Writes a generated answer as the parts of its candidates, and as one JSON body.

import type { Answer, Choice, FinishReason, TokenCounts } from '../answer.ts';
import type { JsonObject, JsonValue } from '../json-value.ts';
import { reasoningText } from '../reasoning.ts';
import { shortId } from '../short-id.ts';
import { sign } from '../signature.ts';
import { traitsOf } from './models.ts';
import type { GenerateRequest } from './request.ts';
import { usageMetadata, wholeProgress } from './usage.ts';

/** What a rendering needs beside the request and its answer. */
export interface WireContext {
  /** The `responseId`. */
  id: string;
  counts: TokenCounts;
  /** The tokens of a drawn image, which are in the counts. */
  imageTokens: number;
  /** The `no_usage` knob. */
  hideUsage: boolean;
  /** The `seed_usage` knob: usage in the first chunk of a stream and in no other. */
  onlyFirstUsage: boolean;
  /** The `finish` knob: the reason to give instead of the true one. */
  finish: string | null;
  /** The `citations` knob. */
  citations: boolean;
}

/** A part of a candidate, with the output tokens it is made of. */
export interface Part {
  body: JsonObject;
  tokens: number;
  thought: boolean;
}

const FINISH: Record<FinishReason, string> = {
  stop: 'STOP',
  stop_sequence: 'STOP',
  length: 'MAX_TOKENS',
  tool_calls: 'STOP',
  content_filter: 'SAFETY',
};

/** The tokens of one drawn image. */
export const IMAGE_TOKENS = 1290;
const THOUGHT_TOKENS_A_PART = 16;
/** One white pixel. */
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4////fwAJ+wP9KobjigAAAABJRU5ErkJggg==';

/** Whether the model signs what it says with this answer. */
export function signs(request: GenerateRequest, choice: Choice): boolean {
  return traitsOf(request.model).needsSignatures || choice.reasoningTokens > 0;
}

export function signatureOf(context: WireContext, choice: Choice): string {
  return sign('gemini thought', '', `${context.id} ${choice.index}`);
}

function callParts(request: GenerateRequest, choice: Choice, context: WireContext): Part[] {
  const parts: Part[] = [];
  const { namesCalls } = traitsOf(request.model);
  choice.pieces.forEach((piece) => {
    if (piece.kind !== 'call') return;
    const given = choice.pieces.flatMap((other) => (other.kind === 'arguments' && other.call === piece.call ? [other.text] : []));
    let args: JsonValue;
    try {
      args = JSON.parse(given.join(''));
    } catch {
      // A limit cut the arguments: Google gives no part of a call.
      return;
    }
    const id = namesCalls ? { id: `${shortId(context.id)}${piece.call.toString(36)}` } : {};
    const body: JsonObject = { functionCall: { name: piece.name, args, ...id } };
    // Of parallel calls only the first is signed.
    if (parts.length === 0 && signs(request, choice)) body.thoughtSignature = signatureOf(context, choice);
    parts.push({ body, tokens: 1 + given.length, thought: false });
  });
  return parts;
}

/** The thoughts that are shown, in parts of several tokens. */
export function thoughtParts(request: GenerateRequest, choice: Choice): Part[] {
  const parts: Part[] = [];
  if (!request.showsThoughts) return parts;
  for (let at = 0; at < choice.reasoningTokens; at += THOUGHT_TOKENS_A_PART) {
    const end = Math.min(choice.reasoningTokens, at + THOUGHT_TOKENS_A_PART);
    parts.push({ body: { text: reasoningText(at, end), thought: true }, tokens: end - at, thought: true });
  }
  return parts;
}

/** What the candidate says: its texts piece by piece, its calls, its image. */
export function spokenParts(request: GenerateRequest, choice: Choice, context: WireContext): Part[] {
  const texts = choice.pieces.flatMap((piece): Part[] =>
    piece.kind === 'text' ? [{ body: { text: piece.text }, tokens: 1, thought: false }] : [],
  );
  const image: Part = { body: { inlineData: { mimeType: 'image/png', data: PIXEL } }, tokens: IMAGE_TOKENS, thought: false };
  const shown = request.image === 'only' ? [] : texts;
  return [...shown, ...callParts(request, choice, context), ...(request.image === 'none' ? [] : [image])];
}

/** How a candidate ends. */
export function endOf(request: GenerateRequest, choice: Choice, context: WireContext): JsonObject {
  const finishReason = context.finish ?? FINISH[choice.finish];
  const calls = choice.finish === 'tool_calls' && context.finish === null;
  const ratings =
    finishReason === 'SAFETY' ? { safetyRatings: [{ category: 'HARM_CATEGORY_HARASSMENT', probability: 'HIGH', blocked: true }] } : {};
  return {
    finishReason,
    index: choice.index,
    ...ratings,
    ...(calls && !traitsOf(request.model).third ? { finishMessage: 'Model generated function call(s).' } : {}),
    ...(context.citations ? { groundingMetadata: groundingOf(choice) } : {}),
  };
}

function groundingOf(choice: Choice): JsonObject {
  const text = choice.pieces.map((piece) => (piece.kind === 'text' ? piece.text : '')).join('');
  return {
    webSearchQueries: ['simulated source'],
    groundingChunks: [{ web: { uri: 'https://example.com/source', title: 'A simulated source' } }],
    // The offsets are bytes of the text, as Google counts them.
    groundingSupports: [{ segment: { startIndex: 0, endIndex: Buffer.byteLength(text), text }, groundingChunkIndices: [0] }],
  };
}

/** The answer to a prompt that was blocked: no candidate at all. */
export function blockedAnswer(request: GenerateRequest, context: WireContext): JsonObject {
  const usage = usageMetadata(context.counts, { candidates: 0, thoughts: 0, image: 0 });
  return {
    promptFeedback: { blockReason: 'PROHIBITED_CONTENT' },
    ...(context.hideUsage ? {} : { usageMetadata: usage }),
    modelVersion: request.model,
    responseId: context.id,
  };
}

/** The body of an answer that is not streamed. */
export function renderJson(request: GenerateRequest, answer: Answer, context: WireContext): string {
  const candidates = answer.choices.map((choice): JsonObject => {
    const thoughts = thoughtParts(request, choice)
      .map(({ body }) => body.text)
      .join('');
    const spoken = spokenParts(request, choice, context).map(({ body }) => body);
    const text = spoken.flatMap((body) => (typeof body.text === 'string' ? [body.text] : [])).join('');
    const parts: JsonObject[] = thoughts === '' ? [] : [{ text: thoughts, thought: true }];
    if (text !== '') parts.push({ text, ...(signs(request, choice) ? { thoughtSignature: signatureOf(context, choice) } : {}) });
    parts.push(...spoken.filter((body) => body.text === undefined));
    const content: JsonObject = parts.length > 0 ? { parts, role: 'model' } : { role: 'model' };
    return { content, ...endOf(request, choice, context) };
  });
  const usage = usageMetadata(context.counts, wholeProgress(context.counts, context.imageTokens));
  const shown = context.hideUsage ? {} : { usageMetadata: usage };
  return `${JSON.stringify({ candidates, ...shown, modelVersion: request.model, responseId: context.id }, null, 2)}\n`;
}
