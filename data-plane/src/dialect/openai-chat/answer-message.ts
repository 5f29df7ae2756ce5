/** The message of an answer, for a client: one text, and what else the model put out beside it. */
import type { Loss } from '../../canonical/loss.ts';
import type { Part } from '../../canonical/message.ts';
import type { Tool } from '../../canonical/tool.ts';
import type { JsonObject } from '../json.ts';
import { hasAddress, writeCitation } from './citations.ts';
import { writeAudio, writeImage } from './media.ts';
import { writeCarrier } from './reasoning.ts';
import { writeClientCall } from './tools.ts';

/** `isOurs`: the answer was read in this dialect, and gets back what it had. */
export function writeAnswerMessage(
  parts: readonly Part[],
  tools: readonly Tool[],
  isOurs: boolean,
  lose: (loss: Loss) => void,
): JsonObject {
  const images: JsonObject[] = [];
  const calls: JsonObject[] = [];
  const annotations: JsonObject[] = [];
  const details: unknown[] = [];
  let content: string | undefined;
  let reasoning = '';
  let refusal: string | undefined;
  let audio: JsonObject | undefined;
  for (const part of parts) {
    switch (part.type) {
      case 'text':
        content = (content ?? '') + part.text;
        for (const citation of part.citations) {
          if (isOurs || hasAddress(citation)) annotations.push(writeCitation(citation, isOurs));
          else lose({ name: 'citations' });
        }
        break;
      case 'reasoning': {
        const isAfter = (content ?? '') !== '' || calls.length > 0;
        reasoning += part.text;
        for (const [place, carrier] of part.carriers.entries()) {
          details.push(...writeCarrier(carrier, { text: place === 0 ? part.text : '', index: details.length, isAfter }));
        }
        break;
      }
      case 'refusal':
        refusal = (refusal ?? '') + part.text;
        break;
      case 'tool_call':
        calls.push(writeClientCall(part, tools, isOurs));
        break;
      case 'audio':
        audio = writeAudio(part, isOurs);
        break;
      case 'image':
        images.push({ ...(isOurs ? part.rest : {}), ...writeImage(part) });
        break;
      case 'foreign':
      case 'video':
      case 'file':
      case 'tool_result':
        lose({ name: 'unknown_part', at: part.type });
        break;
      default:
        part satisfies never;
    }
  }
  const isSaid = calls.length > 0 || refusal !== undefined || audio !== undefined || images.length > 0;
  return {
    role: 'assistant',
    // Nothing but thinking, or nothing at all, is an empty text.
    content: isSaid && (content ?? '') === '' ? null : (content ?? ''),
    refusal: refusal ?? null,
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(details.length === 0 ? {} : { reasoning_details: details }),
    ...(annotations.length === 0 ? {} : { annotations }),
    ...(audio === undefined ? {} : { audio }),
    ...(images.length === 0 ? {} : { images }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}
