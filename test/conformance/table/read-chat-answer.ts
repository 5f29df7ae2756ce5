/** OpenAI's chat completions, JSON and stream, as a client reads them. */
import { type AnswerReading, type ChoiceReading, costsIn, type Ending, emptyChoice, type UsageReading } from './answer-reading.ts';
import { isJson, type Json, numberAt, objectAt, objectsAt, optionalTextAt, parsed, textAt } from './json.ts';
import { readSse } from './sse-reading.ts';

const ENDINGS: Readonly<Record<string, Ending>> = {
  stop: 'stop',
  end_turn: 'stop',
  eos: 'stop',
  length: 'length',
  model_length: 'length',
  tool_calls: 'tool_calls',
  function_call: 'tool_calls',
  content_filter: 'content_filter',
};

export function readChatUsage(usage: unknown): UsageReading | undefined {
  const prompt = numberAt(usage, 'prompt_tokens');
  const completion = numberAt(usage, 'completion_tokens');
  if (prompt === undefined && completion === undefined) return undefined;
  const total = numberAt(usage, 'total_tokens') ?? 0;
  const promptDetails = objectAt(usage, 'prompt_tokens_details');
  const input = prompt ?? 0;
  const cached = numberAt(promptDetails, 'cached_tokens') ?? numberAt(usage, 'prompt_cache_hit_tokens');
  return {
    input,
    // One provider tells more cached tokens than tokens; a part is at most its whole.
    cacheRead: cached === undefined ? undefined : Math.min(cached, input),
    cacheWrite: numberAt(promptDetails, 'cache_write_tokens'),
    // Some providers leave what was thought beside the completion, and only the total tells.
    output: Math.max(completion ?? 0, total - input),
    reasoning: numberAt(objectAt(usage, 'completion_tokens_details'), 'reasoning_tokens') ?? numberAt(usage, 'reasoning_tokens'),
  };
}

export function readChatAnswer(body: Buffer): AnswerReading {
  const text = body.toString('utf8');
  const answer: unknown = JSON.parse(text);
  const problems: string[] = [];
  if (textAt(answer, 'object') !== 'chat.completion') problems.push('object is not chat.completion');
  if (textAt(answer, 'id') === '') problems.push('no id');
  if (numberAt(answer, 'created') === undefined) problems.push('no time of creation');
  const choices = objectsAt(answer, 'choices');
  if (choices.length === 0) problems.push('no choices');
  const readings = choices.map((choice) => {
    const reading = emptyChoice();
    takeMessage(reading, objectAt(choice, 'message'), problems);
    takeLogprobs(reading, choice);
    takeEnding(reading, choice.finish_reason, problems);
    if (objectAt(choice, 'message').role !== 'assistant') problems.push('a message that is not the assistant’s');
    return reading;
  });
  takeSources(readings[0], answer);
  return {
    id: textAt(answer, 'id'),
    model: textAt(answer, 'model'),
    choices: readings,
    usage: readChatUsage(objectAt(answer, 'usage')),
    tier: optionalTextAt(answer, 'service_tier'),
    isWhole: true,
    error: errorOf(answer),
    costs: costsIn(text, 'cost_usd'),
    replay: choices.slice(0, 1).map((choice) => choice.message),
    problems,
  };
}

function errorOf(answer: unknown): string | undefined {
  const error = isJson(answer) ? answer.error : undefined;
  if (error === undefined || error === null) return undefined;
  return isJson(error) ? textAt(error, 'message') : String(error);
}

/** One provider names its sources beside the choices. */
function takeSources(reading: ChoiceReading | undefined, answer: unknown): void {
  const results = objectsAt(answer, 'search_results').map((result) => textAt(result, 'url'));
  const listed = isJson(answer) && Array.isArray(answer.citations) ? answer.citations.filter((item) => typeof item === 'string') : [];
  for (const source of [...results, ...listed]) reading?.citations.push({ source, start: undefined, end: undefined });
}

function takeEnding(reading: ChoiceReading, raw: unknown, problems: string[]): void {
  if (raw === null || raw === undefined || raw === '') return;
  const ending = ENDINGS[String(raw)];
  if (ending === undefined) problems.push(`finish_reason is ${String(raw)}`);
  if (reading.ending !== undefined) problems.push('a second finish_reason');
  reading.ending = ending;
}

function takeLogprobs(reading: ChoiceReading, choice: Json): void {
  reading.logprobs += objectsAt(objectAt(choice, 'logprobs'), 'content').length;
}

function takeContent(reading: ChoiceReading, content: unknown): void {
  if (typeof content === 'string') reading.text += content;
  if (!Array.isArray(content)) return;
  for (const part of content.filter(isJson)) {
    if (part.type === 'text') reading.text += textAt(part, 'text');
    else if (part.type === 'refusal') reading.refusal += textAt(part, 'refusal');
    else if (part.type === 'thinking') {
      reading.reasoning += Array.isArray(part.thinking)
        ? part.thinking.map((item) => textAt(item, 'text')).join('')
        : textAt(part, 'thinking');
    } else reading.foreign.push(textAt(part, 'type'));
  }
}

/** What a message and a delta have in common: everything but the calls. */
function takeBody(reading: ChoiceReading, message: Json): void {
  takeContent(reading, message.content);
  reading.reasoning += optionalTextAt(message, 'reasoning_content') ?? textAt(message, 'reasoning');
  reading.refusal += textAt(message, 'refusal');
  for (const annotation of objectsAt(message, 'annotations')) {
    const inner = isJson(annotation.url_citation) ? annotation.url_citation : annotation;
    const source = optionalTextAt(inner, 'url') ?? textAt(inner, 'title');
    reading.citations.push({ source, start: numberAt(inner, 'start_index'), end: numberAt(inner, 'end_index') });
  }
  for (const image of objectsAt(message, 'images'))
    reading.media.push(textAt(objectAt(image, 'image_url'), 'url').replace(/^data:[^,]*,/, ''));
  const sound = textAt(objectAt(message, 'audio'), 'data');
  if (sound !== '') reading.media.push(sound);
  for (const detail of objectsAt(message, 'reasoning_details')) {
    const proof = optionalTextAt(detail, 'signature') ?? optionalTextAt(detail, 'data') ?? optionalTextAt(detail, 'value');
    if (proof !== undefined) reading.proofs.push(proof);
  }
}

function takeMessage(reading: ChoiceReading, message: Json, problems: string[]): void {
  takeBody(reading, message);
  const older: readonly Json[] = isJson(message.function_call) ? [{ function: message.function_call }] : [];
  for (const call of [...objectsAt(message, 'tool_calls'), ...older]) {
    const isCustom = call.type === 'custom';
    const called = objectAt(call, isCustom ? 'custom' : 'function');
    const args = isCustom ? called.input : called.arguments;
    if (typeof args !== 'string') problems.push('arguments are not a text');
    else if (!isCustom && typeof parsed(args) === 'string') problems.push(`arguments are not JSON: ${args}`);
    const id = textAt(call, 'id');
    if (id === '' && older.length === 0) problems.push('a call without id');
    reading.calls.push({ id, name: textAt(called, 'name'), arguments: String(args ?? ''), kind: isCustom ? 'custom' : 'function' });
  }
}

interface CallDraft {
  id: string;
  name: string;
  kind: 'function' | 'custom';
  arguments: string;
  readonly raw: Record<string, unknown>;
}

/** `wantsUsage`: the client asked for a usage chunk. */
export function readChatStream(bytes: Buffer, wantsUsage: boolean): AnswerReading {
  const { events, problems: framing } = readSse(bytes);
  const problems = [...framing];
  const choices = new Map<number, ChoiceReading>();
  const calls = new Map<number, Map<number, CallDraft>>();
  const extras = new Map<number, Record<string, unknown>>();
  let first: Json | undefined;
  let usage: UsageReading | undefined;
  let tier: string | undefined;
  let error: string | undefined;
  let isDone = false;
  let usageChunks = 0;
  for (const { data } of events) {
    if (isDone) problems.push('an event after the end mark');
    if (data === '[DONE]') {
      isDone = true;
      continue;
    }
    const chunk = parsed(data);
    if (!isJson(chunk)) {
      problems.push('a chunk is not an object');
      continue;
    }
    if (errorOf(chunk) !== undefined) {
      error = errorOf(chunk);
      continue;
    }
    if (first === undefined) first = chunk;
    for (const key of ['id', 'created', 'model']) if (chunk[key] !== first[key]) problems.push(`${key} changes between chunks`);
    if (chunk.object !== 'chat.completion.chunk') problems.push('object is not chat.completion.chunk');
    if (usageChunks > 0) problems.push('a chunk after usage');
    tier = optionalTextAt(chunk, 'service_tier') ?? tier;
    const list = objectsAt(chunk, 'choices');
    for (const [, reading] of choices) takeSources(reading, chunk);
    if (isJson(chunk.usage)) {
      usageChunks++;
      usage = readChatUsage(chunk.usage) ?? usage;
      if (list.length > 0) problems.push('usage beside choices');
    } else if (wantsUsage && chunk.usage !== null) problems.push('a chunk without usage: null');
    for (const choice of list) {
      const index = numberAt(choice, 'index') ?? -1;
      const delta = objectAt(choice, 'delta');
      let reading = choices.get(index);
      if (reading === undefined) {
        reading = emptyChoice();
        choices.set(index, reading);
        if (delta.role !== 'assistant') problems.push('the first delta has no role');
      } else if (reading.ending !== undefined && Object.keys(delta).some((key) => key !== 'role'))
        problems.push('a delta after its finish');
      takeBody(reading, delta);
      takeLogprobs(reading, choice);
      takeDeltas(delta, calls, index, problems);
      takeEnding(reading, choice.finish_reason, problems);
      const extra = extras.get(index) ?? {};
      for (const key of ['reasoning_details', 'annotations', 'images']) {
        if (Array.isArray(delta[key])) extra[key] = [...((extra[key] as unknown[] | undefined) ?? []), ...delta[key]];
      }
      extras.set(index, extra);
    }
  }
  for (const [index, drafts] of calls) {
    for (const { id, name, kind, arguments: args } of drafts.values()) {
      if (kind === 'function' && typeof parsed(args) === 'string') problems.push(`arguments are not JSON: ${args}`);
      choices.get(index)?.calls.push({ id, name, kind, arguments: args });
    }
  }
  if (error === undefined) {
    if (!isDone) problems.push('no [DONE]');
    if (usageChunks > (wantsUsage ? 1 : 0)) problems.push(`${usageChunks} usage chunks`);
    for (const reading of choices.values()) if (reading.ending === undefined) problems.push('no finish_reason');
  } else if (isDone) problems.push('an end mark after an error');
  const reading = choices.get(0);
  return {
    id: textAt(first, 'id'),
    model: textAt(first, 'model'),
    choices: [...choices.entries()].sort(([a], [b]) => a - b).map(([, choice]) => choice),
    usage,
    tier,
    isWhole: error === undefined && (isDone || (choices.size > 0 && [...choices.values()].every((choice) => choice.ending !== undefined))),
    error,
    costs: costsIn(bytes.toString('utf8'), 'cost_usd'),
    replay: reading === undefined ? [] : [replayed(reading, [...(calls.get(0)?.values() ?? [])], extras.get(0) ?? {})],
    problems: [...new Set(problems)],
  };
}

function takeDeltas(delta: Json, calls: Map<number, Map<number, CallDraft>>, choice: number, problems: string[]): void {
  const drafts = calls.get(choice) ?? new Map<number, CallDraft>();
  calls.set(choice, drafts);
  for (const call of objectsAt(delta, 'tool_calls')) {
    const index = numberAt(call, 'index') ?? -1;
    const isCustom = isJson(call.custom);
    const called = objectAt(call, isCustom ? 'custom' : 'function');
    let draft = drafts.get(index);
    if (draft === undefined) {
      if (index !== drafts.size) problems.push(`call ${index} after ${drafts.size} calls`);
      draft = { id: textAt(call, 'id'), name: textAt(called, 'name'), kind: isCustom ? 'custom' : 'function', arguments: '', raw: {} };
      if (draft.id === '' || draft.name === '') problems.push('a call begins without id or name');
      drafts.set(index, draft);
    } else if (textAt(call, 'id') !== '' || textAt(called, 'name') !== '') problems.push('a call begins twice');
    const key = isCustom ? 'input' : 'arguments';
    if (key in called && typeof called[key] !== 'string') problems.push('arguments are not a text');
    draft.arguments += textAt(called, key);
    for (const [name, value] of Object.entries(call)) if (!['index', 'function', 'custom'].includes(name)) draft.raw[name] ??= value;
  }
}

/** The message that a client adds up and sends back. */
function replayed(reading: ChoiceReading, calls: readonly CallDraft[], extra: Json): Json {
  return {
    role: 'assistant',
    content: reading.text === '' ? null : reading.text,
    ...(reading.reasoning === '' ? {} : { reasoning_content: reading.reasoning }),
    ...(reading.refusal === '' ? {} : { refusal: reading.refusal }),
    ...extra,
    ...(calls.length === 0
      ? {}
      : {
          tool_calls: calls.map(({ id, name, kind, arguments: args, raw }) => ({
            ...raw,
            id,
            type: kind,
            [kind]: kind === 'custom' ? { name, input: args } : { name, arguments: args },
          })),
        }),
  };
}
