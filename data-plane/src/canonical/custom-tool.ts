/**
 * Custom tools, whose argument is free text, for upstreams that know only functions: a function with one string, whose calls are turned
 * back into free text on the way to the client.
 */
import type { Request } from './request.ts';
import type { CustomTool, FunctionTool } from './tool.ts';

const INPUT = 'input';

/** The function that stands in for a custom tool. Its grammar, which no function can hold, is told in the description. */
export function asFunction({ name, description, format }: CustomTool): FunctionTool {
  const grammar = grammarOf(format);
  const rule = grammar === undefined ? '' : `The input must match this ${grammar.syntax} grammar:\n${grammar.definition}`;
  const whole = [description ?? '', rule].filter((text) => text !== '').join('\n\n');
  return {
    kind: 'function',
    name,
    description: whole === '' ? undefined : whole,
    parameters: {
      type: 'object',
      properties: { [INPUT]: { type: 'string', description: 'The input of the tool, as it is.' } },
      required: [INPUT],
      additionalProperties: false,
    },
    strict: undefined,
    rest: {},
  };
}

export interface Grammar {
  /** `lark` or `regex`. */
  readonly syntax: string;
  readonly definition: string;
}

/** Of a custom tool's format, in either of the two ways it is written: flat, or nested under `grammar`. Undefined for free text. */
export function grammarOf(format: unknown): Grammar | undefined {
  if (!isRecord(format) || format.type !== 'grammar') return undefined;
  const { syntax, definition } = isRecord(format.grammar) ? format.grammar : format;
  return typeof syntax === 'string' && typeof definition === 'string' ? { syntax, definition } : undefined;
}

/** Whether the client declared the tool of this name as a custom one: what an upstream calls as a function is free text to the client then. */
export function isCustomTool(request: Request, name: string): boolean {
  return request.tools.some((tool) => tool.kind === 'custom' && tool.name === name);
}

/** Free text as the arguments of the function that stands in. */
export function inputAsArguments(input: string): string {
  return JSON.stringify({ [INPUT]: input });
}

/** The free text in the arguments of such a function; a model that did not keep to the form is taken at its word. */
export function argumentsAsInput(args: string): string {
  try {
    const value: unknown = JSON.parse(args);
    if (isRecord(value) && typeof value[INPUT] === 'string') return value[INPUT];
  } catch {
    // No JSON: the text itself.
  }
  return args;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
