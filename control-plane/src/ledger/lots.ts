/**
 * The rules of lots, without a database: which part of a customer's credit is left of which purchase or gift.
 *
 * Usage is taken from the wallet alone. By definition it takes the oldest lots first, so what is unspent of a lot follows from the
 * wallet: the newest lots are whole as far as the balance reaches. A batch of usage therefore writes one wallet however many
 * purchases an account has, and the ingest of usage knows nothing of lots. Whatever else takes credit says from which lot.
 */
import type { Nano } from '@meridian/domain/money';
import {
  type Balance,
  type CreditKind,
  type CustomerCode,
  changeCredit,
  creditAccount,
  type LedgerAccount,
  type PlatformAccount,
  type Posting,
  totalNano,
} from './ledger.ts';

export type LotSource = 'purchase' | 'trial' | 'promotion' | 'grant' | 'adjustment' | 'opening';

/** Credit that came in with one transfer. */
export interface Lot {
  /** Grows within an account. */
  readonly id: bigint;
  readonly kind: CreditKind;
  readonly source: LotSource;
  readonly purchaseId: bigint | undefined;
  readonly amountNano: Nano;
  /** What anything but usage took of it. */
  readonly takenNano: Nano;
}

export type NewLot = Omit<Lot, 'id' | 'takenNano'>;

/** Why credit moves, and what it is called beside the transfer. */
export interface Cause {
  readonly code: CustomerCode;
  readonly counterpart: PlatformAccount;
  readonly reference?: string | undefined;
}

/** What is unspent of each lot of one kind, by id. The sum is the balance as long as the lots account for it. */
export function unspentOf(lots: readonly Lot[], balanceNano: Nano): Map<bigint, Nano> {
  const unspent = new Map<bigint, Nano>();
  let restNano = balanceNano;
  for (const lot of lots.toSorted((a, b) => (a.id > b.id ? -1 : 1))) {
    const leftNano = least(lot.amountNano - lot.takenNano, restNano);
    unspent.set(lot.id, leftNano);
    restNano -= leftNano;
  }
  return unspent;
}

/** What became of the lots of one purchase. Bonus spent is what of its bonus was neither left nor taken back. */
export interface PurchaseStanding {
  readonly unspentNano: Nano;
  readonly bonusUnspentNano: Nano;
  readonly bonusSpentNano: Nano;
}

/** One change of an account's credit: the wallet and its lots as they were locked, moved here, written back by whoever locked them. */
export class CreditBook {
  readonly #accountId: string;
  readonly #before: Balance;
  #balance: Balance;
  readonly #lots: Map<bigint, Lot>;
  readonly #changedLots = new Set<bigint>();
  readonly #newLots: NewLot[] = [];
  readonly #postings: Posting[] = [];
  /** Reckoned when it is asked for; a list of purchases asks for each of them. */
  readonly #unspent = new Map<CreditKind, Map<bigint, Nano>>();

  constructor(accountId: string, balance: Balance, lots: Iterable<Lot>) {
    this.#accountId = accountId;
    this.#before = balance;
    this.#balance = balance;
    this.#lots = new Map([...lots].map((lot) => [lot.id, lot]));
  }

  get balance(): Balance {
    return this.#balance;
  }

  /** What has to be written back. `netNano` is what the balance changed by, and so is the limit of prepaid credit to. */
  changes() {
    return {
      balance: this.#balance,
      netNano: totalNano(this.#balance) - totalNano(this.#before),
      postings: this.#postings,
      newLots: this.#newLots,
      changedLots: [...this.#changedLots].flatMap((id) => this.#lots.get(id) ?? []),
    };
  }

  /** Credit from outside, as a lot of its own: the last to be spent of its kind. Nothing happens for 0. */
  give(cause: Cause, lot: NewLot): void {
    if (lot.amountNano === 0n) return;
    this.#move(cause, lot.kind, lot.amountNano);
    this.#newLots.push(lot);
    // Until it is written it is known here by a number of no meaning, newer than all others.
    const id = [...this.#lots.keys()].reduce((newest, each) => (each > newest ? each : newest), 0n) + 1n;
    this.#lots.set(id, { ...lot, id, takenNano: 0n });
    this.#unspent.clear();
  }

  /** Takes unspent credit of one lot; the caller has looked how much there is. */
  take(cause: Cause, lotId: bigint, amountNano: Nano): void {
    if (amountNano === 0n) return;
    const lot = this.#lot(lotId);
    if (amountNano > this.unspentNano(lotId)) throw new Error(`${amountNano} of lot ${lotId}, of which less is unspent`);
    this.#move(cause, lot.kind, -amountNano);
    this.#setTaken(lot, lot.takenNano + amountNano);
  }

  /** Takes credit of one kind, from the lots that usage would take first. Throws `invalid_state` when there is less. */
  takeOldest(cause: Cause, kind: CreditKind, amountNano: Nano): void {
    const unspent = this.#unspentOf(kind);
    this.#move(cause, kind, -amountNano);
    let restNano = amountNano;
    for (const lot of this.#ofKind(kind).toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
      const partNano = least(restNano, unspent.get(lot.id) ?? 0n);
      if (partNano > 0n) this.#setTaken(lot, lot.takenNano + partNano);
      restNano -= partNano;
    }
  }

  /** Puts back into a lot what was taken of it. */
  giveBack(cause: Cause, lotId: bigint, amountNano: Nano): void {
    const lot = this.#lot(lotId);
    if (amountNano > lot.takenNano) throw new Error(`${amountNano} back to lot ${lotId}, of which less was taken`);
    this.#move(cause, lot.kind, amountNano);
    this.#setTaken(lot, lot.takenNano - amountNano);
  }

  /**
   * Gives back what was charged, as if it had never been: to paid credit, which is spent last, as far as it was spent, then to bonus
   * credit. The rest was never the customer's: write-offs had covered it.
   */
  unspend(cause: Cause, amountNano: Nano): { readonly paidNano: Nano; readonly bonusNano: Nano; readonly coveredNano: Nano } {
    const paidNano = least(amountNano, this.#spentNano('paid'));
    const bonusNano = least(amountNano - paidNano, this.#spentNano('bonus'));
    if (paidNano > 0n) this.#move(cause, 'paid', paidNano);
    if (bonusNano > 0n) this.#move(cause, 'bonus', bonusNano);
    return { paidNano, bonusNano, coveredNano: amountNano - paidNano - bonusNano };
  }

  /** A transfer between the company's own accounts that belongs to the change. Nothing happens for 0. */
  post(posting: Pick<Posting, 'code' | 'debit' | 'credit' | 'amountNano' | 'reference'>): void {
    if (posting.amountNano > 0n) this.#postings.push({ ...posting, accountId: undefined, batchId: undefined });
  }

  unspentNano(lotId: bigint): Nano {
    return this.#unspentOf(this.#lot(lotId).kind).get(lotId) ?? 0n;
  }

  lotsOf(purchaseId: bigint, kind: CreditKind): readonly Lot[] {
    return this.#ofKind(kind).filter((lot) => lot.purchaseId === purchaseId);
  }

  purchase(purchaseId: bigint): PurchaseStanding {
    const sum = (kind: CreditKind, of: (lot: Lot) => Nano): Nano =>
      this.lotsOf(purchaseId, kind).reduce((total, lot) => total + of(lot), 0n);
    const paid = this.#unspentOf('paid');
    const bonus = this.#unspentOf('bonus');
    const bonusUnspentNano = sum('bonus', (lot) => bonus.get(lot.id) ?? 0n);
    return {
      unspentNano: sum('paid', (lot) => paid.get(lot.id) ?? 0n),
      bonusUnspentNano,
      bonusSpentNano: sum('bonus', (lot) => lot.amountNano - lot.takenNano) - bonusUnspentNano,
    };
  }

  #move({ code, counterpart, reference }: Cause, kind: CreditKind, changeNano: Nano): void {
    this.#balance = changeCredit(this.#balance, kind, changeNano);
    this.#unspent.clear();
    const own: LedgerAccount = creditAccount(kind, this.#accountId);
    const up = changeNano > 0n;
    this.#postings.push({
      code,
      debit: up ? counterpart : own,
      credit: up ? own : counterpart,
      amountNano: up ? changeNano : -changeNano,
      accountId: this.#accountId,
      batchId: undefined,
      reference,
    });
  }

  #spentNano(kind: CreditKind): Nano {
    const inLots = this.#ofKind(kind).reduce((total, lot) => total + lot.amountNano - lot.takenNano, 0n);
    const spentNano = inLots - (kind === 'paid' ? this.#balance.paidNano : this.#balance.bonusNano);
    return spentNano > 0n ? spentNano : 0n;
  }

  #unspentOf(kind: CreditKind): Map<bigint, Nano> {
    const known = this.#unspent.get(kind);
    if (known !== undefined) return known;
    const reckoned = unspentOf(this.#ofKind(kind), kind === 'paid' ? this.#balance.paidNano : this.#balance.bonusNano);
    this.#unspent.set(kind, reckoned);
    return reckoned;
  }

  #ofKind(kind: CreditKind): Lot[] {
    return [...this.#lots.values()].filter((lot) => lot.kind === kind);
  }

  #setTaken(lot: Lot, takenNano: Nano): void {
    this.#lots.set(lot.id, { ...lot, takenNano });
    this.#unspent.clear();
    this.#changedLots.add(lot.id);
  }

  #lot(id: bigint): Lot {
    const lot = this.#lots.get(id);
    if (lot === undefined) throw new Error(`lot ${id} is not this account's`);
    return lot;
  }
}

function least(a: Nano, b: Nano): Nano {
  return a < b ? a : b;
}
