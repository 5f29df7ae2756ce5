/** The rules of list prices: how they are published, and when one may begin. */
import type { ConfigEntry, PriceBook } from '@meridian/domain/snapshot';

/** Versions that a book carries to the nodes: those in force and announced, and a few before them for requests in flight. */
export const MAX_BOOK_VERSIONS = 16;

/** The book's version is that of its newest price: each publication makes one. */
export function priceBookEntry(book: PriceBook): ConfigEntry | undefined {
  const newest = book.versions.at(-1);
  if (newest === undefined) return undefined;
  return {
    kind: 'price_book',
    id: book.modelId,
    version: newest.version,
    body: { kind: 'price_book', value: { modelId: book.modelId, versions: book.versions.slice(-MAX_BOOK_VERSIONS) } },
  };
}

/**
 * Whether a price may begin then: charges name the version that was in force, so none begins in the past. A price that
 * begins before an announced one takes its place, since of those whose time has come the newest version counts.
 */
export function mayBegin(effectiveFromMs: number, nowMs: number): boolean {
  return effectiveFromMs >= nowMs;
}
