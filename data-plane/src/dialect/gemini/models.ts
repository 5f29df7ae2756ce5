/** What differs between Gemini's models, by their names. One that is not known is taken for the newest. */

export interface ModelWays {
  /** `level`: an effort word · `budget`: tokens · `none`: the model does not think. */
  readonly thinking: 'level' | 'budget' | 'none';
  /** Thinking levels, from the least. */
  readonly levels: readonly string[];
  /** Thinking budgets, in tokens; a `least` of 0 turns it off. */
  readonly budget: { readonly least: number; readonly most: number };
  /** Takes JSON Schema as it is; else only the part of OpenAPI's that Gemini began with. */
  readonly takesJsonSchema: boolean;
  /** Takes a response format and functions in one request. */
  readonly takesFormatWithTools: boolean;
  /** Wants its signatures back with calls, and refuses a turn without. */
  readonly wantsSignatures: boolean;
  /** Takes pictures as parts of a function's response; else they follow it. */
  readonly takesMediaInResults: boolean;
  /** Takes the resolution of a picture beside it. */
  readonly takesResolution: boolean;
}

const ALL_LEVELS: readonly string[] = ['minimal', 'low', 'medium', 'high'];
const NO_BUDGET = { least: 0, most: 0 };

const NEWEST: ModelWays = {
  thinking: 'level',
  levels: ALL_LEVELS,
  budget: NO_BUDGET,
  takesJsonSchema: true,
  takesFormatWithTools: true,
  wantsSignatures: true,
  takesMediaInResults: true,
  takesResolution: true,
};

const SECOND: ModelWays = {
  thinking: 'budget',
  levels: [],
  budget: { least: 0, most: 24_576 },
  takesJsonSchema: true,
  takesFormatWithTools: false,
  wantsSignatures: false,
  takesMediaInResults: false,
  takesResolution: false,
};

const FIRST: ModelWays = { ...SECOND, thinking: 'none', budget: NO_BUDGET, takesJsonSchema: false };

/** The first that fits. */
const WAYS: readonly (readonly [RegExp, ModelWays])[] = [
  [/(^|\/)(gemini-1[.-]|gemini-2[.-]0|gemini-pro|gemma|learnlm)/, FIRST],
  [/(^|\/)gemini-2[.-]5-flash-image/, { ...SECOND, thinking: 'none', budget: NO_BUDGET }],
  [/(^|\/)gemini-2[.-]5-pro/, { ...SECOND, budget: { least: 128, most: 32_768 } }],
  [/(^|\/)gemini-2[.-]/, SECOND],
  [/(^|\/)gemini-3-pro-image/, { ...NEWEST, thinking: 'none', levels: [] }],
  [/(^|\/)gemini-3-pro/, { ...NEWEST, levels: ['low', 'high'] }],
  [/(^|\/)gemini-3[.-]\d+-pro/, { ...NEWEST, levels: ['low', 'medium', 'high'] }],
];

/** `model` is the upstream's name. */
export function waysOf(model: string): ModelWays {
  return WAYS.find(([name]) => name.test(model))?.[1] ?? NEWEST;
}
