/** What differs between the models that are spoken to in this dialect, told by their names. */

export interface ModelWays {
  /** How a model is told to think: by a budget in tokens, by leaving it to the model and naming an effort, in both ways, or not at all. */
  readonly thinking: 'none' | 'budget' | 'both' | 'adaptive';
  /** `output_config.effort` is known. */
  readonly takesEffort: boolean;
  /** Which of temperature, top_p and top_k may be sent: all, not temperature beside top_p, none. */
  readonly sampling: 'all' | 'one' | 'none';
  /** `output_config.format` and strict tools are known. */
  readonly hasStructuredOutput: boolean;
  /** Messages may have the role `system`. */
  readonly takesInlineSystem: boolean;
}

const NEWEST = Number.POSITIVE_INFINITY;

/** `claude-opus-4-8`, `anthropic/claude-sonnet-4.5`, `claude-haiku-4-5-20251001`; and the older order, `claude-3-5-sonnet-20240620`. */
const FAMILY_FIRST = /claude-([a-z]+)-(\d{1,2})(?:[-.](\d{1,2}))?(?![\d])/;
const VERSION_FIRST = /claude-(\d{1,2})(?:[-.](\d{1,2}))?(?![\d])/;

/** `name` is the upstream's. A name that tells nothing is taken for the newest model. */
export function modelWays(name: string): ModelWays {
  const { family, version } = readName(name.toLowerCase());
  return {
    thinking: thinkingOf(version),
    takesEffort: version >= 406 || (family === 'opus' && version >= 405),
    sampling: version >= 407 ? 'none' : version >= 405 || (family === 'opus' && version >= 401) ? 'one' : 'all',
    hasStructuredOutput: version >= 405 || (family === 'opus' && version >= 401),
    takesInlineSystem: version >= 408,
  };
}

function thinkingOf(version: number): ModelWays['thinking'] {
  if (version < 307) return 'none';
  if (version < 406) return 'budget';
  return version === 406 ? 'both' : 'adaptive';
}

/** The version as one number: 405 for 4.5. */
function readName(name: string): { readonly family: string; readonly version: number } {
  if (name.includes('claude-instant')) return { family: 'instant', version: 100 };
  const older = VERSION_FIRST.exec(name);
  if (older !== null) return { family: /opus|sonnet|haiku/.exec(name)?.[0] ?? '', version: versionOf(older[1], older[2]) };
  const found = FAMILY_FIRST.exec(name);
  return found === null ? { family: '', version: NEWEST } : { family: found[1] ?? '', version: versionOf(found[2], found[3]) };
}

function versionOf(major: string | undefined, minor: string | undefined): number {
  return Number(major) * 100 + Number(minor ?? 0);
}
