/** JSON whose numbers are written as they were read: ids of 18 digits are numbers to some programs, and none to a double. */

/** A number that a double may not hold, where one can stand; in a text it only costs the slower way. */
const LONG_NUMBER = /[:[,]\s*-?\d[\d.]{15,}/;

/** What the engine has beyond the library's types. */
type Reviver = (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown;
const json = JSON as unknown as {
  parse(text: string, reviver: Reviver): unknown;
  rawJSON(text: string): unknown;
};

/** As JSON.parse, for values that are written again by JSON.stringify. Throws SyntaxError. */
export function parseExact(text: string): unknown {
  return LONG_NUMBER.test(text) ? json.parse(text, exactNumber) : JSON.parse(text);
}

/** A number whose digits would change is kept as its text; what is small or ends in noughts is written alike anyway. */
const exactNumber: Reviver = (_key, value, { source }) =>
  typeof value === 'number' && source !== undefined && /^-?\d{16,}$/.test(source) && String(value) !== source
    ? json.rawJSON(source)
    : value;
