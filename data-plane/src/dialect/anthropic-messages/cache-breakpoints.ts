/** The breakpoints of the prompt cache in a request for an upstream. */
import type { Loss } from '../../canonical/loss.ts';
import { isObject, type JsonObject } from '../json.ts';
import { MAX_CACHE_BREAKPOINTS } from './schema.ts';

/** The fields with as many breakpoints as are taken: the first, which most requests share, and the last ones. */
export function limitCacheBreakpoints(fields: JsonObject, lose: (loss: Loss) => void): JsonObject {
  const automatic = isObject(fields.cache_control) ? 1 : 0;
  const total = automatic + countOf(fields.tools) + countOf(fields.system) + countIn(fields.messages);
  const surplus = total - MAX_CACHE_BREAKPOINTS;
  if (surplus <= 0) return fields;
  lose({ name: 'cache_control' });
  const passed = { seen: 0, surplus };
  const { tools, system, messages } = fields;
  return {
    ...fields,
    tools: thinned(tools, passed),
    system: thinned(system, passed),
    messages: Array.isArray(messages)
      ? messages.map((turn: JsonObject) => ({ ...turn, content: thinned(turn.content, passed) }))
      : messages,
  };
}

function countOf(blocks: unknown): number {
  return Array.isArray(blocks) ? blocks.filter((block) => isObject(block) && isObject(block.cache_control)).length : 0;
}

function countIn(messages: unknown): number {
  return Array.isArray(messages) ? messages.reduce((sum: number, turn: JsonObject) => sum + countOf(turn.content), 0) : 0;
}

/** Without those that come right after the first. */
function thinned(blocks: unknown, passed: { seen: number; readonly surplus: number }): unknown {
  if (!Array.isArray(blocks)) return blocks;
  return blocks.map((block: unknown) => {
    if (!isObject(block) || !isObject(block.cache_control)) return block;
    passed.seen++;
    if (passed.seen === 1 || passed.seen > passed.surplus + 1) return block;
    const { cache_control: _, ...others } = block;
    return others;
  });
}
