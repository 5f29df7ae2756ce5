/** Ids for calls that Gemini gave none: one call keeps one id, and no two of an answer have the same. */
import { createHash } from 'node:crypto';
import type { JsonObject } from '../json.ts';

export type IdMint = (choice: number, place: number, call: JsonObject) => string;

/** `responseId` is of the answer that the calls are in. In one without, ids are of what is called: results of equal calls go by their order. */
export function idMint(responseId: string): IdMint {
  return (choice, place, call) => {
    const answer = responseId === '' ? JSON.stringify(call) : responseId;
    return `call_${createHash('sha256').update(`${answer}:${choice}:${place}`).digest('hex').slice(0, 24)}`;
  };
}
