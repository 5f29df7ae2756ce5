/** Checked readings of single wire fields. Each throws WireFormatError naming the field. */
import { isMeter, type Meter } from '@meridian/domain/usage';
import { WireFormatError } from './wire-format-error.ts';

/** Longest id, name or word that is taken (UTF-16 units). */
const MAX_TEXT_CHARS = 1024;

export function readText(field: string, text: string): string {
  if (text.length === 0) throw new WireFormatError(field, 'is empty');
  if (text.length > MAX_TEXT_CHARS) throw new WireFormatError(field, `is longer than ${MAX_TEXT_CHARS} characters`);
  return text;
}

/** One of a closed set of words. */
export function readWord<Word extends string>(field: string, text: string, words: readonly Word[]): Word {
  const found = words.find((word) => word === text);
  if (found === undefined) throw new WireFormatError(field, `is none of ${words.join(', ')}: ${JSON.stringify(text.slice(0, 64))}`);
  return found;
}

/** A component that this build knows, or a variant of one. */
export function readMeter(field: string, text: string): Meter {
  if (!isMeter(text)) throw new WireFormatError(field, `is nothing that is counted: ${JSON.stringify(text.slice(0, 64))}`);
  return text;
}

/** Those of a list that this build knows. A newer control plane may offer more than an older node can use. */
export function readKnownWords<Word extends string>(texts: readonly string[], words: readonly Word[]): Word[] {
  return words.filter((word) => texts.includes(word));
}

/** A 64-bit integer ≥ `least` that a plain number holds exactly: milliseconds, versions, revisions, tokens. */
export function readSafeInteger(field: string, value: bigint, least = 0): number {
  if (value < BigInt(least) || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new WireFormatError(field, `is not an integer from ${least} to 2^53 - 1: ${value}`);
  }
  return Number(value);
}

/** An amount or price that must not be negative. */
export function readNonNegative(field: string, value: bigint): bigint {
  if (value < 0n) throw new WireFormatError(field, `is negative: ${value}`);
  return value;
}
