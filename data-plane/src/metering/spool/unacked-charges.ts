/**
 * Charges that the control plane has not acknowledged, by account. A day without the control plane leaves millions of
 * them, so they are kept in columns of 4,096 and not as objects.
 */

const CHUNK_RECORDS = 4096;

interface Chunk {
  readonly seqs: Float64Array;
  readonly chargesNano: BigInt64Array;
  readonly accounts: string[];
  taken: number;
  count: number;
}

export class UnackedCharges {
  readonly #chunks = new Map<bigint, Chunk[]>();
  readonly #sums = new Map<string, { readonly accountId: string; nano: bigint; records: number }>();

  /** Adds the charge of a final. Seqs of an incarnation come in ascending order. */
  add(incarnation: bigint, seq: number, accountId: string, chargeNano: bigint): void {
    if (chargeNano === 0n) return;
    let sum = this.#sums.get(accountId);
    if (sum === undefined) {
      sum = { accountId, nano: 0n, records: 0 };
      this.#sums.set(accountId, sum);
    }
    sum.nano += chargeNano;
    sum.records++;
    const chunk = this.#lastChunk(incarnation);
    chunk.seqs[chunk.count] = seq;
    chunk.chargesNano[chunk.count] = chargeNano;
    // The map's own string, so that a million records of one account share one.
    chunk.accounts.push(sum.accountId);
    chunk.count++;
  }

  /** Takes away what lies at or below the seq. */
  acknowledge(incarnation: bigint, seq: number): void {
    const chunks = this.#chunks.get(incarnation);
    if (chunks === undefined) return;
    for (let chunk = chunks[0]; chunk !== undefined; chunk = chunks[0]) {
      while (chunk.taken < chunk.count && (chunk.seqs[chunk.taken] ?? 0) <= seq) {
        this.#subtract(chunk.accounts[chunk.taken] ?? '', chunk.chargesNano[chunk.taken] ?? 0n);
        chunk.taken++;
      }
      if (chunk.taken < chunk.count) return;
      chunks.shift();
    }
    this.#chunks.delete(incarnation);
  }

  of(accountId: string): bigint {
    return this.#sums.get(accountId)?.nano ?? 0n;
  }

  #subtract(accountId: string, chargeNano: bigint): void {
    const sum = this.#sums.get(accountId);
    if (sum === undefined) return;
    sum.nano -= chargeNano;
    sum.records--;
    if (sum.records === 0) this.#sums.delete(accountId);
  }

  #lastChunk(incarnation: bigint): Chunk {
    let chunks = this.#chunks.get(incarnation);
    if (chunks === undefined) {
      chunks = [];
      this.#chunks.set(incarnation, chunks);
    }
    const last = chunks.at(-1);
    if (last !== undefined && last.count < CHUNK_RECORDS) return last;
    const chunk = {
      seqs: new Float64Array(CHUNK_RECORDS),
      chargesNano: new BigInt64Array(CHUNK_RECORDS),
      accounts: [],
      taken: 0,
      count: 0,
    };
    chunks.push(chunk);
    return chunk;
  }
}
