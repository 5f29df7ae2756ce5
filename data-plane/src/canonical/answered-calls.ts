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
    for (let next = messages[index + 1]; next?.role === 'assistant'; next = messages[++index + 1]) {
      message = { ...message, parts: [...message.parts, ...next.parts], rest: { ...message.rest, ...next.rest } };
    }
    written.push(message);
    for (const part of message.parts) {
      if (part.type === 'tool_call') written.push(resultMessage(take(results, part.id, index, param)));
    }
  }
  for (const [orphan] of results.values()) {
    if (orphan !== undefined) throw refused(`No tool call before it has the id '${shown(orphan.part.callId)}' of a tool result.`, param);
  }
  return written;
}

function resultsByCall(messages: readonly Message[]): Map<string, Result[]> {
  const found = new Map<string, Result[]>();
  for (const [index, source] of messages.entries()) {
    for (const part of source.parts) {
      if (part.type !== 'tool_result') continue;
      const list = found.get(part.callId);
      if (list === undefined) found.set(part.callId, [{ part, source, index }]);
      else list.push({ part, source, index });
    }
  }
  return found;
}

/** The first result of a call that comes after it. One before it stays, and has no call. */
function take(results: Map<string, Result[]>, callId: string, index: number, param: string): Result {
  const list = results.get(callId) ?? [];
  const at = list.findIndex((result) => result.index > index);
  const [result] = at === -1 ? [] : list.splice(at, 1);
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
