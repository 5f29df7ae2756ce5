/**
 * What becomes of a request that is the first to lack something of a budget.
 *
 * Waiting has two hopes: an answer of the control plane, and what this node itself may still free (`hope`: reservations
 * that have not settled, returns that the control plane has not seen). Only the control plane's `exhausted`, said within the last
 * second, may end in a refusal for want of budget; anything else that fails is `unavailable`, which a client tries again.
 */

/** The last thing that was heard of a budget. */
export type Word =
  /** The control plane's denial. `asked` is the need it was asked for; 0 where that is not known, or nobody waited. */
  | { readonly kind: 'exhausted'; readonly left: number; readonly limit: number; readonly asked: number; readonly atMs: number }
  /** Why there was no answer that helps. */
  | { readonly kind: 'unavailable'; readonly reason: string; readonly atMs: number };

export interface Shortage {
  /** What is missing beyond what is free here. */
  readonly need: number;
  /** When the request came. */
  readonly sinceMs: number;
  /** From then on it no longer waits for this node's own reservations. */
  readonly patientUntilMs: number;
  /** The last moment of its waiting. */
  readonly endsMs: number;
  /** What reservations in flight, and returns under way, may free at most. */
  readonly hope: number;
  /** Of this, returns under way, which the control plane may have to give to whoever asks next. */
  readonly returning: number;
  readonly inFlight: number;
  /** What was granted and could not be written down: it is this node's, and it cannot use it. */
  readonly unwritten: number;
  readonly word: Word | undefined;
  readonly connected: boolean;
  /** An answer is under way: a question is open, or a grant is being written down. */
  readonly answering: boolean;
  /** The lease is being replaced: nothing can be granted before it is closed. */
  readonly retiring: boolean;
}

export type Verdict =
  /** Until then at most; later it has to be judged anew. */
  | { readonly kind: 'wait'; readonly untilMs: number }
  | { readonly kind: 'ask' }
  | { readonly kind: 'exhausted'; readonly left: number; readonly limit: number }
  | { readonly kind: 'unavailable'; readonly reason: string };

export const UNWRITTEN = 'a grant could not be written down';

/** `memoryMs` is how long a word counts after it was heard. */
export function judge(shortage: Shortage, memoryMs: number, nowMs: number): Verdict {
  const { need, word, hope } = shortage;
  const patient = nowMs < shortage.patientUntilMs && (shortage.inFlight > 0 || hope > 0);
  const fresh = word !== undefined && nowMs - word.atMs <= memoryMs ? word : undefined;
  const nextMs = nowMs < shortage.patientUntilMs ? shortage.patientUntilMs : shortage.endsMs;
  if (fresh?.kind === 'exhausted' && need > fresh.left) {
    // Where not even all that may be freed would do, waiting only keeps others from being served. What is on its way back is not used up.
    const mayComeBack = patient ? hope : shortage.returning;
    if (need > fresh.left + mayComeBack) {
      if (need <= fresh.left + mayComeBack + shortage.unwritten) return { kind: 'unavailable', reason: UNWRITTEN };
      return { kind: 'exhausted', left: fresh.left, limit: fresh.limit };
    }
    if (nowMs >= shortage.endsMs) return { kind: 'unavailable', reason: 'the budget was not granted in time' };
    return { kind: 'wait', untilMs: Math.min(nextMs, fresh.atMs + memoryMs + 1) };
  }
  if (nowMs >= shortage.endsMs) return { kind: 'unavailable', reason: 'the budget was not granted in time' };
  if (shortage.answering) return { kind: 'wait', untilMs: nextMs };
  if (!shortage.connected) {
    // What goes back, and a lease in place of this one, come only from the control plane.
    const settlesHere = patient && shortage.inFlight > 0 && !shortage.retiring;
    return settlesHere ? { kind: 'wait', untilMs: nextMs } : { kind: 'unavailable', reason: 'not connected' };
  }
  if (shortage.retiring) return { kind: 'wait', untilMs: nextMs };
  if (fresh !== undefined && !helps(fresh, shortage)) {
    if (patient) return { kind: 'wait', untilMs: Math.min(nextMs, fresh.atMs + memoryMs + 1) };
    return { kind: 'unavailable', reason: fresh.kind === 'unavailable' ? fresh.reason : 'the budget is contended' };
  }
  return { kind: 'ask' };
}

/** Whether asking (again) may bring more than the word that was heard. */
function helps(word: Word, { need, sinceMs }: Shortage): boolean {
  // Said before the request came: it has a question of its own coming.
  if (word.kind === 'unavailable') return word.atMs < sinceMs;
  // As much as was left would do, and yet it was denied when it was asked for: others are faster.
  return word.asked === 0 || word.asked > need;
}
