/** What a translation could not carry. Named to the client in `x-meridian-loss`, never dropped in silence. */
export interface Loss {
  /** The client's parameter or part, as its dialect writes it: `seed`, `messages[2].content[0]`. */
  readonly field: string;
  readonly reason: string;
}
