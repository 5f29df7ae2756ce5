/**
 * What must hold after the torture, compared exactly: each call in the providers' own journal with the one event of its
 * request in the ledger, by prices and arithmetic of the test's own, and what each client saw with what it was charged.
 */
import pg from 'pg';
import { type Expectation, expectedCharge } from '../scenario/oracle.ts';
import type { JournalLine } from '../upstream/src/journal.ts';
import { type RequestRow, requestsOf } from './calls.ts';
import type { Sent } from './clients.ts';
import type { Cap } from './customers.ts';
import { judgeKeyed, type Served, type StoreLosses } from './once.ts';
import type { Recorded, Repricing } from './repricing.ts';

/** A count of ours may miss the provider's by this share of the charge. */
const ESTIMATE_TOLERANCE = 0.6;

export interface Verdict {
  readonly requests: number;
  readonly complete: number;
  readonly refused: number;
  readonly limited: number;
  /** Complete ones, by `client → provider`, JSON and SSE apart. */
  readonly pairs: ReadonlyMap<string, number>;
  /** Different terms that requests were charged at. */
  readonly markups: number;
  readonly priceVersions: number;
  readonly tiers: number;
  /** Idempotency keys, stored answers that came again, and second calls where the store had lost its records. */
  readonly keyed: number;
  readonly replays: number;
  readonly servedAgain: number;
  /** Provider calls whose request has no event: usage that was lost. */
  readonly lost: readonly string[];
  /** Requests with more than one event or more than one provider call, and idempotency keys with more than one charge. */
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

export interface Evidence {
  readonly databaseUrl: string;
  readonly journal: readonly JournalLine[];
  readonly sent: readonly Sent[];
  /** Replays that were unlike what they repeat. */
  readonly unlike: readonly string[];
  readonly caps: readonly Cap[];
  readonly repricing: Pick<Repricing, 'termsOf'>;
  readonly losses: StoreLosses;
}

interface EventRow extends RequestRow, Recorded {
  readonly outcome: string;
  readonly exactness: string;
  readonly member_id: string;
  readonly charge_nano: string;
  readonly written_off_nano: string;
}

export async function judge({ databaseUrl, journal, sent, unlike, caps, repricing, losses }: Evidence): Promise<Verdict> {
  const events = await readEvents(databaseUrl);
  const byRequest = new Map<string, EventRow>();
  const doubled: string[] = [];
  for (const event of events) {
    if (byRequest.has(event.request_id)) doubled.push(`${event.request_id} has two events`);
    byRequest.set(event.request_id, event);
  }
  const expectedOf = (line: JournalLine, event: EventRow): Expectation => expectedCharge(line, 'chat', repricing.termsOf(event).terms);
  const requests = requestsOf(journal, events, sent, (line, event) => problemOf(event, expectedOf(line, event)) === undefined);
  const bySent = Map.groupBy(sent, ({ ref }) => ref);
  const lost: string[] = [];
  const contradictions: string[] = unlike.map((text) => `a replay ${text}`);
  const called = new Set<EventRow>();
  const served: Served[] = [];
  const pairs = new Map<string, number>();
  const [markups, priceVersions, tiers] = [new Set<string>(), new Set<string>(), new Set<string>()];
  let differenceNano = 0n;
  let chargedNano = 0n;
  let exact = 0;
  let estimated = 0;
  let chargedIncomplete = 0;
  for (const line of journal) {
    const ref = line.client_marker;
    if (ref === null) {
      contradictions.push(`a provider call without its marker: ${line.path}`);
      continue;
    }
    const event = requests.get(line);
    if (event === undefined) {
      lost.push(`${line.request_id ?? line.path} (${ref}); ${describe(line)}`);
      continue;
    }
    const { request_id: requestId } = event;
    if (called.has(event)) doubled.push(`${requestId} reached a provider twice`);
    called.add(event);
    const charge = BigInt(event.charge_nano);
    served.push({ ref, region: event.region, requestId, chargeNano: charge, admittedAtMs: event.admitted_at.getTime(), ...line });
    chargedNano += charge;
    const expected = expectedOf(line, event);
    const problem = problemOf(event, expected);
    if (problem !== undefined) contradictions.push(`${requestId} (${ref}, ${event.client_dialect}) ${problem}; ${describe(line)}`);
    if (charge === 0n) continue;
    const { problems } = repricing.termsOf(event);
    contradictions.push(...problems.map((text) => `${requestId} was charged at ${text}`));
    markups.add(`${event.tier_id} ${event.markup_basis_points}`);
    priceVersions.add(`${event.answering_model_id} ${event.answering_price_version}`);
    tiers.add(`${event.account_id} ${event.tier_id}`);
    if (event.exactness === 'estimated') estimated++;
    else {
      exact++;
      differenceNano += charge - expected.chargeNano;
    }
    const attempts = bySent.get(ref) ?? [];
    const isWhole = attempts.some(({ end, requestId: seen }) => end === 'complete' && (seen === undefined || seen === requestId));
    if (!isWhole) chargedIncomplete++;
    const pair = `${event.client_dialect} → ${line.provider}${/responses$/.test(line.path) ? ' responses' : ''}, ${line.stream ? 'SSE' : 'JSON'}`;
    if (isWhole) pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
  }
  for (const one of sent) {
    if (one.requestId === undefined || one.status === undefined) continue;
    const event = byRequest.get(one.requestId);
    const charge = BigInt(event?.charge_nano ?? '0');
    const what = `${one.requestId} (${one.ref}, ${one.dialect}${one.isReplay ? ', replayed' : ''})`;
    if (one.end === 'complete' && charge === 0n)
      contradictions.push(`${what} arrived whole and was not charged (${event?.outcome ?? 'no event'})`);
    if (one.status !== 200 && charge !== 0n) contradictions.push(`${what} was refused by ${one.status} ${one.code} and charged ${charge}`);
    if (one.status === 200 && one.end === 'error' && charge !== 0n)
      contradictions.push(`${what} ended by an error of ours and was charged ${charge}`);
  }
  for (const event of events) {
    if (!called.has(event) && event.charge_nano !== '0') {
      contradictions.push(`${event.request_id} was charged ${event.charge_nano} without a provider call`);
    }
    if (event.written_off_nano !== '0') contradictions.push(`${event.request_id}: ${event.written_off_nano} were written off`);
  }
  const keyed = judgeKeyed(sent, served, losses);
  doubled.push(...keyed.doubled);
  const unanswered: Unanswered = { never: 0, free: 0, charged: 0 };
  const errors = new Map<string, number>();
  const byRef = Map.groupBy(served, ({ ref }) => ref);
  for (const [ref, attempts] of bySent) {
    if (attempts.some(({ end }) => end === 'complete')) continue;
    const calls = byRef.get(ref) ?? [];
    if (calls.length === 0) unanswered.never++;
    else if (calls.every(({ chargeNano }) => chargeNano === 0n)) unanswered.free++;
    else unanswered.charged++;
  }
  for (const one of sent) {
    if (one.end === 'complete') continue;
    const name =
      one.end === 'left'
        ? 'left by the client'
        : one.status === undefined || one.end === 'broken'
          ? 'a broken connection'
          : `${one.status} ${one.code ?? 'an error event'}`;
    errors.set(name, (errors.get(name) ?? 0) + 1);
  }
  const count = (end: Sent['end']): number => sent.filter((one) => one.end === end).length;
  return {
    unanswered,
    errors,
    requests: sent.length,
    complete: count('complete'),
    refused: count('refused'),
    limited: count('limited'),
    pairs,
    markups: markups.size,
    priceVersions: priceVersions.size,
    tiers: tiers.size,
    keyed: keyed.keys,
    replays: sent.filter(({ isReplay }) => isReplay).length,
    servedAgain: keyed.servedAgain,
    lost,
    doubled,
    differenceNano,
    chargedNano,
    exact,
    estimated,
    recovered: events.filter((event) => event.outcome === 'recovered').length,
    chargedIncomplete,
    contradictions,
    overspent: overspentOf(events, caps),
  };
}

/** What contradicts the written rule in a charge, if anything does. */
function problemOf(event: EventRow, expected: Expectation): string | undefined {
  const charge = BigInt(event.charge_nano);
  if (event.outcome === 'failed' || event.outcome === 'recovered' || event.outcome === 'empty') {
    return charge === 0n ? undefined : `is ${event.outcome} and was charged ${charge}`;
  }
  if (event.exactness === 'estimated') {
    const off = Number(charge - expected.chargeNano) / Math.max(1, Number(expected.chargeNano));
    return Math.abs(off) > ESTIMATE_TOLERANCE ? `was estimated ${charge}, generated ${expected.chargeNano}` : undefined;
  }
  return charge === expected.chargeNano
    ? undefined
    : `was charged ${charge}, expected ${expected.chargeNano} (${expected.kind}; ${event.outcome})`;
}

function describe(line: JournalLine): string {
  return `provider: ${line.path} ${line.status}, fault ${line.fault ?? 'none'}, ${line.stream ? 'stream' : 'whole'}, completed ${line.completed}, usage sent ${line.usage_sent}, left ${line.aborted_by_client}, pieces ${line.pieces_sent}, usage ${JSON.stringify(line.usage)}`;
}

function overspentOf(events: readonly EventRow[], caps: readonly Cap[]): string[] {
  const spent = new Map<string, bigint>();
  for (const event of events) {
    for (const id of [event.key_id, event.member_id, event.account_id]) spent.set(id, (spent.get(id) ?? 0n) + BigInt(event.charge_nano));
  }
  return caps.flatMap((cap) => {
    const limitNano = BigInt(Math.round(cap.limitUsd * 1e9));
    const spentNano = spent.get(cap.id) ?? 0n;
    return spentNano > limitNano ? [`${cap.scope} ${cap.id}: ${spentNano} of ${limitNano}`] : [];
  });
}

async function readEvents(databaseUrl: string): Promise<EventRow[]> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const { rows } = await client.query<EventRow>(
      `SELECT request_id, region, account_id, member_id, key_id, client_dialect, asked_model, admitted_at, attempts, outcome, exactness,
         tier_id, markup_basis_points, answering_model_id, answering_price_version, charge_nano::text, written_off_nano::text
       FROM usage_event`,
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
