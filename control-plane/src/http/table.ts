/** Lists that come in pages, or as a table for a spreadsheet: whole as long as it is not too long, else in the same pages. */
import { GatewayError } from '@meridian/domain/error';
import { CSV_TYPE, csv, wantsCsv } from './csv.ts';
import { type Listed, listed, type Page, pageOf } from './paginate.ts';
import { RawAnswer } from './route.ts';

export const MAX_TABLE_ROWS = 10_000;
/** For the summary of a route. */
export const AS_TABLE = `with \`format=csv\` or \`Accept: text/csv\` a table of at most ${MAX_TABLE_ROWS} rows, or of \`limit\` rows after \`after\``;

/** What part of a list is asked for, and in which form. */
export interface Part {
  readonly asTable: boolean;
  /** A table of everything. */
  readonly isWhole: boolean;
  /** `limit` is what the answer may hold: read one row more. */
  readonly page: Page;
}

/** `accept` is the header of the request. */
export function partOf(
  query: { readonly format?: 'json' | 'csv' | undefined; readonly limit?: number | undefined; readonly after?: string | undefined },
  accept: string | undefined,
): Part {
  const asTable = wantsCsv(query.format, accept);
  const isWhole = asTable && query.limit === undefined;
  const page = pageOf(query);
  return { asTable, isWhole, page: isWhole ? { ...page, limit: MAX_TABLE_ROWS } : page };
}

/**
 * The answer, of which the store read up to `page.limit + 1` rows. The first row of a table names its columns, in each part of it. Throws
 * `invalid_request_error` for a whole table that is too long: one that ends without a word would be taken for the whole.
 */
export function answerPart<Row, T>(
  rows: readonly Row[],
  { asTable, isWhole, page }: Part,
  present: (row: Row) => T,
  tableOf: (rows: readonly Row[]) => string[][],
): Listed<T> | RawAnswer {
  if (!asTable) return listed(rows, page, present);
  if (isWhole && rows.length > page.limit) {
    const message = `This is more than ${MAX_TABLE_ROWS} rows: ask for a shorter time, or for one part after the other with limit and after.`;
    throw new GatewayError('invalid_request_error', { message, param: 'from' });
  }
  return new RawAnswer(CSV_TYPE, csv(tableOf(rows.slice(0, page.limit))));
}
