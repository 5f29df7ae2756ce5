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
    loseFields(message, isOurs, at, lose);
    const blocks = message.parts.flatMap((part) => writeBlocks(part, { isOurs, at, lose }));
    if (message.role === 'system' || message.role === 'developer') {
      const texts = blocks.filter((block) => isOurs || block.type === 'text');
      if (texts.length < blocks.length) lose({ name: 'unknown_part', at });
      if (ways.takesInlineSystem && mayFollow(turns.at(-1))) append(turns, 'system', texts);
      else system.push(...texts);
    } else append(turns, message.role === 'assistant' ? 'assistant' : 'user', blocks);
  }
  if (!turns.some(({ role }) => role !== 'system'))
    throw invalid("The parameter 'messages' holds nothing that this model can be shown.", 'messages');
  return { system, messages: turns };
}

/** Empty turns are refused, and two of one role are one. */
function append(turns: Turn[], role: Turn['role'], blocks: readonly JsonObject[]): void {
  if (blocks.length === 0) return;
  const last = turns.at(-1);
  if (last?.role === role) last.content.push(...blocks);
  else turns.push({ role, content: [...blocks] });
}

/** The system may speak up after a user's turn; what it says before anybody else stands apart. */
function mayFollow(turn: Turn | undefined): boolean {
  return turn !== undefined && turn.role !== 'assistant';
}

function loseFields({ name, rest }: Message, isOurs: boolean, at: string, lose: (loss: Loss) => void): void {
  if (name !== undefined) lose({ name: 'message_name', at });
  if (isOurs) return;
  for (const [field, value] of Object.entries(rest)) {
    if (value !== null && value !== undefined) lose({ name: 'unknown_field', at: `${at}.${field}` });
  }
}

/** The last turn of the model waits for results that have come, and does not begin with thinking. */
export function continuesUnproven(turns: readonly Turn[]): boolean {
  const [before, last] = turns.slice(-2);
  if (before?.role !== 'assistant' || last?.role !== 'user' || last.content[0]?.type !== 'tool_result') return false;
  const first = before.content[0]?.type;
  return first !== 'thinking' && first !== 'redacted_thinking';
}

/** Names of the tools that were called in the conversation. */
export function calledNames(messages: readonly Message[]): ReadonlySet<string> {
  const isCall = (part: Part): part is Part & { readonly type: 'tool_call' } => part.type === 'tool_call';
  return new Set(messages.flatMap(({ parts }) => parts.filter(isCall).map(({ name }) => name)));
}
