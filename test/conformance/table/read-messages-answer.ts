/** Anthropic's messages, JSON and stream, as a client reads them. */
import { type AnswerReading, type ChoiceReading, costsIn, type Ending, emptyChoice, type UsageReading } from './answer-reading.ts';
import { isJson, type Json, numberAt, objectAt, objectsAt, optionalTextAt, parsed, textAt } from './json.ts';
import { readSse } from './sse-reading.ts';

const ENDINGS: Readonly<Record<string, Ending>> = {
  end_turn: 'stop',
  stop_sequence: 'stop_sequence',
  max_tokens: 'length',
  model_context_window_exceeded: 'length',
  tool_use: 'tool_calls',
  refusal: 'content_filter',
  pause_turn: 'pause',
};

/** Turns between the model's own stand in `iterations` and are billed with it. */
export function readMessagesUsage(usage: unknown): UsageReading | undefined {
  if (numberAt(usage, 'input_tokens') === undefined && numberAt(usage, 'output_tokens') === undefined) return undefined;
  const all = [usage, ...objectsAt(usage, 'iterations').filter((iteration) => iteration.type !== 'message')];
  const sum = (key: string): number => all.reduce<number>((total, one) => total + (numberAt(one, key) ?? 0), 0);
  return {
    input: sum('input_tokens') + sum('cache_read_input_tokens') + sum('cache_creation_input_tokens'),
    cacheRead: sum('cache_read_input_tokens'),
    cacheWrite: sum('cache_creation_input_tokens'),
    output: sum('output_tokens'),
    reasoning: numberAt(objectAt(usage, 'output_tokens_details'), 'thinking_tokens'),
  };
}

export function readMessagesAnswer(body: Buffer): AnswerReading {
  const text = body.toString('utf8');
  const answer: unknown = JSON.parse(text);
  const problems: string[] = [];
  if (textAt(answer, 'type') !== 'message' && textAt(answer, 'type') !== 'error') problems.push('type is not message');
  if (textAt(answer, 'role') !== 'assistant') problems.push('role is not assistant');
  if (textAt(answer, 'id') === '') problems.push('no id');
  const choice = emptyChoice();
  for (const block of objectsAt(answer, 'content')) takeBlock(choice, block, problems);
  takeEnding(choice, answer, problems);
  const isError = textAt(answer, 'type') === 'error';
  return {
    id: textAt(answer, 'id'),
    model: textAt(answer, 'model'),
    choices: isError ? [] : [choice],
    usage: readMessagesUsage(objectAt(answer, 'usage')),
    tier: optionalTextAt(objectAt(answer, 'usage'), 'service_tier'),
    isWhole: true,
    error: isError ? textAt(objectAt(answer, 'error'), 'message') : undefined,
    costs: costsIn(text, 'cost_usd'),
    replay: [{ role: 'assistant', content: objectsAt(answer, 'content') }],
    problems,
  };
}

function takeEnding(choice: ChoiceReading, holder: unknown, problems: string[]): void {
  const raw = isJson(holder) ? holder.stop_reason : undefined;
  if (typeof raw !== 'string') {
    problems.push('no stop_reason');
    return;
  }
  choice.ending = ENDINGS[raw];
  if (choice.ending === undefined) problems.push(`stop_reason is ${raw}`);
  const sequence = optionalTextAt(holder, 'stop_sequence');
  if (sequence !== undefined) choice.stopSequence = sequence;
}

function takeBlock(choice: ChoiceReading, block: Json, problems: string[]): void {
  const type = textAt(block, 'type');
  switch (type) {
    case 'text': {
      const start = choice.text.length;
      choice.text += textAt(block, 'text');
      for (const citation of objectsAt(block, 'citations')) {
        const source = optionalTextAt(citation, 'url') ?? optionalTextAt(citation, 'document_title') ?? textAt(citation, 'title');
        choice.citations.push({ source, start, end: choice.text.length });
      }
      return;
    }
    case 'thinking':
      choice.reasoning += textAt(block, 'thinking');
      if (typeof block.signature !== 'string') problems.push('thinking without a signature');
      else if (block.signature !== '') choice.proofs.push(block.signature);
      return;
    case 'redacted_thinking':
      choice.proofs.push(textAt(block, 'data'));
      return;
    case 'tool_use':
      if (!isJson(block.input)) problems.push('input is not an object');
      if (!/^[a-zA-Z0-9_-]+$/.test(textAt(block, 'id'))) problems.push(`an id that is refused: ${textAt(block, 'id')}`);
      choice.calls.push({
        id: textAt(block, 'id'),
        name: textAt(block, 'name'),
        arguments: JSON.stringify(block.input ?? {}),
        kind: 'function',
      });
      return;
    default:
      choice.foreign.push(type);
  }
}

export function readMessagesStream(bytes: Buffer): AnswerReading {
  const { events, problems: framing } = readSse(bytes);
  const problems = [...framing];
  const choice = emptyChoice();
  const blocks: Json[] = [];
  let message: Json | undefined;
  let open: { readonly block: Record<string, unknown>; partial: string } | undefined;
  let usage: Record<string, unknown> = {};
  let error: string | undefined;
  let isStopped = false;
  let hasDelta = false;
  for (const { event, data } of events) {
    const value = parsed(data);
    const type = textAt(value, 'type');
    if (event !== type) problems.push(`event ${event} holds ${type}`);
    if (isStopped) problems.push(`${type} after message_stop`);
    if (message === undefined && !['message_start', 'ping', 'error'].includes(type)) problems.push(`${type} before message_start`);
    switch (type) {
      case 'message_start':
        if (message !== undefined) problems.push('a second message_start');
        message = objectAt(value, 'message');
        if (message.stop_reason !== null) problems.push('message_start with a stop_reason');
        if (!Array.isArray(message.content) || message.content.length > 0) problems.push('message_start with content');
        usage = { ...objectAt(message, 'usage') };
        break;
      case 'content_block_start': {
        if (open !== undefined) problems.push('a block begins inside a block');
        if (hasDelta) problems.push('a block after message_delta');
        if (numberAt(value, 'index') !== blocks.length) problems.push(`block ${numberAt(value, 'index')} after ${blocks.length} blocks`);
        const block = { ...objectAt(value, 'content_block') };
        const isLate =
          (block.type === 'text' && block.text !== '') ||
          (block.type === 'thinking' && block.thinking !== '') ||
          (block.type === 'tool_use' && isJson(block.input) && Object.keys(block.input).length > 0);
        if (isLate) problems.push('a block begins with content, which SDKs do not read');
        open = { block, partial: '' };
        break;
      }
      case 'content_block_delta':
        if (open === undefined) problems.push('a delta outside of any block');
        else if (numberAt(value, 'index') !== blocks.length) problems.push('a delta of another block');
        if (open !== undefined) open.partial += takeDelta(open.block, objectAt(value, 'delta'), problems);
        break;
      case 'content_block_stop':
        if (open === undefined) problems.push('a stop outside of any block');
        else {
          if (open.partial !== '') open.block.input = parsed(open.partial);
          takeBlock(choice, open.block, problems);
          blocks.push(open.block);
        }
        open = undefined;
        break;
      case 'message_delta':
        if (open !== undefined) problems.push('message_delta inside a block');
        if (hasDelta) problems.push('a second message_delta');
        hasDelta = true;
        takeEnding(choice, objectAt(value, 'delta'), problems);
        for (const [key, member] of Object.entries(objectAt(value, 'usage'))) if (member !== null) usage[key] = member;
        if (numberAt(objectAt(value, 'usage'), 'output_tokens') === undefined) problems.push('message_delta without output_tokens');
        break;
      case 'message_stop':
        if (!hasDelta) problems.push('message_stop without message_delta');
        isStopped = true;
        break;
      case 'error':
        error = textAt(objectAt(value, 'error'), 'message');
        break;
      case 'ping':
        break;
      default:
        problems.push(`an event ${type}`);
    }
  }
  if (error === undefined && !isStopped) problems.push('no message_stop');
  if (error !== undefined && isStopped) problems.push('message_stop after an error');
  return {
    id: textAt(message, 'id'),
    model: textAt(message, 'model'),
    choices: message === undefined ? [] : [choice],
    usage: readMessagesUsage(usage),
    tier: optionalTextAt(usage, 'service_tier'),
    // A reason to stop says that all was said.
    isWhole: choice.ending !== undefined && error === undefined,
    error,
    costs: costsIn(bytes.toString('utf8'), 'cost_usd'),
    replay: [{ role: 'assistant', content: blocks }],
    problems: [...new Set(problems)],
  };
}

/** Adds a delta to its block; returns the piece of JSON that it holds. */
function takeDelta(block: Record<string, unknown>, delta: Json, problems: string[]): string {
  const type = textAt(delta, 'type');
  const fits = { text_delta: 'text', citations_delta: 'text', thinking_delta: 'thinking', signature_delta: 'thinking' }[type];
  if (fits !== undefined && fits !== block.type) problems.push(`${type} in a block of type ${String(block.type)}`);
  switch (type) {
    case 'text_delta':
      block.text = textAt(block, 'text') + textAt(delta, 'text');
      return '';
    case 'thinking_delta':
      if ('signature' in delta) problems.push('a signature on a thinking_delta');
      block.thinking = textAt(block, 'thinking') + textAt(delta, 'thinking');
      return '';
    case 'signature_delta':
      block.signature = textAt(delta, 'signature');
      return '';
    case 'citations_delta':
      block.citations = [...((block.citations as unknown[] | null | undefined) ?? []), delta.citation];
      return '';
    case 'input_json_delta':
      return textAt(delta, 'partial_json');
    default:
      problems.push(`a delta ${type}`);
      return '';
  }
}
