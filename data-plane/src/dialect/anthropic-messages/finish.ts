/** Why an answer ended, as this protocol writes it. */
import { GatewayError } from '@meridian/domain/error';
import type { Finish, FinishReason } from '../../canonical/finish.ts';

const REASONS: ReadonlyMap<unknown, FinishReason> = new Map<unknown, FinishReason>([
  ['end_turn', 'stop'],
  ['stop_sequence', 'stop_sequence'],
  ['max_tokens', 'length'],
  ['model_context_window_exceeded', 'length'],
  ['tool_use', 'tool_calls'],
  ['refusal', 'content_filter'],
  ['pause_turn', 'pause'],
  ['compaction', 'pause'],
]);

/** An answer with one of these has ended; null and absent mean that it goes on. */
export function hasFinished(stopReason: unknown): boolean {
  return typeof stopReason === 'string' && stopReason !== '';
}

/**
 * Undefined while the answer goes on. `sequence`: the stop sequence that came. Throws GatewayError `upstream_error` on a reason that is
 * not known: it may not pass for a stop.
 */
export function readFinish(stopReason: unknown, sequence: unknown): Finish | undefined {
  if (!hasFinished(stopReason)) return undefined;
  const reason = REASONS.get(stopReason);
  if (reason === undefined) {
    throw new GatewayError('upstream_error', {
      source: 'upstream',
      message: 'The provider ended the answer for a reason that is not known.',
      cause: stopReason,
    });
  }
  return { reason, raw: String(stopReason), ...(typeof sequence === 'string' ? { sequence } : {}) };
}

/** What else is known of an answer when it ends. */
export interface Ending {
  readonly hasCalls: boolean;
  /** The model itself declined. */
  readonly hasRefusal: boolean;
}

/** `stop_reason` and `stop_sequence`. */
export function writeFinish(
  finish: Finish | undefined,
  { hasCalls, hasRefusal }: Ending,
): { readonly stop_reason: string; readonly stop_sequence: string | null } {
  const reason = finish?.reason ?? 'stop';
  // Some providers call it a plain stop when they wait for results.
  if (reason === 'stop' && hasCalls) return { stop_reason: 'tool_use', stop_sequence: null };
  if (reason === 'stop' && hasRefusal) return { stop_reason: 'refusal', stop_sequence: null };
  // One of several words for the same, where the upstream speaks this dialect.
  if (finish !== undefined && REASONS.get(finish.raw) === reason) {
    return { stop_reason: finish.raw, stop_sequence: finish.sequence ?? null };
  }
  return { stop_reason: WRITTEN[reason], stop_sequence: reason === 'stop_sequence' ? (finish?.sequence ?? null) : null };
}

const WRITTEN: Readonly<Record<FinishReason, string>> = {
  stop: 'end_turn',
  stop_sequence: 'stop_sequence',
  length: 'max_tokens',
  tool_calls: 'tool_use',
  content_filter: 'refusal',
  pause: 'pause_turn',
};
