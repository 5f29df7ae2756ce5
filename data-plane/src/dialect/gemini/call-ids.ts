/** Ids for calls that Gemini gave none: one call keeps one id, and no two have the same. */
import { createHash, randomUUID } from 'node:crypto';

/** `responseId` is of the answer that the calls are in; without one, the ids are of this process alone. */
export function idMint(responseId: string | undefined): (choice: number, call: number) => string {
  const answer = responseId === undefined || responseId === '' ? randomUUID() : responseId;
  return (choice, call) => `call_${createHash('sha256').update(`${answer}:${choice}:${call}`).digest('hex').slice(0, 24)}`;
}
