/**
 * One idempotency key of one customer: API key × header × region. All that is stored of it is named, compared and sealed under keys that
 * are derived from the raw API key, which is stored nowhere: whoever reads the store learns neither headers nor bodies nor answers, and
 * cannot tell which records are one customer's.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { GatewayError } from '@meridian/domain/error';

const MAX_HEADER_CHARACTERS = 255;
const VISIBLE = /^[\x21-\x7e]+$/;
const VERSION = 'meridian idempotency 1';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** One to two milliseconds. */
const HASHED_BYTES_A_TURN = 1024 * 1024;

export class Scope {
  /** Under which the record stands in the store. */
  readonly name: string;
  readonly #place: string;
  readonly #fingerprintKey: Buffer;
  readonly #sealingKey: Buffer;

  /** Throws GatewayError 400 for a header that is no key. */
  constructor(apiKey: string, region: string, header: string) {
    if (header.length > MAX_HEADER_CHARACTERS || !VISIBLE.test(header)) {
      throw new GatewayError('invalid_request_error', {
        message: `Idempotency-Key must be 1 to ${MAX_HEADER_CHARACTERS} visible ASCII characters, sent once.`,
        param: 'Idempotency-Key',
      });
    }
    // Neither part can hold the zero that separates them.
    this.#place = `${VERSION}\0${region}\0${header}`;
    const keys = Buffer.from(hkdfSync('sha256', apiKey, '', this.#place, 3 * KEY_BYTES));
    this.name = `meridian:idempotency:${region}:${keys.toString('hex', 0, KEY_BYTES)}`;
    this.#fingerprintKey = keys.subarray(KEY_BYTES, 2 * KEY_BYTES);
    this.#sealingKey = keys.subarray(2 * KEY_BYTES);
  }

  /** Tells one request from another: what is asked for, byte by byte. A large body lets others have their turn. */
  async fingerprint(asked: string, body: Buffer): Promise<string> {
    const hmac = createHmac('sha256', this.#fingerprintKey).update(`${asked}\0`);
    for (let at = 0; at < body.length; at += HASHED_BYTES_A_TURN) {
      if (at > 0) await setImmediate();
      hmac.update(body.subarray(at, at + HASHED_BYTES_A_TURN));
    }
    return hmac.digest('base64url');
  }

  /** AES-256-GCM, bound to this scope and to the request that was answered: nonce, ciphertext, tag. */
  seal(requestId: string, parts: readonly Buffer[]): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#sealingKey, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(this.#boundTo(requestId));
    return Buffer.concat([nonce, ...parts.map((part) => cipher.update(part)), cipher.final(), cipher.getAuthTag()]);
  }

  /** undefined when a bit of it, its scope or its request is another. */
  open(requestId: string, sealed: Buffer): Buffer | undefined {
    if (sealed.length < NONCE_BYTES + TAG_BYTES) return undefined;
    const tagAt = sealed.length - TAG_BYTES;
    const decipher = createDecipheriv('aes-256-gcm', this.#sealingKey, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAAD(this.#boundTo(requestId));
    decipher.setAuthTag(sealed.subarray(tagAt));
    const plain = decipher.update(sealed.subarray(NONCE_BYTES, tagAt));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return plain;
  }

  #boundTo(requestId: string): Buffer {
    return Buffer.from(`${this.#place}\0${requestId}`);
  }
}
