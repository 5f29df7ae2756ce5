/** Anthropic's messages as an upstream reads the request, with the rules by which it refuses one. */
import { isJson, type Json, numberAt, objectAt, objectsAt, optionalTextAt, textAt } from './json.ts';
import {
  Conversation,
  cacheMarksIn,
  parametersText,
  type RequestReading,
  schemaText,
  type Thinking,
  type TurnReading,
} from './request-reading.ts';

const MAX_CACHE_MARKS = 4;

export function readMessagesRequest(body: Json): RequestReading {
  const conversation = new Conversation();
  const problems: string[] = [];
  const system: string[] =
    typeof body.system === 'string' ? [body.system] : objectsAt(body, 'system').map((block) => textAt(block, 'text'));
  let waiting = new Set<string>();
  let previous = '';
  for (const message of objectsAt(body, 'messages')) {
    const role = textAt(message, 'role');
    const blocks = typeof message.content === 'string' ? [{ type: 'text', text: message.content }] : objectsAt(message, 'content');
    if (role === 'system') {
      system.push(...blocks.map((block) => textAt(block, 'text')));
      continue;
    }
    if (role !== 'user' && role !== 'assistant') {
      problems.push(`a message of ${role}`);
      continue;
    }
    if (role === previous) problems.push(`two messages of ${role}`);
    previous = role;
    if (role === 'user' && blocks.length === 0) problems.push('a user message without content');
    const results = blocks.filter((block) => block.type === 'tool_result').map((block) => textAt(block, 'tool_use_id'));
    for (const id of results) if (!waiting.delete(id)) problems.push('a tool_result that no tool_use before it waits for');
    if (waiting.size > 0) problems.push('tool_use ids were found without tool_result');
    if (blocks.slice(0, results.length).some((block) => block.type !== 'tool_result')) problems.push('tool_result after other content');
    waiting = new Set();
    const turn = conversation.turn(role);
    for (const block of blocks) {
      takeBlock(conversation, turn, block, problems);
      if (block.type === 'tool_use') waiting.add(textAt(block, 'id'));
    }
  }
  if (numberAt(body, 'max_tokens') === undefined) problems.push('no max_tokens');
  const temperature = numberAt(body, 'temperature');
  if (temperature !== undefined && temperature > 1) problems.push('a temperature above 1');
  if (cacheMarksIn(body) > MAX_CACHE_MARKS) problems.push('more than 4 cache_control');
  const budget = numberAt(body.thinking, 'budget_tokens');
  if (budget !== undefined && (budget < 1_024 || budget >= (numberAt(body, 'max_tokens') ?? 0))) problems.push(`budget_tokens ${budget}`);
  const choice = objectAt(body, 'tool_choice');
  const isThinking = isJson(body.thinking) && body.thinking.type !== 'disabled';
  if (isThinking && (choice.type === 'any' || choice.type === 'tool')) problems.push('thinking with a forced tool');
  const tools = objectsAt(body, 'tools');
  const isOwn = (tool: Json): boolean => tool.type === undefined || tool.type === 'custom';
  for (const tool of tools.filter(isOwn)) {
    if (objectAt(tool, 'input_schema').type !== 'object') problems.push('an input_schema that is no object');
    if (!/^[a-zA-Z0-9_-]{1,128}$/.test(textAt(tool, 'name'))) problems.push(`a tool named ${textAt(tool, 'name')}`);
  }
  for (const sequence of Array.isArray(body.stop_sequences) ? body.stop_sequences : []) {
    if (String(sequence).trim() === '') problems.push('a stop sequence of blanks');
  }
  const format = objectAt(objectAt(body, 'output_config'), 'format');
  const turns = conversation.done();
  return {
    system: system.join('\n'),
    turns,
    tools: tools.filter(isOwn).map((tool) => ({
      name: textAt(tool, 'name'),
      description: textAt(tool, 'description'),
      parameters: parametersText(tool.input_schema),
    })),
    hosted: tools.filter((tool) => !isOwn(tool)).map((tool) => String(tool.type)),
    toolChoice:
      choice.type === 'tool' ? `tool ${textAt(choice, 'name')}` : choice.type === 'any' ? 'required' : optionalTextAt(choice, 'type'),
    parallel: typeof choice.disable_parallel_tool_use === 'boolean' ? !choice.disable_parallel_tool_use : undefined,
    maxTokens: numberAt(body, 'max_tokens'),
    numbers: {
      temperature,
      topP: numberAt(body, 'top_p'),
      topK: numberAt(body, 'top_k'),
      seed: undefined,
      frequencyPenalty: undefined,
      presencePenalty: undefined,
    },
    stop: Array.isArray(body.stop_sequences) ? body.stop_sequences.map(String) : [],
    choices: 1,
    logprobs: undefined,
    format: format.type === 'json_schema' ? schemaText(format.schema) : undefined,
    thinking: thinkingOf(body),
    tier: optionalTextAt(body, 'service_tier'),
    user: optionalTextAt(body.metadata, 'user_id'),
    cacheMarks: cacheMarksIn(body),
    stream: body.stream === true,
    problems: [...problems, ...conversation.problems],
  };
}

function takeBlock(conversation: Conversation, turn: TurnReading, block: Json, problems: string[]): void {
  switch (block.type) {
    case 'text':
      if (textAt(block, 'text').trim() === '') problems.push('a text block without text');
      turn.text += `${turn.text === '' ? '' : '\n'}${textAt(block, 'text')}`;
      return;
    case 'search_result': {
      const texts = objectsAt(block, 'content').map((part) => textAt(part, 'text'));
      turn.text += ['', textAt(block, 'title'), textAt(block, 'source'), ...texts].join('\n');
      return;
    }
    case 'image':
      turn.media.push({ kind: 'image', source: sourceOf(objectAt(block, 'source')) });
      return;
    case 'document': {
      const source = objectAt(block, 'source');
      if (source.type === 'content') turn.foreign.push('document of content');
      else turn.media.push({ kind: 'file', source: sourceOf(source) });
      return;
    }
    case 'thinking':
      turn.reasoning += textAt(block, 'thinking');
      if (textAt(block, 'signature') === '') problems.push('thinking without a signature');
      else turn.proofs.push(textAt(block, 'signature'));
      return;
    case 'redacted_thinking':
      turn.proofs.push(textAt(block, 'data'));
      return;
    case 'tool_use':
      if (!/^[a-zA-Z0-9_-]+$/.test(textAt(block, 'id'))) problems.push(`an id that is refused: ${textAt(block, 'id')}`);
      if (!isJson(block.input)) problems.push('input is not an object');
      conversation.call(textAt(block, 'id'), textAt(block, 'name'), block.input);
      return;
    case 'tool_result': {
      const inner = typeof block.content === 'string' ? [{ type: 'text', text: block.content }] : objectsAt(block, 'content');
      const text = inner.filter((part) => part.type === 'text').map((part) => textAt(part, 'text'));
      conversation.result(textAt(block, 'tool_use_id'), text.join('\n'), block.is_error === true);
      for (const part of inner) if (part.type !== 'text') takeBlock(conversation, turn, part, problems);
      return;
    }
    default:
      turn.foreign.push(textAt(block, 'type'));
  }
}

function sourceOf(source: Json): string {
  if (source.type === 'text') return Buffer.from(textAt(source, 'data')).toString('base64');
  return optionalTextAt(source, 'data') ?? optionalTextAt(source, 'url') ?? textAt(source, 'file_id');
}

function thinkingOf(body: Json): Thinking | undefined {
  const { thinking } = body;
  const effort = optionalTextAt(body.output_config, 'effort');
  if (isJson(thinking)) {
    if (thinking.type === 'disabled') return { is: 'off' };
    return { is: 'on', effort, budget: numberAt(thinking, 'budget_tokens') };
  }
  return effort === undefined ? undefined : { is: 'on', effort, budget: undefined };
}
