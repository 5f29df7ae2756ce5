/** Why a choice ended, as this protocol and its relatives write it. */
import { GatewayError } from '@meridian/domain/error';
import type { Finish, FinishReason } from '../../canonical/finish.ts';

/** A choice with one of these has ended; null and absent mean that it goes on. */
export function hasFinished(finishReason: unknown): boolean {
  return typeof finishReason === 'string' && finishReason !== '';
}

const REASONS: ReadonlyMap<string, FinishReason> = new Map([
  ['stop', 'stop'],
  ['eos', 'stop'],
  ['end_turn', 'stop'],
  ['length', 'length'],
  ['max_tokens', 'length'],
  ['model_length', 'length'],
  ['tool_calls', 'tool_calls'],
  ['function_call', 'tool_calls'],
  ['content_filter', 'content_filter'],
  ['sensitive', 'content_filter'],
]);

/** Undefined while the choice goes on. Throws GatewayError `upstream_error` on a reason that is not known: it may not pass for a stop. */
export function readFinish(raw: unknown): Finish | undefined {
  if (!hasFinished(raw)) return undefined;
  const reason = REASONS.get(String(raw));
  if (reason === undefined) {
    throw new GatewayError('upstream_error', {
      source: 'upstream',
      message: 'The provider ended the answer for a reason that is not known.',
      cause: raw,
    });
  }
  return { reason, raw: String(raw) };
}

export function writeFinish({ reason }: Finish): string {
  switch (reason) {
    case 'stop':
    case 'stop_sequence':
      return 'stop';
    // This protocol cannot ask for a turn to be continued; a cut answer is what a client can act upon.
    case 'pause':
    case 'length':
      return 'length';
    case 'tool_calls':
    case 'content_filter':
      return reason;
    default:
      return reason satisfies never;
  }
}
