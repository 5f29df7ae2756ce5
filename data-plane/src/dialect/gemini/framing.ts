/** How the answers of a stream are strung together: as server-sent events, or as the elements of one JSON array. */

export interface Framing {
  /** Events of an upstream can be handed on with the bytes around their data. */
  readonly isSse: boolean;
  /** One answer of a stream. `isFirst`: nothing was sent before it. */
  frame(json: Buffer, isFirst: boolean): Buffer;
  /** What ends a stream, of which nothing was sent or something was; undefined where its end is the end of the body. */
  end(isEmpty: boolean): Buffer | undefined;
}

const DATA = Buffer.from('data: ');
const BLANK_LINE = Buffer.from('\r\n\r\n');
const OPEN = Buffer.from('[');
const COMMA = Buffer.from(',\r\n');
const CLOSE = Buffer.from(']');
const EMPTY_ARRAY = Buffer.from('[]');

export const SSE_FRAMING: Framing = {
  isSse: true,
  frame: (json) => Buffer.concat([DATA, json, BLANK_LINE]),
  end: () => undefined,
};

export const ARRAY_FRAMING: Framing = {
  isSse: false,
  frame: (json, isFirst) => Buffer.concat([isFirst ? OPEN : COMMA, json]),
  end: (isEmpty) => (isEmpty ? EMPTY_ARRAY : CLOSE),
};
