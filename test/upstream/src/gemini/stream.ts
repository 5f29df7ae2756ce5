// Writes a generated answer as Gemini's stream: server-sent events, or the entries of one JSON array.

import type { Answer, Choice } from '../answer.ts';
import type { ApiError } from '../api-error.ts';
import type { JsonObject } from '../json-value.ts';
import { type Segment, segment } from '../reply.ts';
import { errorPayload } from './error.ts';
import { blockedAnswer, endOf, type Part, signatureOf, signs, spokenParts, thoughtParts, type WireContext } from './json.ts';
import { traitsOf } from './models.ts';
import type { GenerateRequest } from './request.ts';
import { type Progress, usageMetadata, wholeProgress } from './usage.ts';

interface Chunk {
  payload: JsonObject;
  pieces: number;
  usage: boolean;
}

/** The chunks of one candidate before its usage is known: parts and, at the last, its end. */
interface Step {
  candidate: JsonObject;
  tokens: number;
  thought: boolean;
  image: boolean;
}

function stepsOf(request: GenerateRequest, choice: Choice, context: WireContext): Step[] {
  const step = (part: Part): Step => ({
    candidate: { content: { parts: [part.body], role: 'model' }, index: choice.index },
    tokens: part.tokens,
    thought: part.thought,
    image: part.body.inlineData !== undefined,
  });
  const steps = [...thoughtParts(request, choice), ...spokenParts(request, choice, context)].map(step);
  const end = endOf(request, choice, context);
  const last = steps.at(-1);
  const calls = choice.finish === 'tool_calls';
  if (traitsOf(request.model).third || last === undefined || (signs(request, choice) && !calls)) {
    // The newer models end with an empty text, which carries the signature where no call does.
    const body: JsonObject = { text: '', ...(calls ? {} : { thoughtSignature: signatureOf(context, choice) }) };
    const content: JsonObject = choice.pieces.length === 0 ? { role: 'model' } : { parts: [body], role: 'model' };
    steps.push({ candidate: { content, ...end }, tokens: 0, thought: false, image: false });
  } else {
    last.candidate = { ...last.candidate, ...end };
  }
  return steps;
}

function chunksOf(request: GenerateRequest, answer: Answer, context: WireContext): Chunk[] {
  const done: Progress = { candidates: 0, thoughts: 0, image: 0 };
  const perChoice = answer.choices.map((choice) => stepsOf(request, choice, context));
  const longest = Math.max(...perChoice.map((steps) => steps.length));
  const order = Array.from({ length: longest }, (_, at) => perChoice.flatMap((steps) => steps[at] ?? [])).flat();
  return order.map((step, at) => {
    const last = at === order.length - 1;
    if (!step.thought) {
      // The thoughts are told once they are over.
      done.thoughts = context.counts.reasoning;
      done.candidates += step.tokens;
      if (step.image) done.image += step.tokens;
    }
    const told = last ? wholeProgress(context.counts, context.imageTokens) : done;
    const shown = !context.hideUsage && (at === 0 || !context.onlyFirstUsage);
    const usage = shown ? { usageMetadata: usageMetadata(context.counts, told) } : {};
    const payload = { candidates: [step.candidate], ...usage, modelVersion: request.model, responseId: context.id };
    return { payload, pieces: step.tokens, usage: shown && last };
  });
}

function framed(chunks: Chunk[], sse: boolean): Segment[] {
  if (sse) return chunks.map(({ payload, pieces, usage }) => segment(`data: ${JSON.stringify(payload)}\r\n\r\n`, { pieces, usage }));
  const entries = chunks.map(({ payload, pieces, usage }, at) =>
    segment(`${at === 0 ? '[' : ',\r\n'}${JSON.stringify(payload, null, 2)}\n`, { pieces, usage }),
  );
  return [...entries, segment(']', { events: 0 })];
}

/** The chunks of a streamed answer, one segment each. */
export function renderStream(request: GenerateRequest, answer: Answer, context: WireContext, sse: boolean): Segment[] {
  return framed(chunksOf(request, answer, context), sse);
}

/** The one chunk that tells of a blocked prompt. */
export function renderBlocked(request: GenerateRequest, context: WireContext, sse: boolean): Segment[] {
  return framed([{ payload: blockedAnswer(request, context), pieces: 0, usage: !context.hideUsage }], sse);
}

/** What a stream says when it fails after so many chunks. */
export function errorEvents(error: ApiError, sse: boolean, before: number): Segment[] {
  const payload = errorPayload(error);
  if (sse) return [segment(`data: ${JSON.stringify(payload)}\r\n\r\n`)];
  return [segment(`${before === 0 ? '[' : ',\r\n'}${JSON.stringify(payload, null, 2)}\n]`)];
}
