/**
 * The normal form of each dialect's requests: what may be written in another way when a request has gone through the canonical language
 * and back into its own dialect. Each line says why that means the same; what no line names has to come back as it was.
 */
import type { DialectName } from '@meridian/domain/dialect';
import type { Difference } from './differences.ts';

interface Line {
  readonly at: RegExp;
  /** Every difference at that path when absent. */
  readonly only?: (difference: Difference) => boolean;
  readonly why: string;
}

const gone = ({ after }: Difference): boolean => after === undefined;
const isNothing = ({ before, after }: Difference): boolean =>
  after === undefined && (before === null || before === false || before === '' || isEmpty(before));
const isOneText = ({ before, after }: Difference): boolean =>
  (typeof before === 'string' && textOf(after) === before) || (typeof after === 'string' && textOf(before) === after);

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

/** The text of a list of one text. */
function textOf(value: unknown): unknown {
  if (!Array.isArray(value) || value.length !== 1) return undefined;
  const [only] = value as { readonly text?: unknown; readonly content?: unknown }[];
  return only?.text ?? only?.content;
}

const EVERYWHERE: readonly Line[] = [
  { at: /./, only: isNothing, why: 'null, false, empty: the same as what is not said' },
  { at: /\.(content|system|instructions|input|output)$/, only: isOneText, why: 'one text, as a text or as a list of it' },
];

export const NORMAL_FORM: Readonly<Record<DialectName, readonly Line[]>> = {
  'openai-chat': [
    { at: /^\.stream_options/, why: 'usage is always asked for' },
    { at: /^\.n$/, only: ({ before }) => before === 1, why: 'one answer is what there is without it' },
    { at: /^\.stop$/, only: ({ before, after }) => Array.isArray(after) && after[0] === before, why: 'one stop sequence, or a list of it' },
    { at: /^\.max_(completion_)?tokens$/, why: 'the older name of the limit' },
    {
      at: /^\.(functions|function_call|tools|tool_choice)\b/,
      only: ({ before, after }) => before === undefined || after === undefined,
      why: 'the older names of tools',
    },
    { at: /^\.messages\[\d+\]\.function_call$/, only: gone, why: 'the older name of a call' },
    { at: /^\.messages\[\d+\]\.(tool_calls|tool_call_id)$/, only: ({ before }) => before === undefined, why: 'the newer name of a call' },
    {
      at: /^\.messages\[\d+\]\.role$/,
      only: ({ before, after }) => before === 'function' && after === 'tool',
      why: 'the older role of a result',
    },
    { at: /^\.(reasoning|reasoning_effort|thinking|enable_thinking)\b/, why: 'how much to think has one name' },
    { at: /^\.messages\[\d+\]\.reasoning(_content)?$/, why: 'thinking that was shown has one name' },
    { at: /^\.service_tier$/, only: ({ before }) => before === 'default' || before === 'auto', why: 'the tier there is without it' },
    { at: /\.arguments$/, only: ({ before, after }) => before === '' && after === '{}', why: 'no arguments are an empty object' },
    { at: /^\.messages\[\d+\]\.content$/, only: ({ before, after }) => (before ?? '') === '' && after === null, why: 'no text' },
    { at: /\.(tool_calls\[\d+\]\.id|tool_call_id)$/, why: 'ids that not all providers take are cleaned, the same way everywhere' },
  ],
  'openai-responses': [
    { at: /^\.reasoning\.effort$/, only: ({ before, after }) => before === undefined && after === 'high', why: 'the default here' },
    { at: /^\.reasoning$/, only: ({ before }) => before === undefined, why: 'the default here' },
    { at: /^\.store$/, only: ({ after }) => after === false, why: 'nothing is stored' },
    { at: /^\.include\b/, why: 'what proves the thinking is always asked for, since nothing is stored' },
    { at: /^\.input$/, why: 'a text, or a list of one message' },
    {
      at: /^\.input\[\d+\]\.type$/,
      only: ({ before, after }) => before === undefined && after === 'message',
      why: 'a message needs no type',
    },
    { at: /^\.input\[\d+\]\.(id|status)$/, only: gone, why: 'of an item that nobody stores' },
    { at: /\.detail$/, only: ({ before, after }) => before === undefined && after === 'auto', why: 'the detail there is without it' },
    { at: /\.annotations$/, only: ({ after }) => isEmpty(after), why: 'no annotations' },
    {
      at: /^\.tools\[\d+\]\.parameters$/,
      only: ({ before }) => (before ?? null) === null,
      why: 'no parameters are an object without properties',
    },
    { at: /\.(call_id|output)$/, why: 'results stand in the order of their calls' },
    { at: /^\.instructions$/, only: ({ before }) => before === undefined, why: 'a system message at the beginning, or instructions' },
    { at: /^\.reasoning\.context$/, only: gone, why: 'what is stored has no other' },
  ],
  'anthropic-messages': [
    {
      at: /\.(id|tool_use_id|name)$/,
      only: ({ before }) => String(before).length > 64,
      why: 'longer than an upstream takes, cut the same way everywhere',
    },
    { at: /^\.(thinking|output_config)\b/, why: 'thinking as the model takes it' },
    { at: /^\.(temperature|top_p|top_k)$/, only: gone, why: 'a model that thinks takes none (named as a loss)' },
    { at: /^\.service_tier$/, only: gone, why: 'tiers are chosen with the price' },
  ],
  gemini: [
    { at: /\.(parameters|parametersJsonSchema|parameters_json_schema)\b/, why: 'schemas are written as JSON Schema' },
    {
      at: /\.(functionCall|functionResponse)\.id$/,
      only: ({ before }) => before === undefined,
      why: 'calls without ids are told apart by their place',
    },
    {
      at: /\.thoughtSignature$/,
      only: ({ before }) => before === undefined,
      why: 'a call that was never signed says so, or it is refused',
    },
    { at: /\.description$/, only: ({ after }) => after === '', why: 'it has to be there' },
    { at: /\.(inline_data|inlineData|google_search|googleSearch)\b/, why: 'names in camel case' },
    { at: /\.mimeType$/, why: 'what the bytes say, where the name says otherwise' },
    { at: /\.thinkingConfig\b/, why: 'thinking as the model takes it' },
    {
      at: /^\.generationConfig$/,
      only: ({ before }) => JSON.stringify(before) === '{"responseModalities":["TEXT"]}',
      why: 'text is what there is without it',
    },
    { at: /\.responseModalities$/, only: gone, why: 'text is what there is without it' },
    { at: /^\.systemInstruction\b/, why: 'without a role, and none where it is empty' },
    { at: /^\.contents\b/, why: 'contents without anything in them are left out, those of one role are one' },
    { at: /\.args$/, only: ({ after }) => isEmpty(after), why: 'no arguments' },
    { at: /\.allowedFunctionNames$/, only: gone, why: 'all of the functions there are' },
  ],
};

/** Why a difference means nothing; undefined for one that does. */
export function excuse(dialect: DialectName, difference: Difference): string | undefined {
  return [...EVERYWHERE, ...NORMAL_FORM[dialect]].find(
    ({ at, only }) => at.test(difference.path) && (only === undefined || only(difference)),
  )?.why;
}
