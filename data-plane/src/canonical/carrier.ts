/**
 * Opaque state of one dialect on its way through clients of another: as one string that such a client stores and sends back, in a
 * signature, an encrypted block, an id. What comes back is what was sent, byte for byte.
 */
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import type { ReasoningCarrier } from './message.ts';

/** Standard base64, since some SDKs decode a signature and encode it again; no provider's own begins with it. */
export const CARRIER_MARK = Buffer.from('mrd1{').toString('base64').slice(0, 6);

/** One line without blanks: letters, digits, `+`, `/` and `=`. */
export function packCarrier({ dialect, value }: ReasoningCarrier): string {
  return packed({ d: dialect, v: value });
}

/** Undefined for a string that is not ours: a provider's own signature, or nonsense. */
export function unpackCarrier(text: string): ReasoningCarrier | undefined {
  const value = unpacked(text);
  return value !== undefined && isDialectName(value.d) && value.v !== undefined ? { dialect: value.d, value: value.v } : undefined;
}

function packed(value: Readonly<Record<string, unknown>>): string {
  return Buffer.from(`mrd1${JSON.stringify(value)}`).toString('base64');
}

function unpacked(text: string): Readonly<Record<string, unknown>> | undefined {
  if (!text.startsWith(CARRIER_MARK)) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64').toString('utf8').slice('mrd1'.length));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function isDialectName(value: unknown): value is DialectName {
  return DIALECT_NAMES.some((name) => name === value);
}
