/**
 * Seals the files of the picture: AES-256-GCM under a key of each file's own, drawn from the key that both planes hold and
 * a random salt at the file's start. A file is a row of pieces, each with a random nonce; its position is authenticated
 * with it, and whether it is the last, so that none can be changed, moved, dropped or taken from another file unseen.
 * Nonces are random, not counted: a log whose torn end was cut off is written on at the same position.
 *
 * File: magic (8 bytes), cipher (1), salt (32), pieces. Piece: length of its ciphertext (4), nonce (12), ciphertext, tag (16).
 */
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';

const CIPHER_AES_256_GCM = 1;
const MAGIC_BYTES = 8;
const SALT_BYTES = 32;
const LENGTH_BYTES = 4;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Where the first piece begins. */
export const PREAMBLE_BYTES = MAGIC_BYTES + 1 + SALT_BYTES;
/** What says how long a piece is. */
export const PIECE_LENGTH_BYTES = LENGTH_BYTES;
/** How much longer a piece is than what is sealed in it. */
export const PIECE_OVERHEAD_BYTES = LENGTH_BYTES + NONCE_BYTES + TAG_BYTES;

export class PictureCipher {
  /** First in the file. */
  readonly preamble: Buffer;
  readonly #key: KeyObject;

  private constructor(sealingKey: Uint8Array, preamble: Buffer) {
    this.preamble = preamble;
    const magic = preamble.subarray(0, MAGIC_BYTES);
    const salt = preamble.subarray(MAGIC_BYTES + 1);
    this.#key = createSecretKey(
      Buffer.from(hkdfSync('sha256', sealingKey, salt, Buffer.concat([Buffer.from('meridian picture '), magic]), 32)),
    );
  }

  /** For a new file. `magic` has 8 bytes. */
  static ofNewFile(sealingKey: Uint8Array, magic: Buffer): PictureCipher {
    return new PictureCipher(sealingKey, Buffer.concat([magic, Uint8Array.of(CIPHER_AES_256_GCM), randomBytes(SALT_BYTES)]));
  }

  /** For a file that begins with these bytes; undefined when it is none of this kind. Whether the key fits shows with the first piece. */
  static ofFile(sealingKey: Uint8Array, magic: Buffer, bytes: Buffer): PictureCipher | undefined {
    if (bytes.length < PREAMBLE_BYTES || !bytes.subarray(0, MAGIC_BYTES).equals(magic) || bytes[MAGIC_BYTES] !== CIPHER_AES_256_GCM) {
      return undefined;
    }
    return new PictureCipher(sealingKey, Buffer.from(bytes.subarray(0, PREAMBLE_BYTES)));
  }

  /** The piece as it stands in the file. Positions count from 0. */
  seal(position: number, isLast: boolean, plain: Uint8Array): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(placeOf(position, isLast));
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32LE(plain.length);
    const ciphertext = cipher.update(plain);
    return Buffer.concat([length, nonce, ciphertext, cipher.final(), cipher.getAuthTag()]);
  }

  /** What was sealed in a whole piece; undefined when a bit of it, its place or the key is another. */
  open(position: number, isLast: boolean, piece: Buffer): Buffer | undefined {
    if (piece.length < PIECE_OVERHEAD_BYTES || piece.length !== pieceBytes(piece)) return undefined;
    const ciphertextAt = LENGTH_BYTES + NONCE_BYTES;
    const tagAt = piece.length - TAG_BYTES;
    const decipher = createDecipheriv('aes-256-gcm', this.#key, piece.subarray(LENGTH_BYTES, ciphertextAt), { authTagLength: TAG_BYTES });
    decipher.setAAD(placeOf(position, isLast));
    decipher.setAuthTag(piece.subarray(tagAt));
    const plain = decipher.update(piece.subarray(ciphertextAt, tagAt));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return plain;
  }
}

/** How long the piece that begins here is in all, as it says itself. */
export function pieceBytes(start: Buffer): number {
  return start.readUInt32LE(0) + PIECE_OVERHEAD_BYTES;
}

function placeOf(position: number, isLast: boolean): Buffer {
  const place = Buffer.alloc(9);
  place.writeBigUInt64LE(BigInt(position));
  place.writeUInt8(isLast ? 1 : 0, 8);
  return place;
}
