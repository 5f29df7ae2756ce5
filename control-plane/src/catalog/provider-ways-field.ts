/** How a provider is authenticated to, and its ways of its own, as fields of what operators write. */
import { isAuthHeader, isAuthPrefix } from '@meridian/domain/provider-auth';
import { QUIRK_NAMES, QUIRKS } from '@meridian/domain/quirk';
import { z } from 'zod';

export const AUTH_FIELD = z
  .strictObject({
    header: z.string().refine(isAuthHeader, 'must be the name of a header such as api-key, in lower case'),
    prefix: z.string().refine(isAuthPrefix, 'must be at most 32 characters of ASCII').default(''),
  })
  .describe('The header that carries the secret, and what stands before it there; null: as the adapter has it.');

export const QUIRKS_FIELD = z
  .array(z.enum(QUIRK_NAMES))
  .max(QUIRK_NAMES.length)
  .describe(QUIRK_NAMES.map((name) => `${name}: ${QUIRKS[name]}`).join('\n'));
