/** How a call to a provider carries its secret: a header, and what stands before the secret there. */

/** `authorization` and `Bearer `, `api-key` and nothing. */
export interface ProviderAuth {
  /** In lower case. */
  readonly header: string;
  readonly prefix: string;
}

/** Headers that a call has for itself, and that no secret may take the place of. */
const TAKEN = /^(accept|content|transfer|proxy|x-client-request|x-request)-|^(host|connection|te|upgrade|expect|keep-alive|trailer)$/;

export function isAuthHeader(header: string): boolean {
  return /^[a-z][a-z0-9-]{0,63}$/.test(header) && !TAKEN.test(header);
}

/** Visible characters and blanks of ASCII, 32 at most. */
export function isAuthPrefix(prefix: string): boolean {
  return /^[\x20-\x7e]{0,32}$/.test(prefix);
}
