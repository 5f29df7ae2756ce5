/** `npm run conformance`: writes the table beside this folder, tells what it comes to, and fails on anything that nothing explains. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasRecordings } from './recordings.ts';
import { complaintLines, countRows, ownPart, recordedPart, recordedPartOf } from './report.ts';
import { ownRows, recordedRows } from './run.ts';

const own = ownRows();
const recorded = recordedRows();
if (!hasRecordings) console.log('recorded exchanges: skipped, ../shared/fixtures is not there; their part of the page stays as it was');
const page = join(import.meta.dirname, '../RESULT.md');
const before = existsSync(page) ? readFileSync(page, 'utf8') : '';
writeFileSync(page, ownPart(own) + (hasRecordings ? recordedPart(recorded) : recordedPartOf(before)));
const complaints = complaintLines([...own, ...recorded]);
for (const line of complaints) console.log(line);
for (const [name, rows] of [
  ['cases of our own', own],
  ['recorded exchanges', recorded],
] as const) {
  const { passed, lost, refused, unexplained } = countRows(rows);
  console.log(`${name}: ${rows.length} · ${passed} pass · ${lost} named loss · ${refused} refused · ${unexplained} unexplained`);
}
process.exitCode = complaints.length === 0 ? 0 : 1;
