import { describe, expect, it } from 'vitest';
import { dialectOf } from '../dialect/registry.ts';
import { promptSize } from './prompt-size.ts';

const CITY = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };

function sizeOf(body: object) {
  return promptSize(dialectOf('anthropic-messages').decodeRequest(Buffer.from(JSON.stringify({ model: 'm', max_tokens: 1, ...body })), {}));
}

describe('the size of a prompt', () => {
  it('is made of what the model reads, and not of how it is sent', () => {
    const { texts, otherTokens } = sizeOf({
      system: 'Be brief.',
      messages: [{ role: 'user', content: 'hello there' }],
      tools: [{ name: 'get_weather', description: 'The weather', input_schema: CITY }],
    });
    expect(texts).toEqual(['Be brief.', 'hello there', 'get_weather', 'The weather', JSON.stringify(CITY)]);
    expect(otherTokens).toBeLessThan(20);
  });

  it('has calls, their results, and thinking in it', () => {
    const { texts } = sizeOf({
      messages: [
        { role: 'user', content: 'a' },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'b', signature: 's' },
            { type: 'tool_use', id: 't', name: 'f', input: { c: 1 } },
          ],
        },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: 'd' }] },
      ],
    });
    expect(texts).toEqual(['a', 'b', 'f', '{"c":1}', 'd']);
  });

  it('takes pictures, sounds and documents for what they usually are, and text for text', () => {
    const data = Buffer.alloc(120_000).toString('base64');
    const source = (media_type: string) => ({ type: 'base64', media_type, data });
    const asked = (block: object) => sizeOf({ messages: [{ role: 'user', content: [block] }] });
    expect(asked({ type: 'image', source: source('image/png') }).otherTokens).toBeLessThan(2_000);
    const pdf = asked({ type: 'document', source: source('application/pdf') }).otherTokens;
    expect(pdf).toBeGreaterThan(3_000);
    expect(pdf).toBeLessThan(10_000);
    expect(asked({ type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'plain words' } }).texts).toContain(
      'plain words',
    );
  });
});
