/** A turn as the Responses request that it stands for: what came before it, and its own input. */
import { GatewayError } from '@meridian/domain/error';
import { MAX_BODY_BYTES } from '../body.ts';
import type { CreateMessage } from './client-message.ts';
import { itemsOf, joined, type KeptTurn } from './conversation.ts';

const START = Buffer.from('{"stream":true');
const COMMA = Buffer.from(',');
const TOOLS = Buffer.from(',"tools":');
const INCLUDE = Buffer.from(',"include":');
const INPUT = Buffer.from(',"input":[');
const INPUT_END = Buffer.from(']');
const END = Buffer.from('}');

/**
 * The body of the request. Instructions are a turn's own; tools are, too, unless the chain was begun by a request that only made ready
 * (`generate: false`): its tools hold for those that follow and name none. `include` takes the place of the turn's own. Throws GatewayError 413.
 */
export function requestBody(create: CreateMessage, previous: KeptTurn | undefined, include = create.include): Buffer {
  const parts: Buffer[] = [START];
  if (create.members.length > 0) parts.push(COMMA, create.members);
  if (create.tools === undefined && previous?.tools !== undefined) parts.push(TOOLS, previous.tools);
  if (include !== undefined) parts.push(INCLUDE, include);
  if (previous !== undefined || create.items !== undefined) {
    const own = create.items === undefined ? [] : [create.items];
    parts.push(INPUT, joined([...itemsOf(previous), ...own]), INPUT_END);
  }
  parts.push(END);
  const body = Buffer.concat(parts);
  if (body.length > MAX_BODY_BYTES) {
    throw new GatewayError('request_too_large', {
      message: `The request, with the turns that it follows, is larger than ${MAX_BODY_BYTES} bytes.`,
    });
  }
  return body;
}

/** What a turn leaves for those that follow it and name no tools. */
export function toolsFor(create: CreateMessage, previous: KeptTurn | undefined): Buffer | undefined {
  if (create.tools === undefined) return previous?.tools;
  return create.generate ? undefined : create.tools;
}
