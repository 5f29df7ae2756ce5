/**
 * Bytes that are held of requests: of a connection or a key, within those of its key, within those of the node. Each has a bound, so
 * that no connection and no key can take what all of them share.
 */
export class ByteRoom {
  readonly #maxBytes: number;
  readonly #within: ByteRoom | undefined;
  #bytes = 0;

  constructor(maxBytes: number, within?: ByteRoom) {
    this.#maxBytes = maxBytes;
    this.#within = within;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Adds bytes (or takes them off), whether there is room for them or not. */
  count(bytes: number): void {
    for (let room: ByteRoom | undefined = this; room !== undefined; room = room.#within) room.#bytes += bytes;
  }

  /** The narrowest room in which there is none for so many more bytes. */
  fullFor(moreBytes: number): ByteRoom | undefined {
    for (let room: ByteRoom | undefined = this; room !== undefined; room = room.#within) {
      if (room.#bytes + moreBytes > room.#maxBytes) return room;
    }
    return undefined;
  }
}
