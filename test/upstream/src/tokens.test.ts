import fc from 'fast-check';
import { expect, test } from 'vitest';
import { promptTokens } from './answer.ts';
import { readChatRequest } from './openai-chat/request.ts';
import { audioTokens, splitPieces, textTokens } from './tokens.ts';

test('a text costs a quarter of its UTF-8 bytes, rounded up', () => {
  expect(['', 'a', 'abcd', 'abcde', 'ééé', '😀😀'].map(textTokens)).toEqual([0, 1, 1, 2, 2, 2]);
});

test('pieces joined again are the text, and no piece splits a code point', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      const pieces = splitPieces(text);
      expect(pieces.join('')).toBe(text);
      if (text.isWellFormed()) expect(pieces.every((piece) => piece.isWellFormed())).toBe(true);
    }),
  );
});

test('a prompt costs what the written rule says, counted by hand', () => {
  const data = Buffer.alloc(2500).toString('base64');
  const request = readChatRequest({
    model: 'gpt-4o',
    messages: [
      { role: 'system', content: 'abcdefgh' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'abc' },
          { type: 'image_url', image_url: { url: 'https://example.com/a.png', detail: 'low' } },
          { type: 'image_url', image_url: { url: 'https://example.com/b.png' } },
          { type: 'input_audio', input_audio: { data, format: 'wav' } },
          { type: 'file', file: { file_id: 'file-1' } },
        ],
      },
    ],
  });
  expect(audioTokens(data)).toBe(3);
  expect(promptTokens(request)).toEqual({ total: 3 + (4 + 2) + (4 + 1 + 85 + 765 + 3 + 250), audio: 3 });
});
