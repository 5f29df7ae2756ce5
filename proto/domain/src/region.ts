/** A region: where a node stands, and what keys and accounts may be bound to. */
export type Region = string;

/** Two to sixteen lower-case letters, digits and dashes, starting with a letter: `us`, `eu`, `sg`. */
export function isRegion(text: string): text is Region {
  return /^[a-z][a-z0-9-]{1,15}$/.test(text);
}
