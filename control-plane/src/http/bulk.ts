/** Bodies that carry one item or many: `{…}` or `{"data": [{…}, …]}`. */
import { z } from 'zod';

const MAX_BULK_ITEMS = 1_000;

/** Either way the items come out as a list; what is done with them is done with all or none. */
export function oneOrMany<T extends object>(item: z.ZodType<T>) {
  const many = z.strictObject({ data: z.array(item).min(1).max(MAX_BULK_ITEMS) });
  return z.union([many, item]).transform((body): T[] => (isMany(body) ? body.data : [body]));
}

function isMany<T extends object>(body: { data: T[] } | T): body is { data: T[] } {
  return 'data' in body;
}
