/** An answer as it is stored: format (1 byte), length of the head (4), head (JSON), body. */
import type { StoredAnswer } from '../exchange.ts';

const FORMAT = 1;
const PREAMBLE_BYTES = 5;

export function writeStoredAnswer({ body, ...head }: Omit<StoredAnswer, 'body'> & { readonly body: readonly Buffer[] }): Buffer[] {
  const headBytes = Buffer.from(JSON.stringify(head));
  const preamble = Buffer.alloc(PREAMBLE_BYTES);
  preamble.writeUInt8(FORMAT);
  preamble.writeUInt32LE(headBytes.length, 1);
  return [preamble, headBytes, ...body];
}

/** Of bytes whose seal was whole; undefined for a format that is not known here. */
export function readStoredAnswer(bytes: Buffer): StoredAnswer | undefined {
  if (bytes[0] !== FORMAT) return undefined;
  const bodyAt = PREAMBLE_BYTES + bytes.readUInt32LE(1);
  const head = JSON.parse(bytes.toString('utf8', PREAMBLE_BYTES, bodyAt)) as Omit<StoredAnswer, 'body'>;
  return { ...head, body: bytes.subarray(bodyAt) };
}
