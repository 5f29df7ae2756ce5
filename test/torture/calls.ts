/**
 * Which request each call to a provider was made for. By our id where the provider takes one, else by the id that it gave; where the one is
 * not taken and the other was lost with its node, by what its client saw: the request of that client, and the right charge.
 */
import type { JournalLine } from '../upstream/src/journal.ts';
import type { Sent } from './clients.ts';

export interface RequestRow {
  readonly request_id: string;
  readonly key_id: string;
  readonly region: string;
  readonly client_dialect: string;
  readonly asked_model: string;
  readonly admitted_at: Date;
  readonly charge_nano: string;
  readonly attempts: readonly { readonly upstreamRequestId?: string }[];
}

/** A request may reach its node after its client has left: its bytes stood still meanwhile. */
const LATE_MS = 15_000;

/** The request of each call; none where there is none that is not another call's already. `fits`: it has the right charge. */
export function requestsOf<Row extends RequestRow>(
  lines: readonly JournalLine[],
  rows: readonly Row[],
  sent: readonly Sent[],
  fits: (line: JournalLine, row: Row) => boolean,
): ReadonlyMap<JournalLine, Row> {
  const found = new Map<JournalLine, Row>();
  const byId = new Map(rows.map((row) => [row.request_id, row]));
  const byUpstreamId = new Map<string, Row>();
  for (const row of rows) {
    for (const { upstreamRequestId } of row.attempts) if (upstreamRequestId !== undefined) byUpstreamId.set(upstreamRequestId, row);
  }
  for (const line of lines) {
    const row = byId.get(line.request_id ?? '') ?? byUpstreamId.get(line.upstream_request_id ?? '');
    if (row !== undefined) found.set(line, row);
  }
  const taken = new Set(found.values());
  const bySource = Map.groupBy(
    rows.filter((row) => !taken.has(row)),
    (row) => sourceOf(row.key_id, row.region, row.client_dialect, row.asked_model),
  );
  const byRef = Map.groupBy(sent, ({ ref }) => ref);
  const candidatesOf = (line: JournalLine): Row[] =>
    (byRef.get(line.client_marker ?? '') ?? []).flatMap((one) =>
      (bySource.get(sourceOf(one.keyId, one.region, one.dialect, one.model)) ?? []).filter((row) => {
        const admittedAtMs = row.admitted_at.getTime();
        const isDuring = admittedAtMs >= one.startMs && admittedAtMs <= one.endMs + LATE_MS && admittedAtMs <= line.t_start;
        return one.requestId === undefined ? isDuring : one.requestId === row.request_id;
      }),
    );
  // One that is named by its own id can be no other's.
  const unnamed = lines.filter((line) => !found.has(line) && line.request_id === null);
  const lineOf = new Map<Row, JournalLine>();
  /** Gives the line a request, if need be by giving another line another one. */
  const assign = (line: JournalLine, candidates: (of: JournalLine) => readonly Row[], tried: Set<Row>): boolean => {
    for (const row of candidates(line)) {
      if (tried.has(row)) continue;
      tried.add(row);
      const other = lineOf.get(row);
      if (other !== undefined && !assign(other, candidates, tried)) continue;
      lineOf.set(row, line);
      return true;
    }
    return false;
  };
  const fitting = new Map(unnamed.map((line) => [line, candidatesOf(line).filter((row) => fits(line, row))]));
  // Those that were charged had a call; one that died may have died before its own. A request that has its line once keeps one.
  for (const line of unnamed) assign(line, (of) => (fitting.get(of) ?? []).filter((row) => row.charge_nano !== '0'), new Set());
  const placed = new Set(lineOf.values());
  const left = unnamed.filter((line) => !placed.has(line) && !assign(line, (of) => fitting.get(of) ?? [], new Set()));
  // What fits nothing is told with what it was charged.
  for (const line of left) {
    const row = candidatesOf(line).find((one) => !lineOf.has(one));
    if (row !== undefined) lineOf.set(row, line);
  }
  for (const [row, line] of lineOf) found.set(line, row);
  return found;
}

function sourceOf(keyId: string, region: string, dialect: string, model: string): string {
  return `${keyId} ${region} ${dialect} ${model}`;
}
