/** Which models' tokens can be counted here just as their vendor counts them. */

export type Encoding = 'o200k_base' | 'cl100k_base';

const VERSION = '(-\\d{4}-\\d{2}-\\d{2}|-\\d{4})?';

/**
 * By the id in the catalogue. Only families whose vendor has published the encoding, and which were seen to read the
 * client's text without an instruction of the vendor's before it: previews that search, speak or listen are not among
 * them, nor are open weights, which anybody may serve with a preamble of their own.
 */
const FAMILIES: readonly (readonly [id: RegExp, encoding: Encoding])[] = [
  [new RegExp(`^gpt-5(\\.[1-5])?(-mini|-nano)?${VERSION}$`), 'o200k_base'],
  [new RegExp(`^gpt-4\\.1(-mini|-nano)?${VERSION}$`), 'o200k_base'],
  [new RegExp(`^gpt-4o(-mini)?${VERSION}$`), 'o200k_base'],
  [new RegExp(`^(o1|o3|o3-mini|o4-mini)${VERSION}$`), 'o200k_base'],
  [new RegExp(`^gpt-4(-turbo)?${VERSION}$`), 'cl100k_base'],
  [new RegExp(`^gpt-3\\.5-turbo${VERSION}$`), 'cl100k_base'],
  [/^text-embedding-(3-small|3-large|ada-002)$/, 'cl100k_base'],
];

/** The encoding that all of the models share; undefined where one is not known, or they differ. */
export function encodingOf(models: Iterable<{ readonly id: string }>): Encoding | undefined {
  let shared: Encoding | undefined;
  for (const { id } of models) {
    const encoding = FAMILIES.find(([family]) => family.test(id))?.[1];
    if (encoding === undefined || (shared !== undefined && shared !== encoding)) return undefined;
    shared = encoding;
  }
  return shared;
}
