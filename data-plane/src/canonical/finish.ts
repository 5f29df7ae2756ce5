/** Why a choice ended. */

/**
 * `stop`: the model was done · `stop_sequence`: one of the request's stop sequences came · `length`: a limit of output
 * or context · `tool_calls`: it waits for results · `content_filter`: the provider stopped it for safety · `pause`: the
 * turn is to be continued by sending it back. Anything else is an error, never a plain stop.
 */
export type FinishReason = 'stop' | 'stop_sequence' | 'length' | 'tool_calls' | 'content_filter' | 'pause';

export interface Finish {
  readonly reason: FinishReason;
  /** As the upstream wrote it. */
  readonly raw: string;
  /** The stop sequence that came, where the upstream tells. */
  readonly sequence?: string;
}
