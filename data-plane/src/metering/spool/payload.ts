/**
 * Fields of a record's payload in bytes: little-endian numbers, text with its length before it. Written by hand because
 * the spool encodes two records for every request.
 */

/** The most bytes of one text (a u16 length; its highest value stands for "absent"). */
const MAX_TEXT_BYTES = 0xfffe;

const ABSENT = 0xffff;

/** A buffer that is filled again and again; it grows when it must and never shrinks. */
export class PayloadWriter {
  #bytes: Buffer;
  #length = 0;

  constructor(capacityBytes: number) {
    this.#bytes = Buffer.allocUnsafeSlow(capacityBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** What was written so far: a view that the next write overwrites. */
  view(start = 0): Buffer {
    return this.#bytes.subarray(start, this.#length);
  }

  /** Forgets everything behind `length`. */
  truncate(length: number): void {
    this.#length = length;
  }

  /** Leaves room to be filled in later with `patchU32`; returns its offset. */
  skip(count: number): number {
    this.#reserve(count);
    const offset = this.#length;
    this.#length += count;
    return offset;
  }

  patchU32(offset: number, value: number): void {
    this.#bytes.writeUInt32LE(value, offset);
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#length = this.#bytes.writeUInt8(value, this.#length);
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#length = this.#bytes.writeUInt16LE(value, this.#length);
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#length = this.#bytes.writeUInt32LE(value, this.#length);
  }

  /** An integer of at most 2^53 − 1. */
  u53(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not an integer from 0 to 2^53 - 1: ${value}`);
    this.u32(value % 0x1_0000_0000);
    this.u32(Math.floor(value / 0x1_0000_0000));
  }

  /** Any finite number: times and durations may have fractions. */
  f64(value: number): void {
    if (!Number.isFinite(value)) throw new RangeError(`not a finite number: ${value}`);
    this.#reserve(8);
    this.#length = this.#bytes.writeDoubleLE(value, this.#length);
  }

  i64(value: bigint): void {
    const number = Number(value);
    // Nearly every amount: in two halves, without an arithmetic of bigints. What is rounded is above the bound, too.
    if (number >= 0 && number <= Number.MAX_SAFE_INTEGER) {
      this.u53(number);
      return;
    }
    this.#reserve(8);
    this.#length = this.#bytes.writeBigInt64LE(value, this.#length);
  }

  u64(value: bigint): void {
    this.#reserve(8);
    this.#length = this.#bytes.writeBigUInt64LE(value, this.#length);
  }

  text(value: string): void {
    this.#reserve(2 + value.length * 3);
    const bytes = this.#bytes;
    const start = this.#length + 2;
    let at = start;
    // Ids are ASCII and short: this loop costs less than a call into native code.
    for (let index = 0; index < value.length; index++) {
      const code = value.charCodeAt(index);
      if (code > 0x7f) {
        at = start + bytes.write(value, start, 'utf8');
        break;
      }
      bytes[at++] = code;
    }
    if (at - start > MAX_TEXT_BYTES) throw new RangeError(`a text of ${at - start} bytes is over ${MAX_TEXT_BYTES}`);
    bytes.writeUInt16LE(at - start, this.#length);
    this.#length = at;
  }

  optionalText(value: string | undefined): void {
    if (value === undefined) this.u16(ABSENT);
    else this.text(value);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.#length + count));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

/** Thrown by `PayloadReader` inside `decodePayload`, and caught there. */
export class DamagedPayload extends Error {}

export class PayloadReader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4));
  }

  u53(): number {
    const value = this.u32() + this.u32() * 0x1_0000_0000;
    if (!Number.isSafeInteger(value)) throw new DamagedPayload('a number is over 2^53 - 1');
    return value;
  }

  f64(): number {
    const value = this.#bytes.readDoubleLE(this.#take(8));
    if (!Number.isFinite(value)) throw new DamagedPayload('a number is not finite');
    return value;
  }

  i64(): bigint {
    return this.#bytes.readBigInt64LE(this.#take(8));
  }

  u64(): bigint {
    return this.#bytes.readBigUInt64LE(this.#take(8));
  }

  text(): string {
    const value = this.optionalText();
    if (value === undefined) throw new DamagedPayload('a text is missing');
    return value;
  }

  optionalText(): string | undefined {
    const length = this.u16();
    if (length === ABSENT) return undefined;
    const start = this.#take(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  skipText(): void {
    const length = this.u16();
    if (length !== ABSENT) this.#take(length);
  }

  bool(): boolean {
    const value = this.u8();
    if (value > 1) throw new DamagedPayload(`a flag is ${value}`);
    return value === 1;
  }

  /** A text that must be one of the given names. */
  oneOf<Name extends string>(names: ReadonlySet<Name>): Name {
    const value = this.text();
    const known: ReadonlySet<string> = names;
    if (!known.has(value)) throw new DamagedPayload(`an unknown name: ${JSON.stringify(value.slice(0, 40))}`);
    // The set holds nothing but names.
    return value as Name;
  }

  list<Item>(count: number, read: () => Item): Item[] {
    const items: Item[] = [];
    for (let index = 0; index < count; index++) items.push(read());
    return items;
  }

  end(): void {
    if (this.#offset !== this.#bytes.length) throw new DamagedPayload(`${this.#bytes.length - this.#offset} bytes are left over`);
  }

  #take(count: number): number {
    const start = this.#offset;
    if (start + count > this.#bytes.length) throw new DamagedPayload('the payload ends too early');
    this.#offset = start + count;
    return start;
  }
}
