/** The rules of the ledger: which accounts there are, what a transfer is, how a charge is split over a customer's credit. */
import { GatewayError } from '@meridian/domain/error';
import { MAX_BALANCE_NANO, type Nano } from '@meridian/domain/money';

/** A customer's credit: what was bought, and what was given. */
export type CreditKind = 'paid' | 'bonus';

/**
 * The company's own accounts. `provider_payable` is what upstream cost is owed to; `adjustment` faces an operator's adjustments; `refund`
 * is what is owed to customers' payers; `receivable` is what customers owe whose payment was taken back after it was spent.
 */
export const PLATFORM_ACCOUNTS = [
  'receivable',
  'revenue',
  'upstream_cost',
  'provider_payable',
  'payment_clearing',
  'refund',
  'promotion',
  'adjustment',
  'variance',
  'write_off',
] as const;

export type PlatformAccount = (typeof PLATFORM_ACCOUNTS)[number];

/** A ledger account's name: a platform account, or `paid:acc_…`, `bonus:acc_…`. */
export type LedgerAccount = PlatformAccount | `${CreditKind}:${string}`;

/** Why a customer's credit moved. */
export const CUSTOMER_CODES = [
  /** A payment, and the bonus of the package that was bought with it. */
  'top_up',
  'bonus',
  /** Given: by an operator, for a verified address, by a promotion. */
  'grant',
  'trial',
  'promotion',
  'adjustment',
  /** A charge taken back after it was settled. */
  'correction',
  /** Paid back, and the bonus that goes with it. */
  'refund',
  'bonus_cancelled',
  /** Withheld while a bank looks into a payment; given back; the debt that a lost dispute leaves. */
  'dispute',
  'dispute_won',
  'chargeback',
  'usage',
  /** What write-offs put on a credit that was short of a charge. */
  'shortfall',
] as const;

export type CustomerCode = (typeof CUSTOMER_CODES)[number];

/** Why money moved. */
export type TransferCode = CustomerCode | 'upstream_cost' | 'variance' | 'written_off';

export function creditAccount(kind: CreditKind, accountId: string): LedgerAccount {
  return `${kind}:${accountId}`;
}

/** One movement of money: debit pays, credit receives. */
export interface Posting {
  readonly code: TransferCode;
  readonly debit: LedgerAccount;
  readonly credit: LedgerAccount;
  /** > 0 */
  readonly amountNano: Nano;
  /** The customer whose credit moves; undefined between platform accounts. */
  readonly accountId: string | undefined;
  readonly batchId: bigint | undefined;
  readonly reference: string | undefined;
}

/** What a customer can spend. */
export interface Balance {
  readonly paidNano: Nano;
  readonly bonusNano: Nano;
}

export const EMPTY_BALANCE: Balance = { paidNano: 0n, bonusNano: 0n };

export function totalNano(balance: Balance): Nano {
  return balance.paidNano + balance.bonusNano;
}

export interface Spending {
  readonly bonusNano: Nano;
  readonly paidNano: Nano;
  /** What the credit does not cover: write-offs put it on the paid credit first, so that the charge can be taken whole. */
  readonly shortfallNano: Nano;
  readonly after: Balance;
}

/** Splits a charge (≥ 0) over a balance: bonus first, then paid; the rest is the shortfall. bonus + paid + shortfall = charge. */
export function splitCharge(balance: Balance, chargeNano: Nano): Spending {
  const bonusNano = least(balance.bonusNano, chargeNano);
  const paidNano = least(balance.paidNano, chargeNano - bonusNano);
  return {
    bonusNano,
    paidNano,
    shortfallNano: chargeNano - bonusNano - paidNano,
    after: { bonusNano: balance.bonusNano - bonusNano, paidNano: balance.paidNano - paidNano },
  };
}

/** The transfers of one account's charges in one batch: at most one for each kind of credit, and one that covers a shortfall. */
export function spendingPostings(accountId: string, spending: Spending, batchId: bigint): Posting[] {
  const of = (code: TransferCode, debit: LedgerAccount, credit: LedgerAccount, amountNano: Nano): Posting[] =>
    amountNano > 0n ? [{ code, debit, credit, amountNano, accountId, batchId, reference: undefined }] : [];
  const paid = creditAccount('paid', accountId);
  return [
    ...of('shortfall', 'write_off', paid, spending.shortfallNano),
    ...of('usage', creditAccount('bonus', accountId), 'revenue', spending.bonusNano),
    ...of('usage', paid, 'revenue', spending.paidNano + spending.shortfallNano),
  ];
}

/** The balance with one kind of credit changed. Throws `invalid_state` if that leaves less than nothing or more than a balance may hold. */
export function changeCredit(balance: Balance, kind: CreditKind, changeNano: Nano): Balance {
  const after: Balance =
    kind === 'paid' ? { ...balance, paidNano: balance.paidNano + changeNano } : { ...balance, bonusNano: balance.bonusNano + changeNano };
  if (after.paidNano < 0n || after.bonusNano < 0n) {
    throw new GatewayError('invalid_state', { message: `There is less ${kind} credit than this would take away.` });
  }
  if (totalNano(after) > MAX_BALANCE_NANO) {
    throw new GatewayError('invalid_state', { message: 'The balance would exceed the largest that an account may hold.' });
  }
  return after;
}

function least(a: Nano, b: Nano): Nano {
  return a < b ? a : b;
}
