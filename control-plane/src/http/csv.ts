/** Tables as CSV (RFC 4180), for spreadsheets. */

export const CSV_TYPE = 'text/csv; charset=utf-8';

/** Whether a table is asked for: by `format`, or else by the `Accept` header. */
export function wantsCsv(format: 'json' | 'csv' | undefined, accept: string | undefined): boolean {
  return format === undefined ? /\btext\/csv\b/i.test(accept ?? '') : format === 'csv';
}

/** The first row names the columns. Lines end in CRLF. */
export function csv(rows: readonly (readonly string[])[]): string {
  return rows.map((row) => `${row.map(cell).join(',')}\r\n`).join('');
}

/** A text that a spreadsheet would take for a formula gets an apostrophe in front; numbers are left alone. */
function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
