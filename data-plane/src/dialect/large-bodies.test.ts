/** A body may be as large as it is allowed to be: what it takes to read and write it grows with its size, and no faster. */
import { describe, expect, it } from 'vitest';
import { withAnsweredCalls } from '../canonical/answered-calls.ts';
import { dialectOf, type Spoken } from './registry.ts';

/** So many that work which grows with the square of it does not end in time. */
const MANY = 60_000;
const WITHIN_MS = 20_000;

const many = <Value>(make: (index: number) => Value): readonly Value[] => Array.from({ length: MANY }, (_, index) => make(index));

const CASES: readonly { readonly of: Spoken; readonly what: string; readonly body: () => unknown }[] = [
  {
    of: 'openai-responses',
    what: 'items of one turn',
    body: () => ({ model: 'm', input: many(() => ({ role: 'assistant', content: 'a' })) }),
  },
  {
    of: 'openai-responses',
    what: 'reasoning that nothing follows',
    body: () => ({
      model: 'm',
      input: many((index) => ({ type: 'reasoning', id: `rs_${index}`, summary: [], encrypted_content: 'e' })),
    }),
  },
  {
    of: 'gemini',
    what: 'calls and results, the last first',
    body: () => {
      const ids = many((index) => `call_${index}`);
      return {
        contents: [
          { role: 'model', parts: ids.map((id) => ({ functionCall: { id, name: 'f', args: {} } })) },
          { role: 'user', parts: ids.toReversed().map((id) => ({ functionResponse: { id, name: 'f', response: {} } })) },
        ],
      };
    },
  },
  {
    of: 'gemini',
    what: 'properties in an order of their own',
    body: () => {
      const names = many((index) => `p${index}`);
      const responseSchema = {
        type: 'OBJECT',
        properties: Object.fromEntries(names.map((name) => [name, { type: 'STRING' }])),
        propertyOrdering: names.toReversed(),
      };
      return { contents: [{ parts: [{ text: 'a' }] }], generationConfig: { responseMimeType: 'application/json', responseSchema } };
    },
  },
];

describe('a large body', () => {
  it.each(CASES)(
    'of $of is read and written for its own dialect: $what',
    ({ of, body }) => {
      const dialect = dialectOf(of);
      const place = of === 'gemini' ? { model: 'm', stream: false } : {};
      const request = withAnsweredCalls(dialect.decodeRequest(Buffer.from(JSON.stringify(body())), place));
      const terms = { model: 'm', maxOutputTokens: undefined, modelMaxOutputTokens: undefined, capabilities: [] };
      expect(dialect.encodeRequest(request, terms).body.length).toBeGreaterThan(0);
    },
    WITHIN_MS,
  );
});
