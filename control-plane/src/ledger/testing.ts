/** A simple model of an account's credit, against which tests hold the ledger: lots, and how much of each kind was ever spent. */
import type { CreditKind } from './ledger.ts';

interface ModelLot {
  readonly kind: CreditKind;
  readonly amount: bigint;
  readonly purchase: number | undefined;
  taken: bigint;
}

interface ModelPurchase {
  readonly price: bigint;
  readonly day: number;
  paidBack: bigint;
  refund: number | undefined;
  dispute: number | undefined;
}

interface ModelRefund {
  readonly purchase: number;
  readonly day: number;
  state: 'recalling' | 'posted' | 'refused';
  amount: bigint;
}

interface ModelDispute {
  readonly purchase: number;
  readonly amount: bigint;
  readonly missing: bigint;
  readonly taken: Map<ModelLot, bigint>;
  state: 'open' | 'won' | 'lost';
}

/**
 * Drains lots from the oldest on by what was spent in all, where the ledger fills them from the newest on by what is left. Each method
 * tells whether the ledger should do it.
 */
export class CreditModel {
  readonly lots: ModelLot[] = [];
  readonly spent: Record<CreditKind, bigint> = { paid: 0n, bonus: 0n };
  readonly purchases: ModelPurchase[] = [];
  readonly refunds: ModelRefund[] = [];
  readonly disputes: ModelDispute[] = [];
  readonly redeemed = new Set<string>();
  held = 0n;
  shortfall = 0n;
  day = 0;

  balance(kind: CreditKind): bigint {
    return this.lots.reduce((sum, lot) => sum + (lot.kind === kind ? lot.amount - lot.taken : 0n), 0n) - this.spent[kind];
  }

  get total(): bigint {
    return this.balance('paid') + this.balance('bonus');
  }

  unspent(kind: CreditKind): Map<ModelLot, bigint> {
    let rest = this.spent[kind];
    const left = new Map<ModelLot, bigint>();
    for (const lot of this.lots.filter((each) => each.kind === kind)) {
      const drained = min(rest, lot.amount - lot.taken);
      left.set(lot, lot.amount - lot.taken - drained);
      rest -= drained;
    }
    return left;
  }

  unspentOfPurchase(purchase: number, kind: CreditKind): bigint {
    return [...this.unspent(kind)].reduce((sum, [lot, left]) => sum + (lot.purchase === purchase ? left : 0n), 0n);
  }

  give(kind: CreditKind, amount: bigint, purchase?: number): boolean {
    this.lots.push({ kind, amount, purchase, taken: 0n });
    return true;
  }

  buy(price: bigint, bonus: bigint): boolean {
    const purchase = this.purchases.push({ price, day: this.day, paidBack: 0n, refund: undefined, dispute: undefined }) - 1;
    this.give('paid', price, purchase);
    if (bonus > 0n) this.give('bonus', bonus, purchase);
    return true;
  }

  redeem(name: string, amount: bigint): boolean {
    if (this.redeemed.has(name)) return false;
    this.redeemed.add(name);
    return this.give('bonus', amount);
  }

  adjustDown(kind: CreditKind, amount: bigint): boolean {
    if (this.balance(kind) < amount || this.held > this.total - amount) return false;
    this.takeOldest(kind, amount);
    return true;
  }

  hold(amount: bigint): boolean {
    if (this.held + amount > this.total) return false;
    this.held += amount;
    return true;
  }

  use(amount: bigint): void {
    this.held -= amount;
    const bonus = min(amount, this.balance('bonus'));
    const paid = min(amount - bonus, this.balance('paid'));
    this.spent.bonus += bonus;
    this.spent.paid += paid;
    this.shortfall += amount - bonus - paid;
  }

  correct(amount: bigint): void {
    const paid = min(amount, this.spent.paid);
    const bonus = min(amount - paid, this.spent.bonus);
    this.spent.paid -= paid;
    this.spent.bonus -= bonus;
  }

  requestRefund(purchase: number): boolean {
    const one = this.purchase(purchase);
    if (one.refund !== undefined || this.refundable(purchase, this.day) === undefined) return false;
    one.refund = this.refunds.push({ purchase, day: this.day, state: 'recalling', amount: 0n }) - 1;
    this.tryRefund(one.refund);
    return true;
  }

  tryRefund(index: number): void {
    const refund = this.refunds[index];
    if (refund === undefined || refund.state !== 'recalling') return;
    const one = this.purchase(refund.purchase);
    const amount = this.refundable(refund.purchase, refund.day);
    if (amount === undefined) {
      refund.state = 'refused';
      one.refund = undefined;
      return;
    }
    const bonus = this.unspentOfPurchase(refund.purchase, 'bonus');
    if (this.held > this.total - amount - bonus) {
      if (this.day === refund.day) return;
      refund.state = 'refused';
    } else {
      const left = this.unspent('bonus');
      for (const [lot, unspent] of left) if (lot.purchase === refund.purchase) lot.taken += unspent;
      for (const lot of this.lots) if (lot.kind === 'paid' && lot.purchase === refund.purchase) lot.taken += amount;
      refund.state = 'posted';
      refund.amount = amount;
      one.paidBack += amount;
    }
    one.refund = undefined;
  }

  openDispute(purchase: number, asked: bigint | undefined): boolean {
    const one = this.purchase(purchase);
    const amount = asked ?? one.price - one.paidBack;
    if (one.dispute !== undefined || amount <= 0n || amount > one.price - one.paidBack) return false;
    const taken = new Map<ModelLot, bigint>();
    const take = (lot: ModelLot, most: bigint): void => {
      const part = min(this.unspent(lot.kind).get(lot) ?? 0n, most);
      lot.taken += part;
      taken.set(lot, part);
    };
    const before = this.balance('paid');
    for (const lot of this.lots.filter((each) => each.purchase === purchase)) take(lot, lot.kind === 'paid' ? amount : lot.amount);
    const missing = amount - (before - this.balance('paid'));
    one.dispute = this.disputes.push({ purchase, amount, missing, taken, state: 'open' }) - 1;
    return true;
  }

  closeDispute(index: number, outcome: 'won' | 'lost'): boolean {
    const dispute = this.disputes[index];
    if (dispute === undefined || dispute.state !== 'open') return false;
    const one = this.purchase(dispute.purchase);
    one.dispute = undefined;
    dispute.state = outcome;
    if (outcome === 'won') {
      for (const [lot, amount] of dispute.taken) lot.taken -= amount;
    } else {
      one.paidBack += dispute.amount;
      this.takeOldest('paid', min(this.balance('paid'), dispute.missing));
    }
    return true;
  }

  refundable(purchase: number, day: number): bigint | undefined {
    const one = this.purchase(purchase);
    if (one.dispute !== undefined || day > one.day + 30) return undefined;
    const bonusLots = this.lots.filter((lot) => lot.kind === 'bonus' && lot.purchase === purchase);
    const bonusSpent = bonusLots.reduce((sum, lot) => sum + lot.amount - lot.taken, 0n) - this.unspentOfPurchase(purchase, 'bonus');
    const amount = min(this.unspentOfPurchase(purchase, 'paid'), one.price - bonusSpent - one.paidBack);
    return amount > 0n ? amount : undefined;
  }

  private purchase(index: number): ModelPurchase {
    const found = this.purchases[index];
    if (found === undefined) throw new Error(`the model has no purchase ${index}`);
    return found;
  }

  private takeOldest(kind: CreditKind, amount: bigint): void {
    let rest = amount;
    for (const [lot, left] of this.unspent(kind)) {
      const part = min(rest, left);
      lot.taken += part;
      rest -= part;
    }
  }
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
