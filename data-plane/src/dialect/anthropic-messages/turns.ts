/**
 * A conversation as this protocol takes it: one user's and one assistant's turn after the other, results of calls at the head of a user's
 * turn, and what the system says beside it.
 */
import type { Loss } from '../../canonical/loss.ts';
import type { Message, Part } from '../../canonical/message.ts';
import { invalid, type JsonObject } from '../json.ts';
import { writeBlocks } from './message.ts';
import type { ModelWays } from './models.ts';

export interface Conversation {
  readonly system: readonly JsonObject[];
  readonly messages: readonly Turn[];
}

export interface Turn {
  readonly role: 'user' | 'assistant' | 'system';
  readonly content: JsonObject[];
}

/** `messages` have each result right behind its call. Throws GatewayError 400 for parts that this provider cannot be shown. */
export function writeTurns(messages: readonly Message[], isOurs: boolean, ways: ModelWays, lose: (loss: Loss) => void): Conversation {
  const system: JsonObject[] = [];
  const turns: Turn[] = [];
  for (const [index, message] of messages.entries()) {
    const at = `messages[${index}]`;
    // The name in a result is the function's.
    if (message.name !== undefined && message.role !== 'tool') lose({ name: 'message_name', at });
    const blocks = message.parts.flatMap((part) => writeBlocks(part, { isOurs, at, lose }));
    if (message.role === 'system' || message.role === 'developer') {
      const texts = blocks.filter((block) => isOurs || block.type === 'text');
      if (texts.length < blocks.length) lose({ name: 'unknown_part', at });
      // What the system says before anybody else stands apart.
      if (ways.takesInlineSystem && turns.length > 0) append(turns, 'system', texts);
      else system.push(...texts);
    } else append(turns, message.role === 'assistant' ? 'assistant' : 'user', blocks);
  }
  // A request must have a message: what stands for all of the conversation is said by the user then.
  if (turns.length === 0 && system.length > 0) return { system: [], messages: [{ role: 'user', content: system }] };
  if (!turns.some(({ role }) => role !== 'system'))
    throw invalid("The parameter 'messages' holds nothing that this model can be shown.", 'messages');
  trimPrefill(turns.at(-1));
  return { system, messages: turns };
}

/** White space at the end of an answer that is to be continued is refused. */
function trimPrefill(turn: Turn | undefined): void {
  const block = turn?.role === 'assistant' ? turn.content.at(-1) : undefined;
  if (turn === undefined || block?.type !== 'text' || typeof block.text !== 'string') return;
  turn.content[turn.content.length - 1] = { ...block, text: block.text.trimEnd() };
}

/** Empty turns are refused, and two of one role are one. */
function append(turns: Turn[], role: Turn['role'], blocks: readonly JsonObject[]): void {
  if (blocks.length === 0) return;
  const last = turns.at(-1);
  if (last?.role === role) last.content.push(...blocks);
  else turns.push({ role, content: [...blocks] });
}

/** A turn of the model is to be continued, as it stands or after results, and its thinking does not stand before it. */
export function continuesUnproven(turns: readonly Turn[]): boolean {
  const last = turns.findLast(({ role }) => role !== 'system');
  if (last?.role === 'assistant') return true;
  if (last?.content[0]?.type !== 'tool_result') return false;
  const first = turns.findLast(({ role }) => role === 'assistant')?.content[0]?.type;
  return first !== 'thinking' && first !== 'redacted_thinking';
}

/** Names of the tools that were called in the conversation. */
export function calledNames(messages: readonly Message[]): ReadonlySet<string> {
  const isCall = (part: Part): part is Part & { readonly type: 'tool_call' } => part.type === 'tool_call';
  return new Set(messages.flatMap(({ parts }) => parts.filter(isCall).map(({ name }) => name)));
}
