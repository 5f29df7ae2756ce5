/** Thinking that a model writes into its answer, between `<think>` and `</think>` at the very beginning. */

const OPEN = '<think>';
const CLOSE = '</think>';

export interface Piece {
  readonly type: 'text' | 'reasoning';
  readonly text: string;
}

/**
 * Tells thinking from the text of one choice, which comes in pieces. States: `start` (only blanks, or the beginning of a tag, have come),
 * `thinking`, `text` for good. Holds back no more than a tag, and the blanks before it.
 */
export class ThinkTags {
  #state: 'start' | 'thinking' | 'text' = 'start';
  #held = '';

  /** The thinking comes on a channel of its own: tags are a part of the text. */
  ignore(): void {
    if (this.#state === 'start' && this.#held === '') this.#state = 'text';
  }

  push(piece: string): readonly Piece[] {
    if (this.#state === 'text') return written('text', piece);
    const text = this.#held + piece;
    this.#held = '';
    return this.#state === 'start' ? this.#begin(text) : this.#think(text);
  }

  /** What was held back, at the end. */
  end(): readonly Piece[] {
    const held = this.#held;
    this.#held = '';
    const type = this.#state === 'thinking' ? 'reasoning' : 'text';
    this.#state = 'text';
    return written(type, held);
  }

  #begin(text: string): readonly Piece[] {
    const begun = text.trimStart();
    if (begun.length < OPEN.length && OPEN.startsWith(begun) && text.length - begun.length <= MAX_BLANKS) {
      this.#held = text;
      return [];
    }
    if (!begun.startsWith(OPEN)) {
      this.#state = 'text';
      return written('text', text);
    }
    this.#state = 'thinking';
    return this.#think(begun.slice(OPEN.length).replace(/^\r?\n/, ''));
  }

  #think(text: string): readonly Piece[] {
    const at = text.indexOf(CLOSE);
    if (at !== -1) {
      this.#state = 'text';
      return [...written('reasoning', text.slice(0, at)), ...written('text', text.slice(at + CLOSE.length).replace(/^\s+/, ''))];
    }
    const kept = heldBack(text);
    this.#held = text.slice(text.length - kept);
    return written('reasoning', text.slice(0, text.length - kept));
  }
}

/** A text that begins with more blanks than this begins with them. */
const MAX_BLANKS = 16;

function written(type: Piece['type'], text: string): readonly Piece[] {
  return text === '' ? [] : [{ type, text }];
}

/** The characters at the end that may be the beginning of the closing tag. */
function heldBack(text: string): number {
  for (let length = Math.min(CLOSE.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(CLOSE.slice(0, length))) return length;
  }
  return 0;
}
