// A short form of an answer's id, for the ids of the calls in it.

const OWN_LETTERS = 8;
const COUNT_LETTERS = 8;

/** The letters that are this upstream's own, then the end of the count: as unique as the whole id. */
export function shortId(id: string): string {
  return id.slice(0, OWN_LETTERS) + id.slice(-COUNT_LETTERS);
}
