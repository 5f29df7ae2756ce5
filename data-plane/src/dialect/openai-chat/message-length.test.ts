import fc from 'fast-check';
import { expect, it } from 'vitest';
import { longestMessage } from './message-length.ts';
import { readPassThrough } from './pass-through-request.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 30 });
const part = fc.oneof(
  fc.record({ type: fc.constant('text'), text }),
  fc.record({ type: fc.constant('image_url'), image_url: fc.record({ url: text.map((tail) => `data:image/png;base64,${tail}`) }) }),
);
const message = fc.record({
  role: fc.constantFrom('user', 'system'),
  content: fc.oneof(text, fc.array(part, { maxLength: 4 })),
  name: text,
});

const lengthOf = (content: string | readonly { readonly text?: string }[]): number =>
  typeof content === 'string' ? content.length : content.reduce((sum, each) => sum + (each.text?.length ?? 0), 0);

/** The same JSON with every character escaped. */
const escaped = (json: string): string =>
  json.replace(/[^\x20-\x7e]/g, (char) =>
    [...Array(char.length).keys()].map((at) => `\\u${char.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  );

it('counts the characters of each message as JSON.parse does, and the bytes bound them', () => {
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 5 }), fc.boolean(), (messages, everyCharacter) => {
      const json = JSON.stringify({ n: 1, messages, model: 'm' });
      const body = Buffer.from(everyCharacter ? escaped(json) : json);
      const lengths = messages.map(({ content }) => lengthOf(content as never));
      const { index, characters } = longestMessage(body);
      expect(characters).toBe(Math.max(...lengths));
      expect(lengths[index]).toBe(characters);
      const { longestMessageBytes } = readPassThrough('chat', body).facts;
      expect(longestMessageBytes).toBeGreaterThanOrEqual(characters);
    }),
  );
});

it('counts no medium', () => {
  const content = [
    { type: 'text', text: 'hi' },
    { type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(100_000)}` } },
  ];
  const body = Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content }] }));
  expect(readPassThrough('chat', body).facts.longestMessageBytes).toBe(4);
  expect(longestMessage(body)).toEqual({ index: 0, characters: 2 });
});
