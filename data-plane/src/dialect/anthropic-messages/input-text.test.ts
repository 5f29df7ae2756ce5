import { describe, expect, it } from 'vitest';
import { inputText } from './input-text.ts';
import { longestMessage } from './message-length.ts';
import { readPassThrough } from './pass-through-request.ts';

const BODY = {
  model: 'm',
  max_tokens: 1,
  system: [{ type: 'text', text: 'You are brief.', cache_control: { type: 'ephemeral' } }],
  messages: [
    { role: 'user', content: 'Hi "you"' },
    {
      role: 'assistant',
      content: [
        { type: 'thinking', thinking: 'hm', signature: 's' },
        { type: 'text', text: 'Hello' },
      ],
    },
    {
      role: 'user',
      content: [
        { type: 'tool_result', tool_use_id: 't', content: 'plain' },
        { type: 'tool_result', tool_use_id: 'u', content: [{ type: 'text', text: 'in a block, ünïcode' }] },
        { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } },
      ],
    },
  ],
};
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

describe('the text of a request', () => {
  it('is what stands in the prompt as it was written', () => {
    expect(inputText('chat', bytes(BODY), 1_000).texts).toEqual(['You are brief.', 'Hi "you"', 'Hello', 'plain', 'in a block, ünïcode']);
    expect(inputText('chat', bytes({ ...BODY, system: 'plain system' }), 1_000).texts[0]).toBe('plain system');
  });

  it('takes its bytes, as they stand in the body, out of the bound of the rest', () => {
    const body = bytes(BODY);
    const { inputTokensBound } = readPassThrough('chat', body).facts;
    const { texts, otherTokensBound } = inputText('chat', body, inputTokensBound);
    const written = texts.reduce((sum, text) => sum + Buffer.byteLength(JSON.stringify(text)), 0);
    expect(otherTokensBound).toBe(inputTokensBound - written + 3);
  });

  it('tells the longest message in characters', () => {
    expect(longestMessage(bytes(BODY))).toEqual({ index: 2, characters: 'plainin a block, ünïcode'.length });
  });
});
