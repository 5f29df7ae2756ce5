/** Tells where a JSON object or array that comes in pieces is whole, without keeping it. */
export class JsonEnd {
  #depth = 0;
  #begun = false;
  #inString = false;
  #escaped = false;

  /** The outermost bracket has been closed. */
  get isWhole(): boolean {
    return this.#begun && this.#depth === 0;
  }

  push(piece: string): void {
    for (let at = 0; at < piece.length; at++) {
      const character = piece[at];
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (character === '\\') this.#escaped = true;
        else if (character === '"') this.#inString = false;
      } else if (character === '"') this.#inString = true;
      else if (character === '{' || character === '[') {
        this.#depth++;
        this.#begun = true;
      } else if (character === '}' || character === ']') this.#depth--;
    }
  }
}
