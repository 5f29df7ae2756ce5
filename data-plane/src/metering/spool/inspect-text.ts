/** The report of a spool folder, and its records, as lines for an operator. Amounts of money are nano-USD. */
import { budgetId } from '@meridian/domain/budget';
import { heldOf } from '@meridian/domain/lease';
import type { LeaseAmount } from '@meridian/domain/usage-record';
import type { FolderReport, IncarnationReport, SegmentReport } from './inspect.ts';
import { shortName } from './inspect.ts';
import type { SpoolRecord } from './record.ts';

/** How many open requests are listed by name. */
const MAX_LISTED = 20;

export function reportLines(report: FolderReport): string[] {
  const { charges, openIntents, leases } = report;
  const replaced = report.replacesSpoolId === undefined ? '' : `  in place of ${report.replacesSpoolId}`;
  const lines = [`${report.folder}  ${report.spoolId ?? '(no spool.id)'}${replaced}`];
  for (const incarnation of report.incarnations) lines.push('', ...incarnationLines(incarnation));
  lines.push('', `open requests  ${openIntents.length}`);
  for (const intent of openIntents.slice(0, MAX_LISTED)) {
    const admitted = new Date(intent.admittedAtMs).toISOString();
    lines.push(`  ${intent.requestId}  ${intent.accountId}  admitted ${admitted}  at most ${intent.maxCostNano}`);
  }
  if (openIntents.length > MAX_LISTED) lines.push(`  and ${openIntents.length - MAX_LISTED} more`);
  lines.push('', `leases  ${leases.length}`);
  for (const lease of leases) {
    const figures = `granted ${lease.granted}  returned ${lease.returned}  used ${lease.used}  left ${heldOf({ ...lease, writtenOff: 0 })}`;
    lines.push(`  ${lease.leaseId}  ${budgetId(lease.budget)}  ${figures}${lease.closed ? '  closed' : ''}`);
  }
  lines.push(
    '',
    `charges  ${charges.finals} finals  ${charges.chargeNano} nano-USD  cost to us ${charges.costNano}`,
    `  not acknowledged  ${charges.unackedFinals} finals  ${charges.unackedChargeNano} nano-USD`,
    '',
    report.damaged ? 'DAMAGED: see the lines above that are marked with !' : 'nothing is damaged',
  );
  return lines;
}

function incarnationLines(report: IncarnationReport): string[] {
  const state = report.recovered ? 'recovered' : 'not recovered: it runs, or the next start closes its requests';
  const range = report.lastSeq < report.firstSeq ? 'no seqs' : `seqs ${report.firstSeq}..${report.lastSeq}`;
  const lines = [`incarnation ${report.incarnation}  number ${report.ordinal}  ${range}  acknowledged ${report.ackedSeq}  ${state}`];
  if (report.ackedSeq > report.lastSeq) lines.push(`  ! more is acknowledged than it holds: the folder went backwards`);
  for (const segment of report.segments) lines.push(...segmentLines(segment));
  for (const name of report.setAside) lines.push(`  ${name}  set aside by an earlier start`);
  return lines;
}

function segmentLines(report: SegmentReport): string[] {
  const { records, checkpoint } = report;
  const counts = `${records.intent} intents  ${records.final} finals  ${records.lease} leases  ${records.recovered} recovered`;
  const begins =
    checkpoint === undefined ? 'no checkpoint' : `checkpoint of ${checkpoint.openIntents} open requests, ${checkpoint.leases} leases`;
  const created = report.createdMs === undefined ? '' : `  ${new Date(report.createdMs).toISOString()}`;
  const range = report.lastSeq < report.firstSeq ? 'no seqs' : `seqs ${report.firstSeq}..${report.lastSeq}`;
  const lines = [
    `  ${shortName(report)}  ${range}  ${report.bytes} bytes${created}  ${counts}  ${begins}${report.salvaged ? '  written anew after damage' : ''}`,
  ];
  if (report.headerDamaged) lines.push('    ! the header cannot be read');
  for (const { start, end } of report.damaged) lines.push(`    ! bytes ${start}..${end - 1} are no record`);
  if (report.missing !== undefined) lines.push(`    ! seqs ${report.missing.firstSeq}..${report.missing.lastSeq} are missing`);
  for (const { seq, type, reason } of report.unreadable) lines.push(`    ! seq ${seq} of type ${type} cannot be read: ${reason}`);
  if (report.tornBytes > 0) lines.push(`    ${report.tornBytes} bytes behind the last record: a write that was cut off or is under way`);
  return lines;
}

/** One record on one line. */
export function recordLine(incarnation: string, seq: number, record: SpoolRecord): string {
  return `${incarnation} ${seq} ${record.type} ${fieldsOf(record)}`;
}

function fieldsOf(record: SpoolRecord): string {
  switch (record.type) {
    case 'intent': {
      const { requestId, accountId, askedModel, maxCostNano, leases } = record.intent;
      return `${requestId} account=${accountId} model=${JSON.stringify(askedModel)} max_cost=${maxCostNano}${amountsOf(leases)}`;
    }
    case 'final': {
      const { requestId, accountId, outcome, exactness, status, chargeNano, varianceNano, leases } = record.final;
      const variance = varianceNano === 0n ? '' : ` variance=${varianceNano}`;
      return `${requestId} account=${accountId} ${outcome} ${exactness} status=${status} charge=${chargeNano}${variance}${amountsOf(leases)}`;
    }
    case 'lease': {
      const { leaseId, budget, granted, returned, used, closed } = record.lease;
      return `${leaseId} budget=${budgetId(budget)} granted=${granted} returned=${returned} used=${used}${closed ? ' closed' : ''}`;
    }
    case 'recovered':
      return record.incarnation.toString(16).padStart(16, '0');
    case 'checkpoint': {
      const { openIntents, leases, recovered, acked } = record.checkpoint;
      return `open=${openIntents.length} leases=${leases?.length ?? 0} recovered=${recovered.length} acked=${acked.length}`;
    }
    default:
      return record satisfies never;
  }
}

function amountsOf(leases: readonly LeaseAmount[]): string {
  return leases.length === 0 ? '' : ` leases=${leases.map((lease) => `${lease.leaseId}:${lease.amount}`).join(',')}`;
}

/** JSON of a report or a record; big integers as texts. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value, (_, field: unknown) => {
    if (typeof field === 'bigint') return String(field);
    return field;
  });
}
