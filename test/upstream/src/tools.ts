// Decides which of the offered tools the simulated model calls, and with what arguments.

import type { ModelRequest, Tool } from './model-request.ts';
import { schemaInstance } from './schema-instance.ts';

/** A call the model makes; `text` is the arguments' JSON, or a custom tool's free input. */
export interface ToolCall {
  tool: Tool;
  text: string;
}

const COMMON = new Set(
  'get set the for and with from that this into call tool function given about which what when where current data list make your user of to in on by or is are an as it be can will return returns use used using please tell information'.split(
    ' ',
  ),
);

function wordsOf(text: string): string[] {
  return text
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word.length >= 3 && !COMMON.has(word));
}

/** The capitalised words of a text, which stand in for the values a real model would pick out of it. */
export function namedWords(text: string): string[] {
  const found = text.match(/(?<![.!?]\s)(?<!^)\b\p{Lu}[\p{L}\p{N}]+/gu) ?? [];
  return [...new Set(found)];
}

function mentions(words: Set<string>, candidates: string[]): boolean {
  return candidates.some((word) => words.has(word) || words.has(`${word}s`) || (word.endsWith('s') && words.has(word.slice(0, -1))));
}

function fittingTools(tools: Tool[], text: string): Tool[] {
  const words = new Set(wordsOf(text));
  const named = tools.filter((tool) => text.includes(tool.name) || mentions(words, wordsOf(tool.name)));
  if (named.length > 0) return named;
  // A description uses many words: it only counts when no tool's name fits.
  return tools.filter((tool) =>
    mentions(
      words,
      wordsOf(tool.description).filter((word) => word.length >= 4),
    ),
  );
}

function callOf(tool: Tool, text: string): ToolCall {
  if (tool.kind === 'custom') return { tool, text };
  return { tool, text: JSON.stringify(schemaInstance(tool.parameters, namedWords(text))) };
}

/**
 * The calls this turn makes, in the order the tools were offered; none means the model answers in text. With `auto` a
 * turn that follows tool results is always answered in text.
 */
export function chooseCalls(request: ModelRequest, userText: string): ToolCall[] {
  const { tools, toolChoice } = request;
  if (tools.length === 0 || toolChoice.mode === 'none') return [];
  let chosen: Tool[];
  if (toolChoice.mode === 'named') {
    chosen = tools.filter((tool) => tool.name === toolChoice.name).slice(0, 1);
  } else {
    chosen = toolChoice.mode === 'auto' && request.messages.at(-1)?.role === 'tool' ? [] : fittingTools(tools, userText);
    if (chosen.length === 0 && toolChoice.mode === 'required') chosen = tools.slice(0, 1);
  }
  if (!request.parallelToolCalls) chosen = chosen.slice(0, 1);
  return chosen.map((tool) => callOf(tool, userText));
}
