/** Fields that many routes share: names, times, money, regions. */
import { nanoToUsd, usdToNano } from '@meridian/domain/money';
import { isRegion } from '@meridian/domain/region';
import { z } from 'zod';

/** PostgreSQL cannot keep U+0000, and no other control character has any business in a field. */
const WITHOUT_CONTROL_CHARACTERS = /^[^\u0000-\u001f\u007f]*$/;

/** A text in one line, of 1 to `maxChars` characters. */
export function text(maxChars: number) {
  return textOrNone(maxChars).min(1);
}

/** A text that may be empty. */
export function textOrNone(maxChars: number) {
  return z.string().max(maxChars).regex(WITHOUT_CONTROL_CHARACTERS, 'must not contain control characters');
}

/** A name that people read: 1–100 characters without control characters. */
export const NAME = z
  .string()
  .trim()
  .min(1, 'must not be empty')
  .max(100, 'must have at most 100 characters')
  .regex(WITHOUT_CONTROL_CHARACTERS, 'must not contain control characters');

/** An id in a path or a body. Whether it exists is another question. */
export const ID = text(256);

/** What follows has no RFC 3339 form in UTC. */
const LATEST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** RFC 3339 with an offset or `Z`, as milliseconds since 1970. */
export const TIME = z.iso
  .datetime({ offset: true, message: 'must be an RFC 3339 time such as 2026-01-31T00:00:00Z' })
  .transform((text) => Date.parse(text))
  .refine((ms) => ms <= LATEST_MS, 'must be before the year 10000');

/** A time that leaves: RFC 3339 in UTC. */
export const TIME_OUT = z.iso.datetime();

export const REGION = z.string().refine(isRegion, 'must be a region such as "us"');

/** A decimal string in USD, as nano-USD. */
export const USD = z.string().transform((text, context) => {
  try {
    return usdToNano(text);
  } catch {
    context.addIssue({ code: 'custom', message: 'must be a decimal string in USD with at most 9 decimals, such as "12.50"' });
    return z.NEVER;
  }
});

export const USD_OUT = z.string().regex(/^-?\d+\.\d{2,9}$/);
export const NANO_OUT = z.string().regex(/^-?\d+$/);

/** `{<name>_usd, <name>_nano}`: what people read, and the exact integer. */
export function money<Name extends string>(name: Name, nano: bigint): Record<`${Name}_usd` | `${Name}_nano`, string> {
  // The two keys are those of the return type; a computed key is only ever typed as string.
  return { [`${name}_usd`]: nanoToUsd(nano), [`${name}_nano`]: nano.toString() } as Record<`${Name}_usd` | `${Name}_nano`, string>;
}

export function time(at: Date | number): string {
  return new Date(at).toISOString();
}
