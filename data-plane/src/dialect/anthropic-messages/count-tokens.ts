/** Counting the tokens of a request without sending it: the same body but for the output limit, and a number for an answer. */
import { GatewayError } from '@meridian/domain/error';
import type { PassThroughRequest } from '../dialect.ts';
import { isObject } from '../json.ts';
import { readUnlimited } from './pass-through-request.ts';

/** The facts of the body, and its bytes for an upstream that counts; its text is read by `inputText`. Throws GatewayError 400. */
export function readCountTokens(body: Buffer): PassThroughRequest {
  return readUnlimited(body);
}

/** The answer to a client. */
export function writeTokenCount(inputTokens: number): Buffer {
  return Buffer.from(JSON.stringify({ input_tokens: inputTokens }));
}

/** An upstream's answer. Throws GatewayError `upstream_error` where it is none. */
export function readTokenCount(body: Buffer): number {
  let answer: unknown;
  try {
    answer = JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw unreadable(error);
  }
  const tokens = isObject(answer) ? answer.input_tokens : undefined;
  if (typeof tokens !== 'number' || !Number.isSafeInteger(tokens) || tokens < 0) throw unreadable('no count');
  return tokens;
}

function unreadable(cause: unknown): GatewayError {
  return new GatewayError('upstream_error', { source: 'upstream', message: "The provider's answer could not be read.", cause });
}
