/** Caps in requests and answers. */
import { MAX_LIMIT } from '@meridian/domain/budget';
import { usdToNano } from '@meridian/domain/money';
import { z } from 'zod';
import { money, NANO_OUT, TIME_OUT, time, USD_OUT } from '../http/field.ts';
import type { CapStanding, CapsChange } from './caps.ts';

const TOO_HIGH = `must be at most ${MAX_LIMIT} nano-USD (about 4.5 million USD)`;

/** USD as a number or as a decimal string, in nano-USD. */
const USD_LIMIT = z.union([z.number(), z.string()], 'must be an amount in USD').transform((value, context) => {
  try {
    const nano = usdToNano(typeof value === 'number' ? decimalOf(value) : value);
    if (nano >= 0n && nano <= BigInt(MAX_LIMIT)) return nano;
    context.addIssue({ code: 'custom', message: nano < 0n ? 'must not be negative' : TOO_HIGH });
  } catch {
    context.addIssue({ code: 'custom', message: 'must be an amount in USD with at most 9 decimals, such as 12.5 or "12.50"' });
  }
  return z.NEVER;
});

/** A number's digits without an exponent; what has more than nine decimals keeps them, and is refused. */
function decimalOf(value: number): string {
  const fixed = value.toFixed(9);
  return Number(fixed) === value ? fixed : String(value);
}

const COUNT_LIMIT = z
  .int()
  .min(0)
  .max(MAX_LIMIT)
  .transform((count) => BigInt(count));

const USD_CAP = USD_LIMIT.nullish().describe('A limit in USD for each UTC day or month; null removes the cap.');
const COUNT_CAP = COUNT_LIMIT.nullish().describe('How many are allowed for each UTC day or month; null removes the cap.');

/** In a request: absent leaves a cap, null removes it. */
export const CAPS: z.ZodType<CapsChange> = z.strictObject({
  daily_usd: USD_CAP,
  monthly_usd: USD_CAP,
  daily_chat_completions: COUNT_CAP,
  monthly_chat_completions: COUNT_CAP,
  daily_images: COUNT_CAP,
  monthly_images: COUNT_CAP,
});

const COMMON_FIELDS = {
  id: z.string(),
  object: z.literal('cap'),
  scope: z.enum(['key', 'member', 'account']),
  scope_id: z.string(),
  window: z.enum(['utc_day', 'utc_month']),
};
const RESERVED = 'Set aside where requests are served, for those under way and the next ones. It comes back where it is not used.';

const MONEY_CAP = z.object({
  ...COMMON_FIELDS,
  unit: z.literal('nano_usd'),
  limit_usd: USD_OUT,
  limit_nano: NANO_OUT,
  spent_usd: USD_OUT,
  spent_nano: NANO_OUT,
  reserved_usd: USD_OUT.describe(RESERVED),
  reserved_nano: NANO_OUT,
  left_usd: USD_OUT,
  left_nano: NANO_OUT,
  over_usd: USD_OUT.optional().describe('What is spent and reserved above a limit that was lowered.'),
  over_nano: NANO_OUT.optional(),
  resets_at: TIME_OUT,
});

const COUNT = z.int();
const COUNT_CAP_OUT = z.object({
  ...COMMON_FIELDS,
  unit: z.enum(['chat_completions', 'images']),
  limit: COUNT,
  spent: COUNT,
  reserved: COUNT.describe(RESERVED),
  left: COUNT,
  over: COUNT.optional().describe('What is spent and reserved above a limit that was lowered.'),
  resets_at: TIME_OUT,
});

/** In an answer: spent + reserved + left is the limit, unless it is exceeded. */
export const CAP_OUT = z.discriminatedUnion('unit', [MONEY_CAP, COUNT_CAP_OUT]);

export function presentCap(cap: CapStanding): z.infer<typeof CAP_OUT> {
  const { id, scope, window, unit } = cap;
  const common = { id, object: 'cap' as const, scope, scope_id: cap.scopeId, window };
  const resets_at = time(cap.resetsAtMs);
  if (unit === 'nano_usd') {
    return {
      ...common,
      unit,
      ...money('limit', cap.limit),
      ...money('spent', cap.spent),
      ...money('reserved', cap.reserved),
      ...money('left', cap.left),
      ...(cap.over > 0n ? money('over', cap.over) : {}),
      resets_at,
    };
  }
  return {
    ...common,
    unit,
    limit: Number(cap.limit),
    spent: Number(cap.spent),
    reserved: Number(cap.reserved),
    left: Number(cap.left),
    ...(cap.over > 0n ? { over: Number(cap.over) } : {}),
    resets_at,
  };
}
