import { describe, expect, it } from 'vitest';
import { counting } from './count-tokens.ts';
import { inputText } from './input-text.ts';
import { longestMessage } from './message-length.ts';
import { readPassThrough } from './pass-through-request.ts';

const PLACE = { model: 'm' };
const BODY = {
  systemInstruction: { parts: [{ text: 'Be brief.' }] },
  contents: [
    { role: 'user', parts: [{ text: 'Grüße' }, { inlineData: { mimeType: 'image/png', data: 'AAAA' } }] },
    { role: 'model', parts: { text: 'Hi "you"' } },
  ],
  tools: [{ functionDeclarations: [{ name: 'f', description: 'text of a tool' }] }],
};
const buffer = (value: object): Buffer => Buffer.from(JSON.stringify(value));

describe('the text of a request', () => {
  it('is that of contents and instruction, and what is left keeps its bound', () => {
    const body = buffer(BODY);
    const { inputTokensBound } = readPassThrough('chat', body, PLACE).facts;
    const { texts, otherTokensBound } = inputText('chat', body, inputTokensBound);
    expect(texts).toEqual(['Be brief.', 'Grüße', 'Hi "you"']);
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(JSON.stringify(text)), 0);
    expect(otherTokensBound).toBe(inputTokensBound - bytes + 3);
  });

  it('is what is to be embedded', () => {
    const content = { parts: [{ text: 'a' }] };
    expect(inputText('embeddings', buffer({ content }), 100).texts).toEqual(['a']);
    expect(inputText('embeddings', buffer({ requests: [{ content }, { content: { parts: { text: 'b' } } }] }), 100)).toEqual({
      texts: ['a', 'b'],
      otherTokensBound: 94,
    });
  });
});

describe('the longest content', () => {
  it('is measured in characters', () => {
    expect(longestMessage(buffer(BODY))).toEqual({ index: 1, param: 'contents[1]', characters: 8 });
  });
});

describe('counting tokens', () => {
  it('reads contents alone, and all of a request', () => {
    const alone = buffer({ contents: BODY.contents });
    expect(counting.read(alone, PLACE).facts.model).toBe('m');
    const whole = buffer({ generateContentRequest: { model: 'models/mine', ...BODY } });
    const { facts, rewrite } = counting.read(whole, PLACE);
    expect(facts.needs).toContain('tools');
    expect(JSON.parse(Buffer.concat(rewrite({ model: 'up', maxOutputTokens: undefined })).toString())).toEqual({
      generateContentRequest: { model: 'models/up', ...BODY },
    });
    expect(inputText('chat', whole, facts.inputTokensBound).texts).toEqual(['Be brief.', 'Grüße', 'Hi "you"']);
    expect(counting.answer(7)).toEqual({ totalTokens: 7 });
  });

  it('refuses what is no request', () => {
    for (const body of [
      '',
      '[]',
      '{"contents":[]',
      '{"generateContentRequest":1}',
      '{"generateContentRequest":{},"generate_content_request":{}}',
    ]) {
      expect(() => counting.read(Buffer.from(body), PLACE)).toThrow(expect.objectContaining({ status: 400 }));
    }
  });
});
