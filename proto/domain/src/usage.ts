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

/**
 * What is counted and priced: a component, or a variant of it where price lists tell variants apart, from the general to
 * the particular: `per_image:1024x1024:high`, `per_second:1080p`, `per_tool_call:web_search`, `cached_input:audio`.
 */
export type Meter = Component | `${Component}:${string}`;

/** Units by meter: tokens, or images, seconds, requests, tool calls. Integers ≥ 0. A unit is counted on one meter only. */
export type Usage = Readonly<Partial<Record<Meter, number>>>;

const MAX_METER_CHARS = 64;
const VARIANT = /^[a-z0-9][a-z0-9._-]*(:[a-z0-9][a-z0-9._-]*)*$/;
const COMPONENT_SET: ReadonlySet<string> = new Set(COMPONENTS);

export function isMeter(text: string): text is Meter {
  if (COMPONENT_SET.has(text)) return true;
  const colon = text.indexOf(':');
  return colon > 0 && text.length <= MAX_METER_CHARS && COMPONENT_SET.has(text.slice(0, colon)) && VARIANT.test(text.slice(colon + 1));
}

export function componentOf(meter: Meter): Component {
  const colon = meter.indexOf(':');
  // What stands before the colon of a meter is a component.
  return (colon === -1 ? meter : meter.slice(0, colon)) as Component;
}

const COMPONENT_RANKS: ReadonlyMap<string, number> = new Map(COMPONENTS.map((component, rank) => [component, rank]));

/** The meters that a usage or a price list names: components in their order, then variants by name. */
export function metersOf(named: Readonly<Partial<Record<Meter, unknown>>>): Meter[] {
  const meters: Meter[] = [];
  let variants: Meter[] | undefined;
  for (const meter in named) {
    // Every request comes here some times, with two or three names: looking for all that there are would take longer.
    if (named[meter as Meter] === undefined) continue;
    if (isVariant(meter)) {
      variants ??= [];
      variants.push(meter);
    } else if (COMPONENT_RANKS.has(meter)) {
      insertByRank(meters, meter as Component);
    }
  }
  return variants === undefined ? meters : meters.concat(variants.sort());
}

function insertByRank(components: Meter[], component: Component): void {
  const rank = COMPONENT_RANKS.get(component) ?? 0;
  let at = components.length;
  for (; at > 0 && (COMPONENT_RANKS.get(components[at - 1] ?? '') ?? 0) > rank; at--) components[at] = components[at - 1] ?? component;
  components[at] = component;
}

function isVariant(meter: string): meter is `${Component}:${string}` {
  return meter.includes(':');
}

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

const INPUT_SET: ReadonlySet<Component> = new Set(INPUT_COMPONENTS);
const OUTPUT_SET: ReadonlySet<Component> = new Set(OUTPUT_COMPONENTS);

export function inputTokens(usage: Usage): number {
  return sumOf(usage, INPUT_SET);
}

export function outputTokens(usage: Usage): number {
  return sumOf(usage, OUTPUT_SET);
}

/** Units of a component, with all its variants. */
export function unitsOf(usage: Usage, component: Component): number {
  let sum = usage[component] ?? 0;
  for (const meter in usage) if (isVariant(meter) && componentOf(meter) === component) sum += usage[meter] ?? 0;
  return sum;
}

function sumOf(usage: Usage, components: ReadonlySet<Component>): number {
  let sum = 0;
  // Names that are no meter are in no set.
  for (const meter in usage) if (components.has(componentOf(meter as Meter))) sum += usage[meter as Meter] ?? 0;
  return sum;
}

/** Throws RangeError unless every name is a meter and every unit an integer ≥ 0. */
export function assertUsage(usage: Usage): void {
  for (const meter in usage) {
    if (!isMeter(meter)) throw new RangeError(`usage: ${meter.slice(0, MAX_METER_CHARS)} is nothing that is counted`);
    const units = usage[meter];
    if (units !== undefined && !(Number.isSafeInteger(units) && units >= 0)) {
      throw new RangeError(`usage.${meter} must be an integer ≥ 0, not ${units}`);
    }
  }
}
