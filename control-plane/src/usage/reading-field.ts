/** Fields that all questions about usage share: when, whose, in which form. */
import { GatewayError } from '@meridian/domain/error';
import { z } from 'zod';
import { textOrNone } from '../http/field.ts';
import type { Caller } from '../http/session.ts';
import { groupOfId, type Span } from './reading.ts';

const DAY_MS = 86_400_000;
/** PostgreSQL has no year 0000. */
const FIRST_MS = Date.parse('0001-01-01');
/** Of which a time of this form can still be told in UTC. */
const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z');

/** A day (`2026-01-31`, its beginning in UTC) or a moment. */
export const MOMENT = z
  .union([z.iso.date(), z.iso.datetime({ offset: true })], 'must be a date such as 2026-01-31 or an RFC 3339 time')
  .transform((text) => Date.parse(text));

/** Every dimension may be a name of 256 characters, written with percent signs. */
const MAX_ROW_ID_CHARS = 4_096;
/** The id of a group, which is empty where the one thing grouped by has no name. */
export const ROW_ID = textOrNone(MAX_ROW_ID_CHARS);

/** Some of the dimensions by which sums can be taken, separated by commas; each at most once. */
export function dimensionsOf<Dimension extends string>(all: readonly Dimension[]) {
  return z.string().transform((names, context): Dimension[] => {
    const asked = names === '' ? [] : names.split(',');
    const dimensions = asked.flatMap((name) => all.filter((dimension) => dimension === name));
    if (dimensions.length === asked.length && new Set(asked).size === asked.length) return dimensions;
    context.addIssue({ code: 'custom', message: `must be some of ${all.join(', ')}, separated by commas` });
    return z.NEVER;
  });
}

/** The group after which a page begins. Throws `invalid_request_error` for what is no id of a row of these dimensions. */
export function groupAfter(id: string, groupBy: readonly string[]): string[] {
  const group = groupOfId(id, groupBy);
  if (group !== undefined) return group;
  throw new GatewayError('invalid_request_error', { message: 'after: must be the id of a row of the same dimensions.', param: 'after' });
}

export const FORMAT = z.enum(['json', 'csv']);

/** What is asked for, or else the days before its end, which is now unless told. Throws `invalid_request_error` for too much. */
export function spanOf(
  asked: { readonly from?: number | undefined; readonly to?: number | undefined },
  nowMs: number,
  { defaultDays, maxDays }: { readonly defaultDays: number; readonly maxDays: number },
): Span {
  const toMs = asked.to ?? nowMs;
  const fromMs = asked.from ?? toMs - defaultDays * DAY_MS;
  const problem =
    fromMs >= toMs
      ? 'from must be earlier than to'
      : toMs - fromMs > maxDays * DAY_MS
        ? `the time from from to to must be at most ${maxDays} days`
        : fromMs < FIRST_MS
          ? 'from must not be before the year 0001'
          : toMs > LAST_MS
            ? 'to must not be after the year 9999'
            : undefined;
  if (problem !== undefined) throw new GatewayError('invalid_request_error', { message: `${problem}.`, param: 'from' });
  return { fromMs, toMs };
}

/** The member whose usage is asked for; undefined for everybody's, which is not for those who see their own only. */
export function memberAsked(caller: Pick<Caller, 'reach' | 'memberId'>, asked: string | undefined): string | undefined {
  if (caller.reach !== 'own') return asked;
  if (asked === undefined || asked === caller.memberId) return caller.memberId;
  throw new GatewayError('permission_denied', { message: 'A member with this role sees their own usage only.', param: 'member' });
}
