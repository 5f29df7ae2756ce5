/** What the plan of an account allows of a request whose body was read. */
import { GatewayError } from '@meridian/domain/error';
import type { Plan } from '@meridian/domain/snapshot';

/** A message by its place in the request, with the characters (UTF-16 units) of its text. */
export interface MessageLength {
  readonly index: number;
  readonly characters: number;
  /** Where the dialect does not call it `messages[index]`. */
  readonly param?: string;
}

/** A request's messages; satisfied by an exchange. */
export interface MessageSource {
  readonly body: Buffer;
  readonly dialect: { longestMessage?(body: Buffer): MessageLength };
}

/**
 * Throws 400 for a message that is longer than the plan allows. `longestMessageBytes` bounds the characters of each, so they are
 * counted only where the bound is not enough; undefined for a request without messages.
 */
export function checkMessages(plan: Plan, longestMessageBytes: number | undefined, source: MessageSource): void {
  const most = plan.maxMessageCharacters;
  if (most === undefined || longestMessageBytes === undefined || longestMessageBytes <= most) return;
  const longest = source.dialect.longestMessage?.(source.body);
  if (longest === undefined || longest.characters <= most) return;
  const param = longest.param ?? `messages[${longest.index}]`;
  throw new GatewayError('invalid_request_error', {
    message: `The plan of this account allows ${most} characters a message, and ${param} has ${longest.characters}.`,
    param,
  });
}
