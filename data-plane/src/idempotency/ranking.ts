/**
 * What is ordered by a rank that changes all the time, so that the first two are known at once: a binary heap in which each item knows
 * its place. A change costs the logarithm of how many there are.
 */

/** Its place is the ranking's to write. */
export interface Ranked {
  place: number;
}

export class Ranking<Item extends Ranked> {
  readonly #items: Item[] = [];
  readonly #isBefore: (one: Item, other: Item) => boolean;

  constructor(isBefore: (one: Item, other: Item) => boolean) {
    this.#isBefore = isBefore;
  }

  get first(): Item | undefined {
    return this.#items[0];
  }

  get second(): Item | undefined {
    return this.#firstBelow(0);
  }

  add(item: Item): void {
    item.place = this.#items.length;
    this.#items.push(item);
    this.#rise(item);
  }

  /** To be called after each change of the rank of an item that was added. */
  moved(item: Item): void {
    this.#rise(item);
    this.#sink(item);
  }

  remove(item: Item): void {
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#set(last, item.place);
    this.moved(last);
  }

  #rise(item: Item): void {
    while (item.place > 0) {
      const above = this.#items[(item.place - 1) >> 1];
      if (above === undefined || !this.#isBefore(item, above)) return;
      this.#swap(item, above);
    }
  }

  #sink(item: Item): void {
    for (;;) {
      const below = this.#firstBelow(item.place);
      if (below === undefined || !this.#isBefore(below, item)) return;
      this.#swap(item, below);
    }
  }

  #firstBelow(place: number): Item | undefined {
    const left = this.#items[2 * place + 1];
    const right = this.#items[2 * place + 2];
    return left !== undefined && right !== undefined && this.#isBefore(right, left) ? right : left;
  }

  #swap(one: Item, other: Item): void {
    const { place } = one;
    this.#set(one, other.place);
    this.#set(other, place);
  }

  #set(item: Item, place: number): void {
    item.place = place;
    this.#items[place] = item;
  }
}
