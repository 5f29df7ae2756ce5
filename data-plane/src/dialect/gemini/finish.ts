/** Why a candidate ended, as Gemini writes it. */
import { GatewayError } from '@meridian/domain/error';
import type { Finish, FinishReason } from '../../canonical/finish.ts';

/** A candidate with one of these has ended. */
export function hasFinished(finishReason: unknown): finishReason is string {
  return typeof finishReason === 'string' && finishReason !== '' && finishReason !== 'FINISH_REASON_UNSPECIFIED';
}

const REASONS: ReadonlyMap<string, FinishReason> = new Map([
  ['STOP', 'stop'],
  ['MAX_TOKENS', 'length'],
  ['SAFETY', 'content_filter'],
  ['RECITATION', 'content_filter'],
  ['BLOCKLIST', 'content_filter'],
  ['PROHIBITED_CONTENT', 'content_filter'],
  ['SPII', 'content_filter'],
  ['MODEL_ARMOR', 'content_filter'],
  ['IMAGE_SAFETY', 'content_filter'],
  ['IMAGE_PROHIBITED_CONTENT', 'content_filter'],
  ['IMAGE_RECITATION', 'content_filter'],
  ['IMAGE_OTHER', 'content_filter'],
]);

/** The model wrote a call that cannot be read: another try may go well. */
const BROKEN_ANSWERS: ReadonlySet<string> = new Set([
  'MALFORMED_FUNCTION_CALL',
  'UNEXPECTED_TOOL_CALL',
  'TOO_MANY_TOOL_CALLS',
  'MALFORMED_RESPONSE',
]);

/**
 * `calls`: the candidate has called tools of the client, for which Gemini has no reason of its own. `message` is Gemini's own.
 * Throws GatewayError `upstream_error` on an answer that broke off, and on a reason that is not known: neither may pass for a stop.
 */
export function readFinish(raw: string, calls: boolean, message?: unknown): Finish {
  const reason = REASONS.get(raw);
  if (reason !== undefined) return { reason: reason === 'stop' && calls ? 'tool_calls' : reason, raw };
  const what = BROKEN_ANSWERS.has(raw) ? 'The model broke off its answer' : 'The provider ended the answer for a reason that is not known';
  throw new GatewayError('upstream_error', {
    source: 'upstream',
    message: `${what}: ${raw.slice(0, 64)}.`,
    cause: message ?? raw,
  });
}

/** A prompt that was refused has no candidates. */
export function readBlockReason(raw: string): Finish {
  return { reason: 'content_filter', raw };
}

export function writeFinish({ reason, raw }: Finish): string {
  switch (reason) {
    case 'stop':
    case 'stop_sequence':
    case 'tool_calls':
      return 'STOP';
    // This protocol cannot ask for a turn to be continued; a cut answer is what a client can act upon.
    case 'pause':
    case 'length':
      return 'MAX_TOKENS';
    case 'content_filter':
      return REASONS.get(raw) === 'content_filter' ? raw : 'SAFETY';
    default:
      return reason satisfies never;
  }
}
