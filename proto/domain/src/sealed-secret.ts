/**
 * A secret at rest and on the wire: AES-256-GCM under a key that both planes read from their environment.
 *
 * Layout: key version (1 byte) ‖ nonce (12) ‖ tag (16) ‖ ciphertext. The context (a credential's id) is
 * authenticated, so that a sealed secret cannot be moved to another credential.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';

export const SEALING_KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const VERSION = 1;

/** Seals UTF-8 text. `nonce` is 12 fresh random bytes: the same nonce must never be used twice under one key. */
export function sealSecret(key: Uint8Array, context: string, plaintext: string, nonce: Uint8Array): Uint8Array {
  if (nonce.length !== NONCE_BYTES) throw new RangeError(`the nonce has ${NONCE_BYTES} bytes, not ${nonce.length}`);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(Buffer.from(context, 'utf8'));
  const ciphertext = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()]);
  return Buffer.concat([Uint8Array.of(VERSION), nonce, cipher.getAuthTag(), ciphertext]);
}

/** Opens what `sealSecret` made; throws when the key, the context or a single bit differs. */
export function openSecret(key: Uint8Array, context: string, sealed: Uint8Array): string {
  if (sealed.length < 1 + NONCE_BYTES + TAG_BYTES || sealed[0] !== VERSION) throw new Error('not a sealed secret of a known version');
  const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAAD(Buffer.from(context, 'utf8'));
  decipher.setAuthTag(sealed.subarray(1 + NONCE_BYTES, 1 + NONCE_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(1 + NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8');
}
