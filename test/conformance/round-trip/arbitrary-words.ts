/** Words that conversations are made of: texts, names and ids as clients, tools and models write them, odd ones among them. */
import fc from 'fast-check';

/** What a frame, an escape or a tag of some protocol looks like, and what is cut or trimmed somewhere. */
const ODD_TEXTS = [
  '',
  ' ',
  '\n\n',
  'a\r\nb',
  'data: [DONE]\n\n',
  '{"a":1}',
  '{"error":"no"}',
  '[1,2]',
  '"\\u0000\\"',
  '\u0000\u001f\u007f',
  '\u2028\u2029\ufeff',
  '</think>',
  'Straße 1, 東京, 👩‍👩‍👧‍👦',
  '\ud83d',
  'tail \n',
] as const;

const LONG = 'long text, ünd '.repeat(400);

/** Any text; shrinks to the empty one. */
export const texts: fc.Arbitrary<string> = fc.oneof(
  { weight: 5, arbitrary: fc.string({ unit: 'grapheme', maxLength: 24 }) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
  { weight: 4, arbitrary: fc.constantFrom(...ODD_TEXTS) },
  { weight: 1, arbitrary: fc.constant(LONG) },
);

/** A text with something in it. */
export const words: fc.Arbitrary<string> = texts.map((text) => (text.trim() === '' ? 'word' : text));

/** Names of tools: those that every upstream takes, and those that none does. */
export const toolNames: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_-]{0,20}$/) },
  { weight: 1, arbitrary: fc.constantFrom('mcp__files__read.text', 'Zeit für 東京', 'a b', `${'n'.repeat(70)}_tail`, 'functions.Bash') },
);

/** Ids of calls as the vendors write them, and as nobody should. */
export const callIds: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.stringMatching(/^call_[a-zA-Z0-9]{4,24}$/) },
  { weight: 2, arbitrary: fc.stringMatching(/^toolu_[a-zA-Z0-9]{4,24}$/) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('functions.Bash:0', '1', 'call_mrd_x', 'mrd_', `fc_${'9'.repeat(80)}`, 'ü', 'chatcmpl-tool-ab.c'),
  },
);

/** The JSON text of a number that a double may not hold. */
const numbers: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.integer().map(String) },
  { weight: 1, arbitrary: fc.constantFrom('9007199254740993', '-12345678901234567890', '0.1', '1e-7', '-0.5') },
);

/** The JSON text of any value, its members in an order and its numbers with digits of their own. */
export const jsonTexts: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    texts.map((text) => JSON.stringify(text)),
    numbers,
    fc.constantFrom('true', 'null', '[]', '{}'),
    fc.array(tie('value'), { maxLength: 3 }).map((items) => `[${items.join(',')}]`),
    fc
      .array(fc.tuple(fc.constantFrom('city', 'n', 'a b', 'é', '', 'input', 'error', 'x'), tie('value')), { maxLength: 3 })
      .map((entries) => `{${[...new Map(entries)].map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(',')}}`),
  ),
})).value;

/** The arguments of a call: the JSON text of an object. */
export const argumentTexts: fc.Arbitrary<string> = fc
  .array(fc.tuple(fc.constantFrom('city', 'days', 'a b', 'input', 'é'), jsonTexts), { maxLength: 3 })
  .map((entries) => `{${[...new Map(entries)].map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(',')}}`);

/** Base64 without line ends: what a signature, a picture or an encrypted block is. */
export const base64s: fc.Arbitrary<string> = fc
  .uint8Array({ minLength: 3, maxLength: 24 })
  .map((bytes) => Buffer.from(bytes).toString('base64'));

/** A picture's bytes, as the type says. */
export const pngs: fc.Arbitrary<string> = fc
  .uint8Array({ maxLength: 12 })
  .map((bytes) => Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), Buffer.from(bytes)]).toString('base64'));
