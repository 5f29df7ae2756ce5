/** Reading the usage objects of providers: counts that may be missing, null or nonsense, and parts of wholes. */
import type { Meter, Usage } from '@meridian/domain/usage';
import { setMember } from './json.ts';

export type UsageObject = Readonly<Record<string, unknown>>;

/** A usage while it is put together. */
export type UsageDraft = { -readonly [Name in keyof Usage]: number };

/** Undefined for anything but an object. */
export function objectIn(raw: UsageObject, ...keys: readonly string[]): UsageObject | undefined {
  for (const key of keys) {
    const value = raw[key];
    if (isUsageObject(value)) return value;
  }
  return undefined;
}

export function isUsageObject(value: unknown): value is UsageObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Far above any answer's, and low enough that all counts of one answer add up exactly, whatever an upstream writes. */
const MAX_COUNT = 100_000_000_000;

/** A count as a whole number ≥ 0; undefined where the provider told none, or nothing that can be one. */
export function count(raw: UsageObject | undefined, key: string): number | undefined {
  const value = raw?.[key];
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) return undefined;
  return Math.min(Math.ceil(value), MAX_COUNT);
}

/**
 * Takes parts out of a whole, in their order, and returns what is left of it. A part that is larger than what is left is
 * cut to it, so that the sum stays the provider's own; one that was not told is not put in.
 */
export function takeParts(usage: UsageDraft, whole: number, parts: readonly (readonly [Meter, number | undefined])[]): number {
  let left = whole;
  for (const [meter, tokens] of parts) {
    if (tokens === undefined) continue;
    const part = Math.min(tokens, left);
    usage[meter] = (usage[meter] ?? 0) + part;
    left -= part;
  }
  return left;
}

/** Adds the calls of a provider's own tools. None is nothing to note: most answers could have had some. */
export function addToolCalls(usage: UsageDraft, tool: string, calls: number | undefined): void {
  if (calls === undefined || calls === 0) return;
  const meter: Meter = `per_tool_call:${tool}`;
  usage[meter] = (usage[meter] ?? 0) + calls;
}

/**
 * Usage is a register: of several reports in a stream the last one wins field by field, and a field that a later report
 * leaves out, or gives as null, keeps what it had.
 */
export function mergeUsage(previous: UsageObject | undefined, next: UsageObject): UsageObject {
  if (previous === undefined) return next;
  const merged: Record<string, unknown> = { ...previous };
  for (const [key, value] of Object.entries(next)) {
    if (value === null || value === undefined) continue;
    const before = merged[key];
    setMember(merged, key, isUsageObject(value) && isUsageObject(before) ? mergeUsage(before, value) : value);
  }
  return merged;
}
