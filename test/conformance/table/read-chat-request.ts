/** OpenAI's chat completions as an upstream reads the request. */
import { isJson, type Json, numberAt, objectAt, objectsAt, optionalTextAt, textAt } from './json.ts';
import {
  Conversation,
  cacheMarksIn,
  parametersText,
  type RequestReading,
  schemaText,
  sourceOf,
  type Thinking,
  type TurnReading,
} from './request-reading.ts';

export function readChatRequest(body: Json): RequestReading {
  const conversation = new Conversation();
  const problems: string[] = [];
  const system: string[] = [];
  let waiting = new Set<string>();
  for (const message of objectsAt(body, 'messages')) {
    const { role } = message;
    if (role === 'tool' && !waiting.delete(textAt(message, 'tool_call_id')))
      problems.push('a tool message that no call before it waits for');
    if (role !== 'tool' && waiting.size > 0) problems.push('calls without their tool messages');
    if (role === 'system' || role === 'developer') system.push(textsOf(message.content).join('\n'));
    else if (role === 'assistant') {
      takeAssistant(conversation, message);
      waiting = new Set(objectsAt(message, 'tool_calls').map((call) => textAt(call, 'id')));
      const hasNothing = message.content === null || message.content === undefined;
      if (hasNothing && waiting.size === 0 && !isJson(message.audio) && !isJson(message.function_call) && message.refusal === undefined) {
        problems.push('an assistant message without content');
      }
    } else if (role === 'tool') {
      const text = textsOf(message.content).join('\n');
      if (message.content === null || message.content === undefined) problems.push('a tool message without content');
      conversation.result(textAt(message, 'tool_call_id'), text, text.startsWith('Error:'));
      takeMedia(conversation.turn('user'), message.content);
    } else if (role === 'function') conversation.result('', textAt(message, 'content'), false, textAt(message, 'name'));
    else if (role === 'user') {
      const turn = conversation.turn('user');
      turn.text += textsOf(message.content).join('\n');
      takeMedia(turn, message.content);
    } else problems.push(`a message of ${String(role)}`);
  }
  const turns = conversation.done();
  const tools = [...objectsAt(body, 'tools'), ...objectsAt(body, 'functions').map((item) => ({ type: 'function', function: item }))];
  const stop = body.stop;
  return {
    system: system.join('\n'),
    turns,
    tools: tools
      .filter((tool) => tool.type === 'function' || tool.type === 'custom')
      .map((tool) => {
        const inner = objectAt(tool, String(tool.type));
        const parameters =
          tool.type === 'custom' ? { type: 'object', properties: { input: { type: 'string' } }, required: ['input'] } : inner.parameters;
        return { name: textAt(inner, 'name'), description: textAt(inner, 'description'), parameters: parametersText(parameters) };
      }),
    hosted: tools.filter((tool) => tool.type !== 'function' && tool.type !== 'custom').map((tool) => String(tool.type)),
    toolChoice: toolChoiceOf(body.tool_choice ?? body.function_call),
    parallel: typeof body.parallel_tool_calls === 'boolean' ? body.parallel_tool_calls : undefined,
    maxTokens: numberAt(body, 'max_completion_tokens') ?? numberAt(body, 'max_tokens'),
    numbers: {
      temperature: numberAt(body, 'temperature'),
      topP: numberAt(body, 'top_p'),
      topK: numberAt(body, 'top_k'),
      seed: numberAt(body, 'seed'),
      frequencyPenalty: numberAt(body, 'frequency_penalty'),
      presencePenalty: numberAt(body, 'presence_penalty'),
    },
    stop: typeof stop === 'string' ? [stop] : Array.isArray(stop) ? stop.map(String) : [],
    choices: numberAt(body, 'n') ?? 1,
    logprobs: body.logprobs === true ? (numberAt(body, 'top_logprobs') ?? 0) : undefined,
    format: formatOf(objectAt(body, 'response_format')),
    thinking: thinkingOf(body),
    tier: optionalTextAt(body, 'service_tier'),
    user: optionalTextAt(body, 'user'),
    cacheMarks: cacheMarksIn(body),
    stream: body.stream === true,
    problems: [...problems, ...conversation.problems],
  };
}

function textsOf(content: unknown): string[] {
  if (typeof content === 'string') return [content];
  if (!Array.isArray(content)) return [];
  return content.flatMap((part) => {
    if (typeof part === 'string') return [part];
    if (!isJson(part)) return [];
    return part.type === 'text' ? [textAt(part, 'text')] : part.type === 'refusal' ? [textAt(part, 'refusal')] : [];
  });
}

function takeMedia(turn: TurnReading, content: unknown): void {
  for (const part of Array.isArray(content) ? content.filter(isJson) : []) {
    switch (part.type) {
      case 'image_url':
        turn.media.push({ kind: 'image', source: sourceOf(optionalTextAt(part.image_url, 'url') ?? String(part.image_url)) });
        break;
      case 'input_audio':
        turn.media.push({ kind: 'audio', source: textAt(part.input_audio, 'data') });
        break;
      case 'video_url':
        turn.media.push({ kind: 'video', source: sourceOf(textAt(part.video_url, 'url')) });
        break;
      case 'file': {
        const file = objectAt(part, 'file');
        turn.media.push({ kind: 'file', source: optionalTextAt(file, 'file_id') ?? sourceOf(textAt(file, 'file_data')) });
        break;
      }
      case 'text':
      case 'refusal':
      case 'thinking':
        break;
      default:
        turn.foreign.push(textAt(part, 'type'));
    }
  }
}

function takeAssistant(conversation: Conversation, message: Json): void {
  const turn = conversation.turn('assistant');
  turn.text += textsOf(message.content).join('\n') + textAt(message, 'refusal');
  turn.reasoning += optionalTextAt(message, 'reasoning_content') ?? textAt(message, 'reasoning');
  takeMedia(turn, message.content);
  for (const image of objectsAt(message, 'images')) turn.media.push({ kind: 'image', source: sourceOf(textAt(image.image_url, 'url')) });
  for (const detail of objectsAt(message, 'reasoning_details')) {
    const proof = optionalTextAt(detail, 'signature') ?? optionalTextAt(detail, 'data') ?? optionalTextAt(detail, 'value');
    if (proof !== undefined) turn.proofs.push(proof);
  }
  for (const call of objectsAt(message, 'tool_calls')) {
    const isCustom = call.type === 'custom';
    const called = objectAt(call, isCustom ? 'custom' : 'function');
    conversation.call(textAt(call, 'id'), textAt(called, 'name'), isCustom ? called.input : called.arguments, isCustom);
  }
  if (isJson(message.function_call)) conversation.call('', textAt(message.function_call, 'name'), message.function_call.arguments);
}

function toolChoiceOf(choice: unknown): string | undefined {
  if (typeof choice === 'string') return choice === 'any' ? 'required' : choice;
  if (!isJson(choice)) return undefined;
  const named = optionalTextAt(choice.function, 'name') ?? optionalTextAt(choice.custom, 'name') ?? optionalTextAt(choice, 'name');
  return named === undefined ? JSON.stringify(choice) : `tool ${named}`;
}

function formatOf(format: Json): string | undefined {
  if (format.type === 'json_schema') return schemaText(objectAt(format, 'json_schema').schema);
  return format.type === 'json_object' ? 'json_object' : undefined;
}

function thinkingOf(body: Json): Thinking | undefined {
  const effort = optionalTextAt(body, 'reasoning_effort') ?? optionalTextAt(body.reasoning, 'effort');
  const budget = numberAt(body.reasoning, 'max_tokens');
  if (effort === 'none') return { is: 'off' };
  return effort === undefined && budget === undefined ? undefined : { is: 'on', effort, budget };
}
