/** What only the dialect of a request knows, and an upstream of another one is not told. */
import type { Loss } from '../canonical/loss.ts';
import type { Part, Rest } from '../canonical/message.ts';
import type { Request } from '../canonical/request.ts';

/** Names every field of the request, its tools, messages and parts that the canonical language has no word for. */
export function loseUnknownFields({ rest, tools, messages }: Request, lose: (loss: Loss) => void): void {
  loseFields(rest, '', lose);
  for (const [index, tool] of tools.entries()) if (tool.kind !== 'hosted') loseFields(tool.rest, `tools[${index}].`, lose);
  for (const [index, message] of messages.entries()) {
    loseFields(message.rest, `messages[${index}].`, lose);
    for (const part of message.parts) loseFieldsOf(part, `messages[${index}].`, lose);
  }
}

function loseFieldsOf(part: Part, at: string, lose: (loss: Loss) => void): void {
  if ('rest' in part) loseFields(part.rest, at, lose);
  if (part.type === 'tool_result') for (const inner of part.parts) loseFieldsOf(inner, at, lose);
}

/** Null asks for nothing. */
function loseFields(rest: Rest, at: string, lose: (loss: Loss) => void): void {
  for (const [field, value] of Object.entries(rest)) {
    if (value !== null && value !== undefined) lose({ name: 'unknown_field', at: `${at}${field}` });
  }
}
