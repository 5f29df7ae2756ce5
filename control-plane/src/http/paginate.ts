/** Lists: `{"object": "list", "data": […], "has_more"}`, asked for with `limit` and `after`. */
import { z } from 'zod';
import { ID } from './field.ts';

const MAX_PAGE_ITEMS = 1_000;
const DEFAULT_PAGE_ITEMS = 100;

export interface Page {
  readonly limit: number;
  /** The id of the last item of the page before. */
  readonly after: string | undefined;
}

export interface Listed<T> {
  readonly object: 'list';
  readonly data: T[];
  readonly has_more: boolean;
}

/** The two query parameters of every list; spread them into the route's own. */
export const PAGE_FIELDS = {
  limit: z
    .string()
    .regex(/^\d{1,4}$/, 'must be a whole number')
    .transform(Number)
    .refine((limit) => limit >= 1 && limit <= MAX_PAGE_ITEMS, `must be between 1 and ${MAX_PAGE_ITEMS}`)
    .optional(),
  after: ID.optional(),
};

export const PAGE_QUERY = z.strictObject(PAGE_FIELDS);

export function pageOf(query: { readonly limit?: number | undefined; readonly after?: string | undefined }): Page {
  return { limit: query.limit ?? DEFAULT_PAGE_ITEMS, after: query.after };
}

/** The envelope around items of which the store read up to `limit + 1`, so that it is known whether more follow. */
export function listed<Row, T>(rows: readonly Row[], page: Page, present: (row: Row) => T): Listed<T> {
  return { object: 'list', data: rows.slice(0, page.limit).map(present), has_more: rows.length > page.limit };
}

/** The envelope of a list that always comes whole. */
export function listedWhole<T>(items: readonly T[]): Listed<T> {
  return { object: 'list', data: [...items], has_more: false };
}

export function listOf<T>(item: z.ZodType<T>): z.ZodType<Listed<T>> {
  return z.object({ object: z.literal('list'), data: z.array(item), has_more: z.boolean() });
}
