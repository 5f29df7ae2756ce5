/** What must hold at every commit, and what must hold when all has come to rest. */
import { totalNano } from '@meridian/control-plane/ledger/ledger';
import { isPrepaidCapId } from '@meridian/domain/budget';
import { heldOf } from '@meridian/domain/lease';
import { LANES, type Lane } from '@meridian/domain/snapshot';
import type { LaneRevisions } from '@meridian/wire/codec/lane';
import type { Books } from './books.ts';
import type { Node } from './node.ts';
import { Violation } from './violation.ts';

interface Seen {
  readonly limit: number;
  readonly taken: number;
}

/** The limits of budgets, commit by commit. */
export class LimitWatch {
  readonly #seen = new Map<string, Seen>();

  /** Settled and held never grow beyond the limit; where a lowered limit lies below them, they only shrink. */
  committed(books: Books, what: string, ids: readonly string[]): void {
    for (const id of ids) {
      const budget = books.budgets.get(id);
      if (budget === undefined) continue;
      const { limit, settled, held } = budget;
      const taken = settled + held;
      const before = this.#seen.get(id);
      this.#seen.set(id, { limit, taken });
      if (settled < 0 || held < 0) throw new Violation('settled and held are never below 0', `${id}: ${settled}, ${held}`);
      if (taken <= limit) continue;
      // What was charged before the cap was set, or set again, counts against it.
      if (before === undefined || /^(cap|top up)/.test(what)) continue;
      if (taken <= before.taken) continue;
      // As long as not all have declared, what one was granted may still be held by another that gave it back.
      if (books.frozen) continue;
      throw new Violation(
        'charged and held never pass the limit',
        `${id} after ${what}: ${settled} + ${held} > ${limit}, before ${before.taken}`,
      );
    }
  }

  /** The database has lost commits: its figures start anew. */
  restored(): void {
    this.#seen.clear();
  }
}

/** The books by themselves: sums against sums. */
export function audit(books: Books): void {
  const held = new Map<string, number>();
  const used = new Map<string, number>();
  const charged = new Map<string, number>();
  for (const event of books.events.values()) {
    if (event.refusal !== undefined) continue;
    for (const { leaseId, amount } of event.final.leases) charged.set(leaseId, (charged.get(leaseId) ?? 0) + Number(amount));
  }
  for (const lease of books.leases.values()) {
    const rest = heldOf(lease);
    if (rest < 0) throw new Violation('used + returned + written off ≤ granted', `lease ${lease.id} is short of ${-rest}`);
    if (lease.used !== (charged.get(lease.id) ?? 0)) {
      throw new Violation('used is the sum of the finals', `lease ${lease.id}: ${lease.used}, charged ${charged.get(lease.id) ?? 0}`);
    }
    held.set(lease.budgetId, (held.get(lease.budgetId) ?? 0) + rest);
    used.set(lease.budgetId, (used.get(lease.budgetId) ?? 0) + lease.used);
  }
  for (const [id, budget] of books.budgets.entries()) {
    if (budget.held !== (held.get(id) ?? 0))
      throw new Violation('held is the sum of the leases', `${id}: ${budget.held}, ${held.get(id) ?? 0}`);
    const { capId } = budget.ref;
    if (!isPrepaidCapId(capId)) continue;
    if (budget.settled !== (used.get(id) ?? 0))
      throw new Violation('settled is what was used', `${id}: ${budget.settled}, ${used.get(id) ?? 0}`);
    const wallet = books.wallets.get(budget.accountId);
    const credit = wallet === undefined ? 0n : totalNano(wallet);
    if (BigInt(budget.limit - budget.settled) !== credit) {
      throw new Violation('limit − settled is the balance', `${id}: ${budget.limit} − ${budget.settled}, balance ${credit}`);
    }
    if (credit < 0n) throw new Violation('no balance is below 0', `${id}: ${credit}`);
  }
  let sum = 0n;
  for (const balance of books.ledger.values()) sum += balance;
  if (sum !== 0n) throw new Violation('the ledger sums to zero', `${sum}`);
}

interface Replayed {
  readonly version: number;
  readonly deleted: boolean;
}

/** The newest version of each entity in the log up to the cursors; of BULK without what a later row of it is about to replace. */
function replay(books: Books, cursors: LaneRevisions): Map<string, Replayed> {
  const newest = new Map<string, Replayed>();
  const coming = new Set<string>();
  for (let rev = (cursors.bulk ?? 0) + 1; rev <= books.head('bulk'); rev++) {
    const row = books.logRow('bulk', rev);
    if (row !== undefined) coming.add(`${row.kind}/${row.entityId}`);
  }
  for (const lane of LANES) {
    for (let rev = 1; rev <= (cursors[lane] ?? 0); rev++) {
      const row = books.logRow(lane, rev);
      if (row === undefined) throw new Violation('the log has no gaps', `${lane} ${rev}`);
      const name = `${row.kind}/${row.entityId}`;
      if (lane === 'bulk' && coming.has(name)) continue;
      if (row.version > (newest.get(name)?.version ?? 0)) newest.set(name, row);
    }
  }
  return newest;
}

/** A node's picture at its cursors is the log up to them, or newer where another way was quicker. */
export function checkPicture(books: Books, node: Node, settled: boolean): void {
  const { position } = node;
  if (position === undefined || position.dbEpoch !== books.dbEpoch) return;
  for (const lane of LANES) {
    if ((position.cursors[lane] ?? 0) > books.head(lane))
      throw new Violation('no cursor is ahead of its head', `${node.life.name} ${lane}`);
  }
  const expected = replay(books, position.cursors);
  const held = new Map<string, number>();
  for (const entry of node.picture.entries()) held.set(`${entry.kind}/${entry.id}`, entry.version);
  for (const [name, { version, deleted }] of expected) {
    const row = books.entities.get(name);
    const has = held.get(name);
    // A snapshot has no tombstones.
    if (row === undefined || (has === undefined && deleted)) continue;
    if (has === undefined || has < version || has > row.version || (settled && has !== version)) {
      throw new Violation('a picture is the log up to its cursors', `${node.life.name} has ${name} at ${has}, the log at ${version}`);
    }
  }
  for (const [name, version] of held) {
    if (!books.entities.has(name))
      throw new Violation('a picture holds nothing that is not', `${node.life.name} has ${name} at ${version}`);
  }
}

/** Nodes at rest: nothing is reserved, nothing waits, all of the spool is acknowledged, the picture is at the heads. */
export function checkRested(books: Books, node: Node): void {
  const { spool, desk, position } = node;
  const name = node.life.name;
  if (spool === undefined || desk === undefined || position === undefined) throw new Violation('every node is up again', name);
  const { reservations, waiting, questions } = desk.status();
  if (reservations !== 0) throw new Violation('no reservation leaks', `${name} has ${reservations}`);
  if (waiting !== 0 || questions !== 0)
    throw new Violation('nothing waits for ever', `${name}: ${waiting} requests, ${questions} questions`);
  if (spool.durableSeq !== spool.lastSeq) throw new Violation('all becomes durable', `${name}: ${spool.durableSeq} of ${spool.lastSeq}`);
  for (const { incarnation, lastSeq } of spool.incarnations()) {
    const acked = spool.ackedSeq(incarnation);
    if (acked < lastSeq) throw new Violation('every spool drains', `${name} ${incarnation.toString(16)}: ${acked} of ${lastSeq}`);
  }
  if (position.dbEpoch !== books.dbEpoch) throw new Violation('every node follows the present database', name);
  for (const lane of LANES as readonly Lane[]) {
    if ((position.cursors[lane] ?? -1) !== books.head(lane)) {
      throw new Violation('every node is at the heads', `${name} ${lane}: ${position.cursors[lane]} of ${books.head(lane)}`);
    }
  }
  checkPicture(books, node, true);
}

/** On this node: what is set aside is what requests have set aside, and no lease is overdrawn. */
export function checkLeases(books: Books, node: Node, reservedOn: (leaseId: string) => number, forgets: boolean): void {
  const { desk } = node;
  if (desk === undefined) return;
  for (const record of desk.declarations()) {
    const lease = desk.leaseOn(record.budget);
    if (lease?.id !== record.leaseId) continue;
    const { id, granted, received, returned, used, reserved } = lease;
    // A damaged disk may have lost a grant and kept what was used of it: nothing is set aside then until the grant is told again.
    const lost = reserved === 0 && used + returned <= (books.leases.get(id)?.granted ?? 0);
    if ((used + reserved + returned > granted && !lost) || reserved < 0) {
      throw new Violation(
        'used + reserved + returned ≤ granted on a node',
        `${node.life.name} ${id}: ${used} + ${reserved} + ${returned} > ${granted}`,
      );
    }
    if (reserved !== reservedOn(id)) {
      throw new Violation('reserved is what requests have set aside', `${node.life.name} ${id}: ${reserved}, requests ${reservedOn(id)}`);
    }
    const book = books.leases.get(id);
    if (forgets || book === undefined || book.closed) continue;
    if (received > book.granted) throw new Violation('a grant is committed before it is sent', `${id}: ${received} of ${book.granted}`);
    if (book.returned > returned) throw new Violation('nothing is given back that a node has', `${id}: ${book.returned} of ${returned}`);
    if (book.used > used) throw new Violation('nothing is charged that a node did not use', `${id}: ${book.used} of ${used}`);
  }
}
