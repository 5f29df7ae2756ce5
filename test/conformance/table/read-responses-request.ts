/** OpenAI's Responses as an upstream reads the request. */
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

const MAX_CALL_ID_CHARACTERS = 64;

export function readResponsesRequest(body: Json): RequestReading {
  const conversation = new Conversation();
  const problems: string[] = [];
  const system: string[] = [];
  if (typeof body.instructions === 'string') system.push(body.instructions);
  const input = typeof body.input === 'string' ? [{ role: 'user', content: body.input }] : objectsAt(body, 'input');
  const calls = new Set<string>();
  for (const [index, item] of input.entries()) {
    const type = textAt(item, 'type') || 'message';
    switch (type) {
      case 'message': {
        const role = textAt(item, 'role');
        const content = textsOf(item.content).join('\n');
        if (role === 'system' || role === 'developer') system.push(content);
        else if (role === 'user' || role === 'assistant') {
          const turn = conversation.turn(role);
          turn.text += content;
          takeMedia(turn, item.content);
          const wanted = role === 'assistant' ? ['output_text', 'refusal'] : ['input_text', 'input_image', 'input_file', 'input_audio'];
          for (const part of Array.isArray(item.content) ? item.content.filter(isJson) : []) {
            if (!wanted.includes(textAt(part, 'type'))) problems.push(`${textAt(part, 'type')} in a message of ${role}`);
          }
        } else problems.push(`a message of ${role}`);
        break;
      }
      case 'function_call':
      case 'custom_tool_call': {
        const id = textAt(item, 'call_id');
        if (id.length > MAX_CALL_ID_CHARACTERS) problems.push('a call_id above 64 characters');
        if (type === 'function_call' && !/^[a-zA-Z0-9_-]{1,128}$/.test(textAt(item, 'name')))
          problems.push(`a function named ${textAt(item, 'name')}`);
        calls.add(id);
        const isCustom = type === 'custom_tool_call';
        conversation.call(id, textAt(item, 'name'), isCustom ? item.input : item.arguments, isCustom);
        break;
      }
      case 'function_call_output':
      case 'custom_tool_call_output': {
        if (!calls.has(textAt(item, 'call_id'))) problems.push('an output before its call');
        const text = textsOf(item.output).join('\n');
        conversation.result(textAt(item, 'call_id'), text, text.startsWith('Error:'));
        takeMedia(conversation.turn('user'), item.output);
        break;
      }
      case 'reasoning': {
        const turn = conversation.turn('assistant');
        for (const part of [...objectsAt(item, 'content'), ...objectsAt(item, 'summary')]) turn.reasoning += textAt(part, 'text');
        const proof = textAt(item, 'encrypted_content');
        if (proof !== '') turn.proofs.push(proof);
        const next = input[index + 1];
        if (next === undefined || textAt(next, 'role') === 'user') problems.push('reasoning without what it led to');
        if (!Array.isArray(item.summary)) problems.push('reasoning without a summary list');
        break;
      }
      default:
        conversation.turn('assistant').foreign.push(type);
    }
  }
  const turns = conversation.done();
  const include = Array.isArray(body.include) ? body.include : [];
  const tools = objectsAt(body, 'tools');
  const isOwn = (tool: Json): boolean => tool.type === 'function' || tool.type === 'custom';
  return {
    system: system.join('\n'),
    turns,
    tools: tools.filter(isOwn).map((tool) => {
      const parameters =
        tool.type === 'custom' ? { type: 'object', properties: { input: { type: 'string' } }, required: ['input'] } : tool.parameters;
      return { name: textAt(tool, 'name'), description: textAt(tool, 'description'), parameters: parametersText(parameters) };
    }),
    hosted: tools.filter((tool) => !isOwn(tool)).map((tool) => String(tool.type)),
    toolChoice: toolChoiceOf(body.tool_choice),
    parallel: typeof body.parallel_tool_calls === 'boolean' ? body.parallel_tool_calls : undefined,
    maxTokens: numberAt(body, 'max_output_tokens'),
    numbers: {
      temperature: numberAt(body, 'temperature'),
      topP: numberAt(body, 'top_p'),
      topK: numberAt(body, 'top_k'),
      seed: numberAt(body, 'seed'),
      frequencyPenalty: numberAt(body, 'frequency_penalty'),
      presencePenalty: numberAt(body, 'presence_penalty'),
    },
    stop: [],
    choices: 1,
    logprobs: include.includes('message.output_text.logprobs') ? (numberAt(body, 'top_logprobs') ?? 0) : undefined,
    format: formatOf(objectAt(objectAt(body, 'text'), 'format')),
    thinking: thinkingOf(objectAt(body, 'reasoning')),
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
  return content.filter(isJson).flatMap((part) => {
    const text = optionalTextAt(part, 'text') ?? optionalTextAt(part, 'refusal');
    return text === undefined ? [] : [text];
  });
}

function takeMedia(turn: TurnReading, content: unknown): void {
  for (const part of Array.isArray(content) ? content.filter(isJson) : []) {
    const id = optionalTextAt(part, 'file_id');
    switch (part.type) {
      case 'input_image':
        turn.media.push({ kind: 'image', source: id ?? sourceOf(textAt(part, 'image_url')) });
        break;
      case 'input_file':
        turn.media.push({ kind: 'file', source: id ?? optionalTextAt(part, 'file_url') ?? sourceOf(textAt(part, 'file_data')) });
        break;
      case 'input_audio':
        turn.media.push({ kind: 'audio', source: textAt(part.input_audio, 'data') });
        break;
      case 'input_text':
      case 'output_text':
      case 'refusal':
      case 'text':
        break;
      default:
        turn.foreign.push(textAt(part, 'type'));
    }
  }
}

function toolChoiceOf(choice: unknown): string | undefined {
  if (typeof choice === 'string') return choice;
  if (!isJson(choice)) return undefined;
  return typeof choice.name === 'string' ? `tool ${choice.name}` : JSON.stringify(choice);
}

function formatOf(format: Json): string | undefined {
  if (format.type === 'json_schema') return schemaText(format.schema);
  return format.type === 'json_object' ? 'json_object' : undefined;
}

function thinkingOf(reasoning: Json): Thinking | undefined {
  const effort = optionalTextAt(reasoning, 'effort');
  if (effort === undefined) return undefined;
  return effort === 'none' ? { is: 'off' } : { is: 'on', effort, budget: undefined };
}
