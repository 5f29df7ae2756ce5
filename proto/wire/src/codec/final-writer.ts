/**
 * Finals, and leases beside them, as the bytes of a `UsageRecords`, written by hand: a node encodes one for every request it serves, and the
 * generated encoder takes longer for it than all the rest of the upload. A test holds both to the same bytes' meaning.
 */
import type { LeaseRecord } from '@meridian/domain/lease';
import { metersOf } from '@meridian/domain/usage';
import type { Attempt, Final } from '@meridian/domain/usage-record';

const VARINT = 0;
const LENGTH_DELIMITED = 2;
/** The length of a message is written after its content, in a varint padded to three bytes. */
const LENGTH_BYTES = 3;
const MAX_MESSAGE_BYTES = 2 ** 21 - 1;
const MAX_UINT32 = 2 ** 32 - 1;
/** A character takes at most three bytes of UTF-8 for each of its UTF-16 units. */
const MAX_BYTES_PER_UNIT = 3;

export class UsageRecordsWriter {
  #bytes = Buffer.allocUnsafeSlow(64 * 1024);
  #length = 0;

  /** A copy of what was written; the next records begin anew. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    return taken;
  }

  /** Adds a record. Throws RangeError for one that is larger than 2 MiB, which no spool holds. */
  add(seq: number, final: Final): void {
    const record = this.#begin(1);
    this.#number(1, seq);
    const message = this.#begin(2);
    this.#final(final);
    this.#end(message);
    this.#end(record);
  }

  /** Adds what a node wrote down about a lease. */
  addLease(seq: number, lease: LeaseRecord): void {
    const record = this.#begin(1);
    this.#number(1, seq);
    const message = this.#begin(3);
    this.#text(1, lease.leaseId);
    const budget = this.#begin(2);
    this.#text(1, lease.budget.capId);
    this.#number(2, lease.budget.windowStartMs);
    this.#end(budget);
    this.#number(3, lease.granted);
    this.#number(4, lease.returned);
    this.#number(5, lease.used);
    this.#number(6, lease.closed ? 1 : 0);
    this.#end(message);
    this.#end(record);
  }

  #final(final: Final): void {
    this.#text(1, final.requestId);
    this.#number(2, Math.max(0, Math.trunc(final.admittedAtMs)));
    this.#text(3, final.accountId);
    this.#text(4, final.memberId);
    this.#text(5, final.keyId);
    this.#text(6, final.operation);
    this.#text(7, final.clientDialect);
    this.#text(8, final.askedModel);
    this.#text(9, final.tierId);
    this.#number(10, final.markupBasisPoints);
    this.#int64(11, final.maxCostNano);
    for (const lease of final.leases) {
      const start = this.#begin(12);
      this.#text(1, lease.leaseId);
      this.#int64(2, lease.amount);
      this.#end(start);
    }
    this.#text(13, final.outcome);
    this.#text(14, final.exactness);
    this.#optionalText(15, final.answeringModelId);
    this.#number(16, final.askedPriceVersion);
    this.#number(17, final.answeringPriceVersion);
    this.#text(18, final.serviceTier);
    for (const meter of metersOf(final.usage)) {
      const start = this.#begin(19);
      this.#text(1, meter);
      this.#number(2, final.usage[meter] ?? 0);
      this.#end(start);
    }
    this.#int64(20, final.chargeNano);
    this.#int64(21, final.varianceNano);
    for (const attempt of final.attempts) this.#attempt(attempt);
    this.#number(23, final.stream ? 1 : 0);
    this.#number(24, final.status);
    this.#optionalText(25, final.errorCode);
    this.#number(26, wholeMs(final.firstByteMs));
    this.#number(27, wholeMs(final.durationMs));
    this.#number(28, final.emptyIsCharged === true ? 1 : 0);
  }

  #attempt(attempt: Attempt): void {
    const start = this.#begin(22);
    this.#text(1, attempt.endpointId);
    this.#text(2, attempt.providerId);
    this.#text(3, attempt.modelId);
    this.#number(4, attempt.status);
    this.#optionalText(5, attempt.errorCode);
    this.#int64(6, attempt.costNano);
    this.#number(7, attempt.costVersion);
    this.#number(8, wholeMs(attempt.durationMs));
    this.#optionalText(9, attempt.upstreamRequestId);
    this.#end(start);
  }

  /** Begins a message in a field; returns where its length goes. */
  #begin(field: number): number {
    this.#reserve(2 + LENGTH_BYTES);
    this.#tag(field, LENGTH_DELIMITED);
    const at = this.#length;
    this.#length += LENGTH_BYTES;
    return at;
  }

  #end(at: number): void {
    const bytes = this.#length - at - LENGTH_BYTES;
    if (bytes > MAX_MESSAGE_BYTES) throw new RangeError(`a message of ${bytes} bytes`);
    this.#bytes[at] = (bytes & 0x7f) | 0x80;
    this.#bytes[at + 1] = ((bytes >> 7) & 0x7f) | 0x80;
    this.#bytes[at + 2] = bytes >> 14;
  }

  /** Proto3 leaves out what has its default value. */
  #text(field: number, text: string): void {
    if (text !== '') this.#optionalText(field, text);
  }

  #optionalText(field: number, text: string | undefined): void {
    if (text === undefined) return;
    this.#reserve(2 + LENGTH_BYTES + text.length * MAX_BYTES_PER_UNIT);
    this.#tag(field, LENGTH_DELIMITED);
    const bytes = this.#bytes;
    const at = this.#length;
    // Nearly every text is short and ASCII: its length takes one byte, and a loop costs less than a call into native code.
    if (text.length < 0x80) {
      let index = 0;
      for (; index < text.length; index++) {
        const code = text.charCodeAt(index);
        if (code > 0x7f) break;
        bytes[at + 1 + index] = code;
      }
      if (index === text.length) {
        bytes[at] = index;
        this.#length = at + 1 + index;
        return;
      }
    }
    this.#varint(Buffer.byteLength(text));
    this.#length += this.#bytes.write(text, this.#length);
  }

  #number(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(12);
    this.#tag(field, VARINT);
    this.#varint(value);
  }

  /** Negative amounts, which no sound record has, are ten bytes of two's complement, as the format wants. */
  #int64(field: number, value: bigint): void {
    if (value === 0n) return;
    this.#reserve(12);
    this.#tag(field, VARINT);
    if (value > 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) {
      this.#varint(Number(value));
      return;
    }
    let rest = BigInt.asUintN(64, value);
    while (rest > 0x7fn) {
      this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest);
  }

  #tag(field: number, wireType: number): void {
    this.#varint(field * 8 + wireType);
  }

  /** A whole number from 0 to 2^53 − 1. */
  #varint(value: number): void {
    const bytes = this.#bytes;
    let at = this.#length;
    let rest = value;
    while (rest > 0x7f) {
      bytes[at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    bytes[at++] = rest;
    this.#length = at;
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.#length + bytes));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

/** Milliseconds as a uint32: fractions are rounded, what does not fit (a clock that was set back, 49 days) is cut. */
export function wholeMs(durationMs: number): number {
  return Math.min(MAX_UINT32, Math.max(0, Math.round(durationMs)));
}
