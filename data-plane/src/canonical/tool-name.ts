/** Names of tools, for upstreams that do not take every name: shorter, or of fewer characters, and given back as they were. */
import { boundedCallId } from './call-id.ts';
import type { Tool } from './tool.ts';

/** What every upstream takes. */
const MAX_TOOL_NAME_CHARACTERS = 64;

/** Letters, digits, `_` and `-`, 64 at most: a name that has this form stays, any other is cut, with a hash of all of it behind. */
export function boundedToolName(name: string): string {
  return boundedCallId(name, MAX_TOOL_NAME_CHARACTERS);
}

/** The name by which the client knows the tool that an upstream calls. */
export function originalToolName(name: string, tools: readonly Tool[]): string {
  let original = name;
  for (const tool of tools) {
    if (tool.kind === 'hosted') continue;
    if (tool.name === name) return name;
    if (boundedToolName(tool.name) === name) original = tool.name;
  }
  return original;
}
