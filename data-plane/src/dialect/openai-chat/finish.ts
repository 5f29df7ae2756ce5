/** Why a choice ended, as this protocol and its relatives write it. */
import { GatewayError } from '@meridian/domain/error';
import type { Finish, FinishReason } from '../../canonical/finish.ts';
import type { JsonObject } from '../json.ts';

/** A choice with one of these has ended; null and absent mean that it goes on. */
export function hasFinished(finishReason: unknown): boolean {
  return typeof finishReason === 'string' && finishReason !== '';
}

/** In lower case: some relatives write them in the words, and the letters, of the model behind. */
const REASONS: ReadonlyMap<string, FinishReason> = new Map([
  ['stop', 'stop'],
  ['eos', 'stop'],
  ['eos_token', 'stop'],
  ['end_turn', 'stop'],
  ['complete', 'stop'],
  ['stop_sequence', 'stop_sequence'],
  ['length', 'length'],
  ['max_tokens', 'length'],
  ['max_output_tokens', 'length'],
  ['model_length', 'length'],
  ['model_context_window_exceeded', 'length'],
  ['tool_calls', 'tool_calls'],
  ['tool_use', 'tool_calls'],
  ['function_call', 'tool_calls'],
  ['content_filter', 'content_filter'],
  ['sensitive', 'content_filter'],
  ['safety', 'content_filter'],
  ['refusal', 'content_filter'],
]);

/**
 * Undefined while the choice goes on. `hasCalls`: the choice calls tools, which some write as a stop. Throws GatewayError `upstream_error`
 * on a reason that is not known: it may not pass for a stop.
 */
export function readFinish(choice: JsonObject, hasCalls: boolean): Finish | undefined {
  const raw = choice.finish_reason;
  if (!hasFinished(raw)) return undefined;
  const reason = REASONS.get(String(raw).toLowerCase());
  if (reason === undefined) {
    throw new GatewayError('upstream_error', {
      source: 'upstream',
      message: 'The provider ended the answer for a reason that is not known.',
      cause: raw,
    });
  }
  if (reason !== 'stop') return { reason, raw: String(raw) };
  if (hasCalls) return { reason: 'tool_calls', raw: String(raw) };
  // Self-hosted servers tell which sequence it was.
  const sequence = choice.stop_reason;
  return typeof sequence === 'string' && sequence !== '' && !REASONS.has(sequence)
    ? { reason: 'stop_sequence', raw: String(raw), sequence }
    : { reason: 'stop', raw: String(raw) };
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
