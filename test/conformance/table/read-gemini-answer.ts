/** Gemini's generateContent, JSON and stream, as a client reads it. */
import { type AnswerReading, type ChoiceReading, costsIn, emptyChoice, type UsageReading } from './answer-reading.ts';
import { isJson, type Json, numberAt, objectAt, objectsAt, optionalTextAt, parsed, textAt } from './json.ts';
import { readSse } from './sse-reading.ts';

const FILTERED = new Set([
  'SAFETY',
  'RECITATION',
  'BLOCKLIST',
  'PROHIBITED_CONTENT',
  'SPII',
  'IMAGE_SAFETY',
  'IMAGE_PROHIBITED_CONTENT',
  'IMAGE_RECITATION',
  'IMAGE_OTHER',
  'MODEL_ARMOR',
]);
const FAILED = new Set(['MALFORMED_FUNCTION_CALL', 'UNEXPECTED_TOOL_CALL', 'NO_IMAGE', 'TOO_MANY_TOOL_CALLS', 'MALFORMED_RESPONSE']);

export function readGeminiUsage(usage: unknown): UsageReading | undefined {
  const prompt = numberAt(usage, 'promptTokenCount');
  if (prompt === undefined && numberAt(usage, 'totalTokenCount') === undefined) return undefined;
  const thoughts = numberAt(usage, 'thoughtsTokenCount');
  return {
    input: (prompt ?? 0) + (numberAt(usage, 'toolUsePromptTokenCount') ?? 0),
    cacheRead: numberAt(usage, 'cachedContentTokenCount'),
    cacheWrite: undefined,
    output: (numberAt(usage, 'candidatesTokenCount') ?? 0) + (thoughts ?? 0),
    reasoning: thoughts,
  };
}

/** A call whose arguments come in pieces: each names a place in them. */
function takePartialCall(choice: ChoiceReading, call: Json): boolean {
  const isPiece = call.partialArgs !== undefined || call.willContinue === true || (call.name === undefined && choice.calls.length > 0);
  if (!isPiece) return false;
  if (typeof call.name === 'string') choice.calls.push({ id: textAt(call, 'id'), name: call.name, arguments: '{}', kind: 'function' });
  const last = choice.calls.pop();
  if (last === undefined) return true;
  const args = parsed(last.arguments);
  const grown: Record<string, unknown> = isJson(args) ? { ...args } : {};
  for (const piece of objectsAt(call, 'partialArgs')) {
    const key = textAt(piece, 'jsonPath').replace(/^\$\./, '');
    if (typeof piece.stringValue === 'string') grown[key] = textAt(grown, key) + piece.stringValue;
    else grown[key] = piece.numberValue ?? piece.boolValue ?? null;
  }
  choice.calls.push({ ...last, arguments: JSON.stringify(grown) });
  return true;
}

function takePart(choice: ChoiceReading, part: Json): void {
  const proof = optionalTextAt(part, 'thoughtSignature');
  if (proof !== undefined) choice.proofs.push(proof);
  if (typeof part.text === 'string') {
    if (part.thought === true) choice.reasoning += part.text;
    else choice.text += part.text;
  } else if (isJson(part.functionCall)) {
    const { functionCall: call } = part;
    if (takePartialCall(choice, call)) return;
    choice.calls.push({
      id: textAt(call, 'id'),
      name: textAt(call, 'name'),
      arguments: JSON.stringify(call.args ?? {}),
      kind: 'function',
    });
  } else if (isJson(part.inlineData)) choice.media.push(textAt(part.inlineData, 'data'));
  else if (proof === undefined) choice.foreign.push(Object.keys(part).join(','));
}

function takeEnding(choice: ChoiceReading, raw: unknown, problems: string[]): void {
  if (raw === undefined || raw === null) return;
  if (choice.ending !== undefined) problems.push('a second finishReason');
  if (raw === 'STOP') choice.ending = choice.calls.length > 0 ? 'tool_calls' : 'stop';
  else if (raw === 'MAX_TOKENS') choice.ending = 'length';
  else if (FILTERED.has(String(raw))) choice.ending = 'content_filter';
  else if (FAILED.has(String(raw))) choice.ending = 'failed';
  else problems.push(`finishReason is ${String(raw)}`);
}

function takeCandidate(choice: ChoiceReading, candidate: Json, problems: string[]): readonly Json[] {
  const parts = objectsAt(objectAt(candidate, 'content'), 'parts');
  for (const part of parts) takePart(choice, part);
  takeEnding(choice, candidate.finishReason, problems);
  const grounding = objectAt(candidate, 'groundingMetadata');
  const chunks = objectsAt(grounding, 'groundingChunks');
  for (const support of objectsAt(grounding, 'groundingSupports')) {
    const segment = objectAt(support, 'segment');
    for (const index of Array.isArray(support.groundingChunkIndices) ? support.groundingChunkIndices : []) {
      const web = objectAt(chunks[Number(index)], 'web');
      const source = optionalTextAt(web, 'uri') ?? textAt(web, 'title');
      choice.citations.push({ source, start: numberAt(segment, 'startIndex') ?? 0, end: numberAt(segment, 'endIndex') });
    }
  }
  for (const chunk of chunks) {
    const source = optionalTextAt(objectAt(chunk, 'web'), 'uri') ?? textAt(objectAt(chunk, 'web'), 'title');
    if (source !== '' && !choice.citations.some((citation) => citation.source === source)) {
      choice.citations.push({ source, start: undefined, end: undefined });
    }
  }
  const citations = objectAt(candidate, 'citationMetadata');
  for (const citation of [...objectsAt(citations, 'citationSources'), ...objectsAt(citations, 'citations')]) {
    const source = optionalTextAt(citation, 'uri') ?? textAt(citation, 'title');
    choice.citations.push({ source, start: numberAt(citation, 'startIndex'), end: numberAt(citation, 'endIndex') });
  }
  choice.logprobs += objectsAt(objectAt(candidate, 'logprobsResult'), 'chosenCandidates').length;
  return parts;
}

function errorOf(answer: unknown): string | undefined {
  return isJson(answer) && isJson(answer.error) ? textAt(answer.error, 'message') : undefined;
}

/** A prompt that was refused has no candidates. */
function refusedPrompt(answer: unknown): ChoiceReading | undefined {
  if (optionalTextAt(objectAt(answer, 'promptFeedback'), 'blockReason') === undefined) return undefined;
  return { ...emptyChoice(), ending: 'content_filter' };
}

export function readGeminiAnswer(body: Buffer): AnswerReading {
  return readChunks([JSON.parse(body.toString('utf8'))], body, []);
}

/** Server-sent events, or one JSON array. */
export function readGeminiStream(bytes: Buffer): AnswerReading {
  const text = bytes.toString('utf8').trim();
  if (text.startsWith('[')) {
    const list = parsed(text);
    return readChunks(Array.isArray(list) ? list : [], bytes, Array.isArray(list) ? [] : ['the array does not end']);
  }
  const { events, problems } = readSse(bytes);
  return readChunks(
    events.map(({ data }) => parsed(data)),
    bytes,
    problems,
  );
}

function readChunks(chunks: readonly unknown[], bytes: Buffer, framing: readonly string[]): AnswerReading {
  const problems = [...framing];
  const choices = new Map<number, ChoiceReading>();
  const parts: Json[] = [];
  let counts: Json = {};
  let tier: string | undefined;
  let error: string | undefined;
  for (const chunk of chunks) {
    if (!isJson(chunk)) {
      problems.push('a chunk is not an object');
      continue;
    }
    error = errorOf(chunk) ?? error;
    for (const candidate of objectsAt(chunk, 'candidates')) {
      const index = numberAt(candidate, 'index') ?? 0;
      const choice = choices.get(index) ?? emptyChoice();
      choices.set(index, choice);
      const isOver = choice.ending !== undefined;
      const taken = takeCandidate(choice, candidate, problems);
      if (isOver && taken.length > 0) problems.push('parts after finishReason');
      if (index === 0) parts.push(...taken);
    }
    const refused = refusedPrompt(chunk);
    if (refused !== undefined && choices.size === 0) choices.set(0, refused);
    // An absent field keeps what an earlier chunk told.
    counts = { ...counts, ...objectAt(chunk, 'usageMetadata') };
    tier = optionalTextAt(objectAt(chunk, 'usageMetadata'), 'serviceTier') ?? tier;
  }
  // A call that the model has spoilt is no answer.
  for (const choice of choices.values()) if (choice.ending === 'failed') error ??= 'the model broke off its answer';
  const [first] = chunks;
  if (error === undefined) {
    if (choices.size === 0) problems.push('no candidates');
    for (const choice of choices.values()) if (choice.ending === undefined) problems.push('no finishReason');
    const last = chunks.at(-1);
    const isTold = Object.keys(counts).length > 0;
    if (isTold && (!isJson(last) || !isJson(last.usageMetadata))) problems.push('no usageMetadata at the end');
    for (const chunk of chunks) {
      if (textAt(chunk, 'responseId') === '') problems.push('no responseId');
      if (textAt(chunk, 'modelVersion') === '') problems.push('no modelVersion');
    }
  }
  return {
    id: textAt(first, 'responseId'),
    model: textAt(first, 'modelVersion'),
    choices: [...choices.entries()].sort(([a], [b]) => a - b).map(([, choice]) => choice),
    usage: readGeminiUsage(counts),
    tier,
    isWhole: error === undefined && [...choices.values()].some((choice) => choice.ending !== undefined),
    error,
    costs: costsIn(bytes.toString('utf8'), 'costUsd'),
    // What came in pieces is put together by each SDK in its own way.
    replay: parts.some((part) => objectAt(part, 'functionCall').willContinue === true) ? [] : [{ role: 'model', parts }],
    problems: [...new Set(problems)],
  };
}
