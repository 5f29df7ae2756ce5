/**
 * Usage of one request in disjoint components: cached tokens are not inside `input`, tokens that are priced
 * apart are in no other component. Absent is not zero: a component that the provider did not mention is not there.
 */
export const COMPONENTS = [
  'input',
  'cached_input',
  'cache_write_5m',
  'cache_write_1h',
  'output',
  'reasoning',
  'audio_in',
  'audio_out',
  'image_in',
  'image_out',
  'per_image',
  'per_second',
  'per_request',
  'per_tool_call',
] as const;

export type Component = (typeof COMPONENTS)[number];

/** Units by component: tokens, or images, seconds, requests, tool calls. Integers ≥ 0. */
export type Usage = Readonly<Partial<Record<Component, number>>>;

/** Components that count towards the length of the input, on which long-context steps depend. */
export const INPUT_COMPONENTS = [
  'input',
  'cached_input',
  'cache_write_5m',
  'cache_write_1h',
  'audio_in',
  'image_in',
] as const satisfies readonly Component[];

/** Components that count as generated tokens. */
export const OUTPUT_COMPONENTS = ['output', 'reasoning', 'audio_out', 'image_out'] as const satisfies readonly Component[];

/** How the units were known. `estimated`: counted by the node because no usage event came. */
export type Exactness = 'exact' | 'estimated';

export function inputTokens(usage: Usage): number {
  return INPUT_COMPONENTS.reduce((sum, component) => sum + (usage[component] ?? 0), 0);
}

export function outputTokens(usage: Usage): number {
  return OUTPUT_COMPONENTS.reduce((sum, component) => sum + (usage[component] ?? 0), 0);
}

/** Throws RangeError unless every unit is an integer ≥ 0. */
export function assertUsage(usage: Usage): void {
  for (const component of COMPONENTS) {
    const units = usage[component];
    if (units !== undefined && !(Number.isSafeInteger(units) && units >= 0)) {
      throw new RangeError(`usage.${component} must be an integer ≥ 0, not ${units}`);
    }
  }
}
