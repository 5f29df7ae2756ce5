/** What is kept of a stream while it is delivered: copies of its events, since a slice would hold on to the whole read that it was cut from. */

export const MAX_ANSWER_BYTES = 1024 * 1024;
/** Of all captures of a node that run at one moment. */
const MAX_CAPTURED_BYTES = 64 * 1024 * 1024;
const FIRST_BYTES = 4 * 1024;

/** The room that all captures of a node share. */
export class CaptureRoom {
  #freeBytes: number;

  constructor(maxCapturedBytes = MAX_CAPTURED_BYTES) {
    this.#freeBytes = maxCapturedBytes;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#freeBytes) return false;
    this.#freeBytes -= bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#freeBytes += bytes;
  }
}

export class Capture {
  readonly #room: CaptureRoom;
  #bytes = Buffer.alloc(0);
  #length = 0;
  #over = false;

  constructor(room: CaptureRoom) {
    this.#room = room;
  }

  /** It was too much: nothing of it is kept. */
  get over(): boolean {
    return this.#over;
  }

  add(parts: readonly Buffer[]): void {
    for (const part of parts) {
      if (this.#over) return;
      const needed = this.#length + part.length;
      if (needed > this.#bytes.length && !this.#grow(needed)) {
        this.drop();
        this.#over = true;
        return;
      }
      this.#length += part.copy(this.#bytes, this.#length);
    }
  }

  /** Of everything that was added, as long as it was not too much. */
  get body(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Gives the room back. Idempotent. */
  drop(): void {
    this.#room.giveBack(this.#bytes.length);
    this.#bytes = Buffer.alloc(0);
    this.#length = 0;
  }

  #grow(needed: number): boolean {
    if (needed > MAX_ANSWER_BYTES) return false;
    const size = Math.min(MAX_ANSWER_BYTES, Math.max(FIRST_BYTES, needed, this.#bytes.length * 2));
    if (!this.#room.take(size - this.#bytes.length)) return false;
    const larger = Buffer.allocUnsafeSlow(size);
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
    return true;
  }
}
