/** What a PATCH says, as a change. */

/** Only the fields that were given: one that is absent must not overwrite what is there. */
export function given<T extends object>(change: { readonly [Field in keyof T]?: T[Field] | undefined }): Partial<T> {
  // What remains has no undefined value but where T allows it.
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)) as Partial<T>;
}
