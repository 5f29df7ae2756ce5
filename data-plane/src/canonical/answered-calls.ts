/** Calls of tools and their results in a conversation: each call has one result, which stands right behind the turn that made it. */
import { GatewayError } from '@meridian/domain/error';
import type { Message, ToolResultPart } from './message.ts';
import type { Request } from './request.ts';

/**
 * The request with the results of each turn's calls right behind it, in the order of the calls, each as a message of its own; what stood
 * between is behind them, and what the model said in one turn is one message. The same request where nothing was called.
 *
 * Throws GatewayError 400 for a call without a result, and for a result without a call: every provider refuses them.
 */
export function withAnsweredCalls(request: Request): Request {
  const { messages } = request;
  const hasTools = messages.some(({ parts }) => parts.some(({ type }) => type === 'tool_call' || type === 'tool_result'));
  return hasTools ? { ...request, messages: answered(messages, PARAMS[request.dialect] ?? 'messages') } : request;
}

/** Where the conversation stands in a request; `messages` elsewhere. */
const PARAMS: Readonly<Partial<Record<Request['dialect'], string>>> = { 'openai-responses': 'input', gemini: 'contents' };

/** A result, and the message that it came in. */
interface Result {
  readonly part: ToolResultPart;
  readonly source: Message;
  readonly index: number;
}

/** The results of the calls with one id, in their order: a client may use an id again. */
interface Queue {
  readonly list: Result[];
  /** Those before it are taken, or orphans. */
  next: number;
  orphan: Result | undefined;
}

function answered(messages: readonly Message[], param: string): readonly Message[] {
  const results = resultsByCall(messages);
  const written: Message[] = [];
  for (let index = 0; index < messages.length; index++) {
    let message = messages[index] as Message;
    if (message.role !== 'assistant') {
      const left = message.parts.filter(({ type }) => type !== 'tool_result');
      if (left.length === message.parts.length) written.push(message);
      else if (left.length > 0) written.push({ ...message, role: message.role === 'tool' ? 'user' : message.role, parts: left });
      continue;
    }
    const first = index;
    while (messages[index + 1]?.role === 'assistant') index++;
    if (index > first) message = oneTurn(messages.slice(first, index + 1), message);
    written.push(message);
    for (const part of message.parts) {
      if (part.type === 'tool_call') written.push(resultMessage(take(results, part.id, index, param)));
    }
  }
  for (const { list, next, orphan = list[next] } of results.values()) {
    if (orphan !== undefined) throw refused(`No tool call before it has the id '${shown(orphan.part.callId)}' of a tool result.`, param);
  }
  return written;
}

/** In one pass, since a client can send as many of them as a body holds. */
function oneTurn(messages: readonly Message[], first: Message): Message {
  const rest = Object.fromEntries(messages.flatMap((message) => Object.entries(message.rest)));
  return { ...first, parts: messages.flatMap(({ parts }) => parts), rest };
}

function resultsByCall(messages: readonly Message[]): Map<string, Queue> {
  const found = new Map<string, Queue>();
  for (const [index, source] of messages.entries()) {
    for (const part of source.parts) {
      if (part.type !== 'tool_result') continue;
      const queue = found.get(part.callId);
      if (queue === undefined) found.set(part.callId, { list: [{ part, source, index }], next: 0, orphan: undefined });
      else queue.list.push({ part, source, index });
    }
  }
  return found;
}

/** The first result of a call that comes after it. One before it has no call: those to come stand even later. */
function take(results: Map<string, Queue>, callId: string, index: number, param: string): Result {
  const queue = results.get(callId);
  let result = queue?.list[queue.next++];
  while (queue !== undefined && result !== undefined && result.index <= index) {
    queue.orphan ??= result;
    result = queue.list[queue.next++];
  }
  if (result === undefined) throw refused(`The tool call '${shown(callId)}' has no tool result after it.`, param);
  return result;
}

function resultMessage({ part, source }: Result): Message {
  if (source.role === 'tool' && source.parts.length === 1) return source;
  return { role: 'tool', parts: [part], name: undefined, rest: {} };
}

function refused(message: string, param: string): GatewayError {
  return new GatewayError('invalid_request_error', { message, param });
}

function shown(id: string): string {
  return id.slice(0, 128);
}
