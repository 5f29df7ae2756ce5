/** Tells where a JSON value that comes in pieces is closed, by looking at each of its characters once. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Checks no grammar: a text that is not closed is no JSON yet, and one that is closed may be none. */
export class JsonExtent {
  #depth = 0;
  #inText = false;
  #escaped = false;

  push(piece: string): void {
    for (let at = 0; at < piece.length; at++) {
      const unit = piece.charCodeAt(at);
      if (this.#escaped) this.#escaped = false;
      else if (this.#inText) {
        if (unit === QUOTE) this.#inText = false;
        else if (unit === BACKSLASH) this.#escaped = true;
      } else if (unit === QUOTE) this.#inText = true;
      else if (unit === OPEN_BRACE || unit === OPEN_BRACKET) this.#depth++;
      else if (unit === CLOSE_BRACE || unit === CLOSE_BRACKET) this.#depth--;
    }
  }

  /** All that was opened is closed. */
  get isClosed(): boolean {
    return this.#depth === 0 && !this.#inText;
  }
}
