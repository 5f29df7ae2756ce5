/**
 * What must hold after the torture, compared exactly: each call in the providers' own journal with the one event of its
 * request in the ledger, by prices and arithmetic of the test's own, and what each client saw with what it was charged.
 */
import pg from 'pg';
import { expectedCharge } from '../scenario/oracle.ts';
import type { JournalLine } from '../upstream/src/journal.ts';
import type { CappedKey, Sent } from './clients.ts';

/** A count of ours may miss the provider's by this share of the charge. */
const ESTIMATE_TOLERANCE = 0.6;

export interface Verdict {
  readonly requests: number;
  readonly complete: number;
  readonly refused: number;
  /** Provider calls whose request has no event: usage that was lost. */
  readonly lost: readonly string[];
  /** Requests with more than one event or more than one provider call. */
  readonly doubled: readonly string[];
  /** Σ charged − Σ expected over everything that is exact. */
  readonly differenceNano: bigint;
  readonly chargedNano: bigint;
  readonly exact: number;
  readonly estimated: number;
  /** Died with their node: charged nothing. */
  readonly recovered: number;
  /** Charged though the client's last bytes did not arrive: the final was written. */
  readonly chargedIncomplete: number;
  /** Requests without an answer, by what the ledger has of them. */
  readonly unanswered: Unanswered;
  /** What clients got in place of an answer, by status and code, with how many did. */
  readonly errors: ReadonlyMap<string, number>;
  /** Complete answers by how they were charged, and all else that contradicts the rule. Empty when all is well. */
  readonly contradictions: readonly string[];
  /** Caps that were charged above their highest limit. */
  readonly overspent: readonly string[];
}

/** Each of these is a case of the written rule. */
export interface Unanswered {
  /** Refused, or never reached a node: no provider was called and nothing is charged. */
  never: number;
  /** Their node died, or ended them: nothing is charged. */
  free: number;
  /** The client was gone, or the last bytes did not arrive: what was generated is charged. */
  charged: number;
}

interface EventRow {
  readonly request_id: string;
  readonly outcome: string;
  readonly exactness: string;
  readonly key_id: string;
  readonly charge_nano: string;
  readonly written_off_nano: string;
}

export async function judge(
  databaseUrl: string,
  journal: readonly JournalLine[],
  sent: readonly Sent[],
  keys: readonly CappedKey[],
): Promise<Verdict> {
  const events = await readEvents(databaseUrl);
  const byRequest = new Map<string, EventRow>();
  const doubled: string[] = [];
  for (const event of events) {
    if (byRequest.has(event.request_id)) doubled.push(`${event.request_id} has two events`);
    byRequest.set(event.request_id, event);
  }
  const clients = new Map(sent.map((one) => [one.ref, one]));
  const lost: string[] = [];
  const contradictions: string[] = [];
  const calls = new Set<string>();
  const answered = new Map<string, EventRow>();
  let differenceNano = 0n;
  let chargedNano = 0n;
  let exact = 0;
  let estimated = 0;
  let chargedIncomplete = 0;
  for (const line of journal) {
    const { request_id: requestId, client_marker: ref } = line;
    if (requestId === null || ref === null) {
      contradictions.push(`a provider call without its request or marker: ${line.path}`);
      continue;
    }
    if (calls.has(requestId)) doubled.push(`${requestId} reached a provider twice`);
    calls.add(requestId);
    const event = byRequest.get(requestId);
    if (event === undefined) {
      lost.push(`${requestId} (${ref})`);
      continue;
    }
    answered.set(ref, event);
    const charge = BigInt(event.charge_nano);
    chargedNano += charge;
    if (event.outcome === 'failed' || event.outcome === 'recovered' || event.outcome === 'empty') {
      if (charge !== 0n) contradictions.push(`${requestId} is ${event.outcome} and was charged ${charge}`);
      continue;
    }
    const expected = expectedCharge(line, 'chat');
    if (event.exactness === 'estimated') {
      estimated++;
      const off = Number(charge - expected.chargeNano) / Math.max(1, Number(expected.chargeNano));
      if (Math.abs(off) > ESTIMATE_TOLERANCE) contradictions.push(`${requestId} was estimated ${charge}, generated ${expected.chargeNano}`);
    } else {
      exact++;
      differenceNano += charge - expected.chargeNano;
      if (charge !== expected.chargeNano) contradictions.push(`${requestId}: charged ${charge}, expected ${expected.chargeNano}`);
    }
    if (charge > 0n && clients.get(ref)?.end !== 'complete') chargedIncomplete++;
  }
  for (const one of sent) {
    if (one.end !== 'complete') continue;
    const event = answered.get(one.ref);
    if (event === undefined || BigInt(event.charge_nano) === 0n) {
      contradictions.push(`${one.ref} arrived whole and was not charged (${event?.outcome ?? 'no event'})`);
    }
  }
  for (const event of events) {
    if (!calls.has(event.request_id) && event.charge_nano !== '0') {
      contradictions.push(`${event.request_id} was charged ${event.charge_nano} without a provider call`);
    }
    if (event.written_off_nano !== '0') contradictions.push(`${event.request_id}: ${event.written_off_nano} were written off`);
  }
  const unanswered: Unanswered = { never: 0, free: 0, charged: 0 };
  const errors = new Map<string, number>();
  for (const one of sent) {
    if (one.end === 'complete') continue;
    const event = answered.get(one.ref);
    if (event === undefined) unanswered.never++;
    else if (BigInt(event.charge_nano) === 0n) unanswered.free++;
    else unanswered.charged++;
    const name =
      one.end === 'left' ? 'left by the client' : one.status === undefined ? 'a broken connection' : `${one.status} ${one.code ?? ''}`;
    errors.set(name, (errors.get(name) ?? 0) + 1);
  }
  return {
    unanswered,
    errors,
    requests: sent.length,
    complete: sent.filter((one) => one.end === 'complete').length,
    refused: sent.filter((one) => one.end === 'refused').length,
    lost,
    doubled,
    differenceNano,
    chargedNano,
    exact,
    estimated,
    recovered: events.filter((event) => event.outcome === 'recovered').length,
    chargedIncomplete,
    contradictions,
    overspent: overspentOf(events, keys),
  };
}

function overspentOf(events: readonly EventRow[], keys: readonly CappedKey[]): string[] {
  const spent = new Map<string, bigint>();
  for (const event of events) spent.set(event.key_id, (spent.get(event.key_id) ?? 0n) + BigInt(event.charge_nano));
  return keys.flatMap((key) => {
    const limitNano = BigInt(Math.round(key.limitUsd * 1e9));
    const spentNano = spent.get(key.id) ?? 0n;
    return spentNano > limitNano ? [`${key.id}: ${spentNano} of ${limitNano}`] : [];
  });
}

async function readEvents(databaseUrl: string): Promise<EventRow[]> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const { rows } = await client.query<EventRow>(
      'SELECT request_id, outcome, exactness, key_id, charge_nano::text, written_off_nano::text FROM usage_event',
    );
    return rows;
  } finally {
    await client.end();
  }
}

/** Of all budgets together, once everything is back: what leases still hold, and what was written off. */
export async function leaseSums(databaseUrl: string): Promise<{ readonly held: bigint; readonly writtenOff: bigint }> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ held: string; written_off: string }>(
      `SELECT coalesce(sum(granted - returned - used - written_off), 0)::text AS held, coalesce(sum(written_off), 0)::text AS written_off FROM lease`,
    );
    return { held: BigInt(rows[0]?.held ?? '0'), writtenOff: BigInt(rows[0]?.written_off ?? '0') };
  } finally {
    await client.end();
  }
}
