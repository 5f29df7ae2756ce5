/** Fields that the routes of credit share. */
import { z } from 'zod';
import { PAGE_FIELDS, type Page } from '../http/paginate.ts';

const DEFAULT_ITEMS = 100;

const KEY = z.string('the header is required').min(1, 'the header is required');

/** Everything that moves credit carries one. */
export const IDEMPOTENCY_HEADERS = z.object({ 'idempotency-key': KEY.max(255) });

/** Of a member's request; it is kept with the account's id before it. */
export const MEMBER_IDEMPOTENCY_HEADERS = z.object({ 'idempotency-key': KEY.max(200) });

/** Keys are one name space for the whole ledger: what a member chooses must not meet an operator's key or another account's. */
export function memberKey(accountId: string, key: string): string {
  return `member:${accountId}:${key}`;
}

/** Purchases, refunds, disputes, corrections and transfers are numbered. */
export const NUMBER = z
  .string()
  .regex(/^\d{1,18}$/, 'must be a number as it was answered')
  .transform(BigInt);

export const NUMBERED_PAGE_QUERY = z.strictObject({ ...PAGE_FIELDS, after: NUMBER.optional() });

/** A page of numbered things, and how it is asked of a service: one row more tells whether more follow. */
export function numberedPageOf(
  query: z.infer<typeof NUMBERED_PAGE_QUERY>,
  maxItems = Number.POSITIVE_INFINITY,
): { readonly page: Page; readonly asked: { readonly limit: number; readonly after?: bigint } } {
  const limit = Math.min(query.limit ?? DEFAULT_ITEMS, maxItems);
  return {
    page: { limit, after: undefined },
    asked: { limit: limit + 1, ...(query.after === undefined ? {} : { after: query.after }) },
  };
}
