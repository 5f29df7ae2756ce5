/** One page of a list, as a store reads it. */
export interface Page {
  readonly limit: number;
  /** The id of the last item of the page before. */
  readonly after: string | undefined;
}
