/** Holds the ledger against the providers' journal, request by request. */
import { sql } from 'kysely';
import type { JournalLine } from '../upstream/src/journal.ts';
import type { World } from '../world/world.ts';
import { type Expectation, expectedCharge } from './oracle.ts';

/** A count of ours may miss the provider's by this share of the charge. */
export const ESTIMATE_TOLERANCE = 0.5;

export interface Books {
  /** Requests in the ledger. */
  readonly requests: number;
  readonly exact: number;
  readonly estimated: number;
  readonly free: number;
  readonly recovered: number;
  readonly chargedNano: bigint;
  readonly expectedNano: bigint;
  /** The largest share by which a count of ours missed what the provider generated. */
  readonly worstEstimate: number;
  /** Each with what was expected and what was found; empty when the books agree. */
  readonly differences: readonly string[];
}

interface EventRow {
  readonly request_id: string;
  readonly outcome: string;
  readonly exactness: string;
  readonly operation: string;
  readonly charge_nano: bigint;
}

/**
 * Compares every provider call with the charge of its request. `excused` names requests whose charge the rule leaves open
 * (a final that was written while the node was being killed); they are left out and must be counted by the caller.
 */
export async function compareBooks(world: World, excused: ReadonlySet<string> = new Set()): Promise<Books> {
  const events = await sql<EventRow>`SELECT request_id, outcome, exactness, operation, charge_nano FROM usage_event`.execute(
    world.database.db,
  );
  const byRequest = new Map(events.rows.map((row) => [row.request_id, row]));
  const differences: string[] = [];
  let expectedNano = 0n;
  let chargedNano = 0n;
  let worstEstimate = 0;
  const seen = new Set<string>();
  for (const line of await world.journal()) {
    if (line.request_id === null) {
      differences.push(`a provider call without a request id: ${line.path} ${line.client_marker}`);
      continue;
    }
    if (seen.has(line.request_id)) differences.push(`${line.request_id} reached a provider twice`);
    seen.add(line.request_id);
    if (excused.has(line.request_id)) continue;
    const event = byRequest.get(line.request_id);
    if (event === undefined) {
      differences.push(`${line.request_id} is not in the ledger: ${describe(line)}`);
      continue;
    }
    const expected = expectedCharge(line, event.operation === 'embeddings' ? 'embeddings' : 'chat');
    if (expected.kind === 'estimated') {
      worstEstimate = Math.max(worstEstimate, offBy(expected, event));
    } else {
      expectedNano += expected.chargeNano;
      chargedNano += event.charge_nano;
    }
    const problem = difference(expected, event);
    if (problem !== undefined) differences.push(`${line.request_id}: ${problem}; ${describe(line)}`);
  }
  for (const event of events.rows) {
    if (!seen.has(event.request_id) && event.charge_nano !== 0n && !excused.has(event.request_id))
      differences.push(`${event.request_id} was charged without a provider call`);
  }
  const count = (holds: (row: EventRow) => boolean): number => events.rows.filter(holds).length;
  return {
    requests: events.rows.length,
    exact: count((row) => row.charge_nano > 0n && row.exactness === 'exact'),
    estimated: count((row) => row.exactness === 'estimated' && row.charge_nano > 0n),
    free: count((row) => row.charge_nano === 0n && row.outcome !== 'recovered'),
    recovered: count((row) => row.outcome === 'recovered'),
    worstEstimate,
    chargedNano,
    expectedNano,
    differences,
  };
}

function difference(expected: Expectation, event: EventRow): string | undefined {
  switch (expected.kind) {
    case 'exact':
    case 'nothing':
      return event.charge_nano === expected.chargeNano
        ? undefined
        : `expected ${expected.chargeNano} (${expected.kind}), charged ${event.charge_nano} (${event.outcome}, ${event.exactness})`;
    case 'estimated': {
      return offBy(expected, event) <= ESTIMATE_TOLERANCE
        ? undefined
        : `estimated ${event.charge_nano} where ${expected.chargeNano} was generated`;
    }
    default:
      return expected.kind satisfies never;
  }
}

function offBy(expected: Expectation, event: EventRow): number {
  return Math.abs(Number(event.charge_nano - expected.chargeNano)) / Number(expected.chargeNano);
}

function describe(line: JournalLine): string {
  return `provider: ${line.status}, fault ${line.fault ?? 'none'}, ${line.stream ? 'stream' : 'whole'}, completed ${line.completed}, usage sent ${line.usage_sent}, left ${line.aborted_by_client}, pieces ${line.pieces_sent}, usage ${JSON.stringify(line.usage)}`;
}

/** What the ledger says the account has, and what its requests were charged: credit − charges = balance. */
export async function balanceNano(world: World): Promise<bigint> {
  const credits = await world.account.get('/v1/credits');
  const value = credits.balance_nano;
  if (typeof value !== 'string') throw new Error(`no balance_nano in ${JSON.stringify(credits).slice(0, 200)}`);
  return BigInt(value);
}

export async function chargedInAllNano(world: World): Promise<bigint> {
  const { rows } = await sql<{ total: string }>`SELECT coalesce(sum(charge_nano), 0)::text AS total FROM usage_event`.execute(
    world.database.db,
  );
  return BigInt(rows[0]?.total ?? '0');
}
