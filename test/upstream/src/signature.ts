// Proofs that a text was issued by the simulated providers, as real ones sign the reasoning they hand out.

import { createHmac } from 'node:crypto';

/** The same in every process, so that what one simulated upstream issued another verifies. */
const SECRET = 'simulated-providers';
const SALT_BYTES = 9;

function proof(purpose: string, salt: Buffer, text: string): Buffer {
  return createHmac('sha256', SECRET).update(`${purpose}\0`).update(salt).update(text).digest();
}

/** The signature of a text for one purpose, in base64; another salt gives another signature. */
export function sign(purpose: string, text: string, salt: string): string {
  const own = createHmac('sha256', SECRET).update(salt).digest().subarray(0, SALT_BYTES);
  return Buffer.concat([own, proof(purpose, own, text)]).toString('base64');
}

/** Whether a signature is, byte for byte, one that was issued for this purpose and text. */
export function isSigned(purpose: string, text: string, signature: string): boolean {
  const bytes = Buffer.from(signature, 'base64');
  // Decoding forgives; what was issued reads back as it was written.
  if (bytes.toString('base64') !== signature) return false;
  return proof(purpose, bytes.subarray(0, SALT_BYTES), text).equals(bytes.subarray(SALT_BYTES));
}
