/** The table holds: nothing is lost that nobody names, and the page says what the code does. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasRecordings } from './recordings.ts';
import { complaintLines, ownPart, recordedPart, recordedPartOf } from './report.ts';
import { ownRows, recordedRows } from './run.ts';

const PAGE = join(import.meta.dirname, '../RESULT.md');

if (!hasRecordings) console.log('recorded exchanges: skipped, ../shared/fixtures is not there');

describe('between clients and upstreams of any dialect', () => {
  const rows = ownRows();

  it('every case of our own comes through, or is lost or refused by name', () => {
    expect(rows.length).toBeGreaterThan(1_000);
    expect(complaintLines(rows)).toEqual([]);
  });

  it('the page tells what the code does; `npm run conformance` writes it anew', () => {
    expect(existsSync(PAGE) ? readFileSync(PAGE, 'utf8').startsWith(ownPart(rows)) : 'no page').toBe(true);
  });

  it.skipIf(!hasRecordings)('every recorded exchange comes through, or is lost or refused by name', () => {
    const recorded = recordedRows();
    expect(recorded.length).toBeGreaterThan(500);
    expect(complaintLines(recorded)).toEqual([]);
    const page = readFileSync(PAGE, 'utf8');
    expect(page).toBe(ownPart(rows) + recordedPart(recorded));
    // Where the recordings are not there, their part is kept.
    expect(ownPart(rows) + recordedPartOf(page)).toBe(page);
  });
});
