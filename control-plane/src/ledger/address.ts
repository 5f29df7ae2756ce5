/** E-mail addresses as the trial sees them: spellings that reach one mailbox are one address, and none of them is kept. */
import { createHmac } from 'node:crypto';
import { domainToASCII } from 'node:url';
import { GatewayError } from '@meridian/domain/error';

const MAX_ADDRESS_CHARS = 254;
/** Domains of one service whose mailboxes ignore dots. */
const DOTLESS = new Map([
  ['gmail.com', 'gmail.com'],
  ['googlemail.com', 'gmail.com'],
]);
/** White space, control and invisible characters, which would let one address look like another. */
const INVISIBLE = /[\p{C}\p{Z}]/u;

/**
 * One spelling for all that reach the same mailbox: compatibility forms (NFKC), case, a `+tag`, the dots of services that ignore them, a
 * domain in its ASCII form. Throws `invalid_request_error` for what is no address.
 */
export function normaliseAddress(address: string): string {
  const text = address.trim().normalize('NFKC').toLowerCase().normalize('NFKC');
  const at = text.lastIndexOf('@');
  const domain = domainToASCII(text.slice(at + 1).replace(/\.$/, ''));
  const name = text.slice(0, Math.max(at, 0));
  if (address.length > MAX_ADDRESS_CHARS || name === '' || !domain.includes('.') || INVISIBLE.test(text)) {
    throw new GatewayError('invalid_request_error', { message: 'This is no e-mail address.', param: 'email' });
  }
  // An address that begins with the sign has no tag.
  const plus = name.indexOf('+', 1);
  const mailbox = plus < 0 ? name : name.slice(0, plus);
  const dotless = DOTLESS.get(domain);
  return dotless === undefined ? `${mailbox}@${domain}` : `${mailbox.replaceAll('.', '')}@${dotless}`;
}

/** What is kept of a normalised address: without the key, which may serve other uses too, nobody can try addresses against it. */
export function addressHash(key: Uint8Array, normalised: string): Buffer {
  return createHmac('sha256', key).update(`trial address\n${normalised}`).digest();
}
