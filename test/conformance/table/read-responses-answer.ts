/** OpenAI's Responses, JSON and stream, as a client reads them. */
import { type AnswerReading, type ChoiceReading, costsIn, type Ending, emptyChoice, type UsageReading } from './answer-reading.ts';
import { canonicalText, isJson, type Json, numberAt, objectAt, objectsAt, optionalTextAt, parsed, textAt } from './json.ts';
import { readSse } from './sse-reading.ts';

export function readResponsesUsage(usage: unknown): UsageReading | undefined {
  const input = numberAt(usage, 'input_tokens');
  const output = numberAt(usage, 'output_tokens');
  if (input === undefined && output === undefined) return undefined;
  const details = objectAt(usage, 'input_tokens_details');
  return {
    input: input ?? 0,
    cacheRead: numberAt(details, 'cached_tokens'),
    cacheWrite: numberAt(details, 'cache_write_tokens'),
    output: output ?? 0,
    reasoning: numberAt(objectAt(usage, 'output_tokens_details'), 'reasoning_tokens'),
  };
}

function takeItem(choice: ChoiceReading, item: Json, problems: string[]): void {
  const type = textAt(item, 'type');
  switch (type) {
    case 'message':
      for (const part of objectsAt(item, 'content')) takePart(choice, part);
      return;
    case 'reasoning': {
      const shown = [...objectsAt(item, 'content'), ...objectsAt(item, 'summary')];
      for (const part of shown) choice.reasoning += textAt(part, 'text');
      const proof = textAt(item, 'encrypted_content');
      if (proof !== '') choice.proofs.push(proof);
      if (!Array.isArray(item.summary)) problems.push('reasoning without a summary list');
      return;
    }
    case 'function_call':
    case 'custom_tool_call': {
      const isCustom = type === 'custom_tool_call';
      const args = isCustom ? item.input : item.arguments;
      if (typeof args !== 'string') problems.push('arguments are not a text');
      else if (!isCustom && typeof parsed(args) === 'string') problems.push(`arguments are not JSON: ${args}`);
      if (textAt(item, 'call_id') === '') problems.push('a call without call_id');
      choice.calls.push({
        id: textAt(item, 'call_id'),
        name: textAt(item, 'name'),
        arguments: String(args ?? ''),
        kind: isCustom ? 'custom' : 'function',
      });
      return;
    }
    case 'image_generation_call':
      choice.media.push(textAt(item, 'result'));
      return;
    default:
      choice.foreign.push(type);
  }
}

function takePart(choice: ChoiceReading, part: Json): void {
  if (part.type === 'refusal') {
    choice.refusal += textAt(part, 'refusal');
    return;
  }
  const offset = choice.text.length;
  choice.text += textAt(part, 'text');
  choice.logprobs += objectsAt(part, 'logprobs').length;
  for (const annotation of objectsAt(part, 'annotations')) {
    const start = numberAt(annotation, 'start_index');
    const end = numberAt(annotation, 'end_index');
    const source = optionalTextAt(annotation, 'url') ?? optionalTextAt(annotation, 'title') ?? textAt(annotation, 'filename');
    choice.citations.push({
      source,
      start: start === undefined ? undefined : start + offset,
      end: end === undefined ? undefined : end + offset,
    });
  }
}

function endingOf(response: Json, choice: ChoiceReading, problems: string[]): Ending {
  switch (response.status) {
    case 'completed':
      return choice.calls.length > 0 ? 'tool_calls' : 'stop';
    case 'incomplete':
      switch (objectAt(response, 'incomplete_details').reason) {
        case 'max_output_tokens':
          return 'length';
        case 'content_filter':
          return 'content_filter';
        default:
          // What else there is (`pause_turn`, a limit of tools) is no plain end.
          return 'pause';
      }
    case 'failed':
      return 'failed';
    default:
      problems.push(`status is ${String(response.status)}`);
      return undefined;
  }
}

function readResponse(response: Json, costs: readonly string[], framing: readonly string[]): AnswerReading {
  const problems = [...framing];
  if (response.object !== 'response') problems.push('object is not response');
  if (textAt(response, 'id') === '') problems.push('no id');
  if (numberAt(response, 'created_at') === undefined) problems.push('no time of creation');
  const choice = emptyChoice();
  for (const item of objectsAt(response, 'output')) takeItem(choice, item, problems);
  choice.ending = endingOf(response, choice, problems);
  const error = isJson(response.error) ? textAt(response.error, 'message') : undefined;
  return {
    id: textAt(response, 'id'),
    model: textAt(response, 'model'),
    choices: error === undefined ? [choice] : [],
    usage: readResponsesUsage(objectAt(response, 'usage')),
    tier: optionalTextAt(response, 'service_tier'),
    isWhole: error === undefined && choice.ending !== undefined,
    error,
    costs,
    replay: objectsAt(response, 'output'),
    problems: [...new Set(problems)],
  };
}

export function readResponsesAnswer(body: Buffer): AnswerReading {
  const text = body.toString('utf8');
  const answer: unknown = JSON.parse(text);
  return readResponse(isJson(answer) ? answer : {}, costsIn(text, 'cost_usd'), []);
}

const TERMINAL = new Set(['response.completed', 'response.incomplete', 'response.failed', 'error']);

/** Item under construction, by the events that have come. */
interface OpenItem {
  readonly index: number;
  readonly type: string;
  readonly id: string;
  /** Texts by the kind of their deltas and their index in the item. */
  readonly texts: Map<string, string>;
  readonly openParts: Set<string>;
}

/** Kinds of deltas, and the event that closes each, with the field in it that holds the whole. */
const TEXTS: Readonly<Record<string, { readonly done: string; readonly field: string; readonly index: string }>> = {
  'response.output_text.delta': { done: 'response.output_text.done', field: 'text', index: 'content_index' },
  'response.refusal.delta': { done: 'response.refusal.done', field: 'refusal', index: 'content_index' },
  'response.reasoning_text.delta': { done: 'response.reasoning_text.done', field: 'text', index: 'content_index' },
  'response.reasoning.delta': { done: 'response.reasoning.done', field: 'text', index: 'content_index' },
  'response.reasoning_summary_text.delta': { done: 'response.reasoning_summary_text.done', field: 'text', index: 'summary_index' },
  'response.function_call_arguments.delta': { done: 'response.function_call_arguments.done', field: 'arguments', index: '' },
  'response.custom_tool_call_input.delta': { done: 'response.custom_tool_call_input.done', field: 'input', index: '' },
};
const DELTA_OF = new Map(Object.entries(TEXTS).map(([delta, { done }]) => [done, delta]));

export function readResponsesStream(bytes: Buffer): AnswerReading {
  const { events, problems: framing } = readSse(bytes);
  const problems = [...framing];
  const items = new Map<number, OpenItem>();
  const done = new Map<number, Json>();
  let sequence = 0;
  let last: Json | undefined;
  let failure: string | undefined;
  let isOver = false;
  const types: string[] = [];
  for (const { event, data } of events) {
    const value = parsed(data);
    const type = textAt(value, 'type');
    if (type === 'keepalive') continue;
    types.push(type);
    if (event !== type) problems.push(`event ${event} holds ${type || data.slice(0, 20)}`);
    // An error is told in an event of its own, too, before the response that has failed.
    const isFailure = type === 'response.failed' && types.at(-2) === 'error';
    if (isOver && !isFailure) {
      // Whoever reads a response stops where it ends.
      problems.push(`${type || data} after the end`);
      types.pop();
      continue;
    }
    const number = numberAt(value, 'sequence_number');
    if (number !== sequence) problems.push(`sequence_number ${number} instead of ${sequence}`);
    sequence++;
    if (!isJson(value)) continue;
    if (TERMINAL.has(type)) isOver = true;
    if (isJson(value.response)) last = value.response;
    else if (type === 'error') failure = textAt(isJson(value.error) ? value.error : value, 'message');
    takeEvent(type, value, items, done, problems);
  }
  if (types[0] !== 'response.created' && types[0] !== 'error') problems.push(`the stream begins with ${types[0]}`);
  if (types.length > 1 && types[1] !== 'response.in_progress' && !TERMINAL.has(types[1] ?? '')) problems.push(`then comes ${types[1]}`);
  if (!isOver) problems.push('no terminal event');
  const hasFailed = failure !== undefined || types.at(-1) === 'response.failed';
  if (!hasFailed) {
    for (const item of items.values()) if (!done.has(item.index)) problems.push(`item ${item.index} is not done`);
    const output = objectsAt(last, 'output');
    const streamed = [...done.entries()].sort(([a], [b]) => a - b).map(([, item]) => item);
    if (canonicalText(output) !== canonicalText(streamed)) problems.push('the final output is not what was streamed');
  }
  // What was streamed is what SDKs keep: encrypted blocks are encrypted anew each time they are told.
  const kept = [...done.entries()].sort(([a], [b]) => a - b).map(([, item]) => item);
  const whole = kept.length > 0 && kept.length === objectsAt(last, 'output').length ? { ...last, output: kept } : last;
  const reading = readResponse(whole ?? {}, costsIn(bytes.toString('utf8'), 'cost_usd'), problems);
  const isWhole = reading.isWhole && isOver;
  return failure === undefined ? { ...reading, isWhole } : { ...reading, isWhole: false, choices: [], error: failure };
}

function takeEvent(type: string, value: Json, items: Map<number, OpenItem>, done: Map<number, Json>, problems: string[]): void {
  const index = numberAt(value, 'output_index');
  if (index === undefined) return;
  if (type === 'response.output_item.added') {
    if (index !== items.size) problems.push(`item ${index} after ${items.size} items`);
    const item = objectAt(value, 'item');
    items.set(index, { index, type: textAt(item, 'type'), id: textAt(item, 'id'), texts: new Map(), openParts: new Set() });
    return;
  }
  const open = items.get(index);
  if (open === undefined) {
    problems.push(`${type} of an item that was not added`);
    return;
  }
  if (done.has(index)) problems.push(`${type} after its item was done`);
  const itemId = optionalTextAt(value, 'item_id');
  if (itemId !== undefined && itemId !== open.id) problems.push(`${type} names another item`);
  const part = String(numberAt(value, 'content_index') ?? numberAt(value, 'summary_index') ?? '');
  if (type === 'response.content_part.added' || type === 'response.reasoning_summary_part.added') {
    open.openParts.add(part);
    return;
  }
  if (type === 'response.content_part.done' || type === 'response.reasoning_summary_part.done') {
    if (!open.openParts.delete(part)) problems.push(`${type} of a part that is not open`);
    return;
  }
  const delta = DELTA_OF.get(type) ?? type;
  const kind = TEXTS[delta];
  if (kind !== undefined) {
    const key = `${delta} ${part}`;
    if (kind.index !== '' && !open.openParts.has(part)) problems.push(`${type} outside of any part`);
    if (type === delta) open.texts.set(key, (open.texts.get(key) ?? '') + textAt(value, 'delta'));
    else if ((open.texts.get(key) ?? '') !== textAt(value, kind.field)) problems.push(`${type} is not the sum of its deltas`);
    return;
  }
  if (type === 'response.output_item.done') {
    if (open.openParts.size > 0) problems.push('an item is done before its parts');
    const item = objectAt(value, 'item');
    if (textAt(item, 'id') !== open.id || textAt(item, 'type') !== open.type) problems.push('an item is done as another');
    done.set(index, item);
  }
}
