/** `npm run conformance`: writes the table beside this folder, tells what it comes to, and fails on anything that nothing explains. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasRecordings } from './recordings.ts';
import { complaintLines, countRows, ownPart, recordedPart } from './report.ts';
import { ownRows, recordedRows } from './run.ts';

const own = ownRows();
const recorded = recordedRows();
if (!hasRecordings) console.log('recorded exchanges: skipped, ../shared/fixtures is not there');
writeFileSync(join(import.meta.dirname, '../RESULT.md'), ownPart(own) + recordedPart(recorded));
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
