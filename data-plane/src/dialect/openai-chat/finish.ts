/** Why a choice ended, as this protocol writes it. */

/** A choice with one of these has ended; null and absent mean that it goes on. */
export function hasFinished(finishReason: unknown): boolean {
  return typeof finishReason === 'string' && finishReason !== '';
}
